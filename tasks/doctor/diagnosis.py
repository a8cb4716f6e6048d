"""One part that was tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from tasks.errors import RollcallError
from tasks.models import Model


class Pin(Model):
    """A change that a program may write: the compose file of the target's container pins the volume that it is on."""

    target: str
    container: str
    volume: str


class Diagnosis(Model):
    """One part that was tried: `well`, or what is wrong and what to do.

    lines: what to write, and where, line by line; pin: the same for a program, where it is safe to write. note: it is
    well, and there is something to know.
    """

    subject: str
    well: bool
    words: str
    lines: list[str] = []
    pin: Pin | None = None
    note: bool = False


def tried(subject: str, check: Callable[[], str]) -> Diagnosis:
    """What became of a check that returns its words, or raises what is wrong."""
    try:
        return Diagnosis(subject=subject, well=True, words=check())
    except Exception as error:  # noqa: BLE001 - what nobody foresaw at one part must not hide the others
        return wrong(subject, _why(error))


def all_of(subject: str, parts: Callable[[], Iterable[Diagnosis]]) -> Iterator[Diagnosis]:
    """The diagnoses of several parts; where an error ends them, one more, about the subject, says so."""
    try:
        yield from parts()
    except Exception as error:  # noqa: BLE001 - what nobody foresaw at one part must not hide the others
        yield wrong(subject, _why(error))


def _why(error: Exception) -> str:
    """Of an error that nobody foresaw the class alone: its own words may quote a secret."""
    if isinstance(error, RollcallError):
        return str(error)
    if os.environ.get("ROLLCALL_DEBUG"):
        raise error
    return (
        f"It could not be looked at ({type(error).__name__}): this is a defect; run again with ROLLCALL_DEBUG=1 to "
        "see where."
    )


def wrong(subject: str, words: str, lines: list[str] | None = None, pin: Pin | None = None) -> Diagnosis:
    """Something that would fail, or lose data, one day."""
    return Diagnosis(subject=subject, well=False, words=words, lines=lines or [], pin=pin)
