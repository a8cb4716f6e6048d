"""One part that was tried."""

from __future__ import annotations

from collections.abc import Callable

from tasks.errors import RollcallError
from tasks.models import Model


class Pin(Model):
    """A change that a program may write: the compose file of the target's container pins the volume that it is on."""

    target: str
    container: str
    volume: str


class Diagnosis(Model):
    """One part that was tried: `well`, or what is wrong and what to do.

    lines: what to write, and where, line by line; pin: the same for a program, where it is safe to write.
    """

    subject: str
    well: bool
    words: str
    lines: list[str] = []
    pin: Pin | None = None


def tried(subject: str, check: Callable[[], str]) -> Diagnosis:
    """What became of a check that returns its words, or raises RollcallError with what is wrong."""
    try:
        return Diagnosis(subject=subject, well=True, words=check())
    except RollcallError as error:
        return Diagnosis(subject=subject, well=False, words=str(error))


def wrong(subject: str, words: str, lines: list[str] | None = None, pin: Pin | None = None) -> Diagnosis:
    """Something that would fail, or lose data, one day."""
    return Diagnosis(subject=subject, well=False, words=words, lines=lines or [], pin=pin)
