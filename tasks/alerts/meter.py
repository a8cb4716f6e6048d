"""How far a long run is: nested stages, each a share of the one around it, measured only when somebody asks. Pure.

Nothing here is called by the bytes that pass: a stage holds a function that says how much is done, and whoever shows
the progress calls it now and then, from a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.alerts.artifacts import size

_ALMOST = 0.99
"""A stage that is not over is never shown as done: totals are estimates."""
_SOON = 3.0  # seconds into a stage, before which a rate says nothing


class Reading(NamedTuple):
    """How far a run is: in words, and in per cent of the whole."""

    words: str
    percent: float


@dataclass(frozen=True)
class _Stage:
    """words: what is done, from the outermost stage to this one. total: bytes in all, 0 where nobody knows; asked
    once. done: bytes so far, None where they cannot be seen. note: what else there is to say."""

    words: tuple[str, ...] = ()
    since: float = 0.0
    done: Callable[[], int | None] = lambda: None
    total: Callable[[], int] = int
    note: Callable[[], str] = str
    totals: list[int] = field(default_factory=list)

    def expected(self) -> int:
        """What `total` said when it was asked first."""
        if not self.totals:
            self.totals.append(self.total())
        return self.totals[0]


class _Place(NamedTuple):
    """Where on the way from 0 to 1 the present stage begins, how wide it is, and which it is."""

    at: float
    width: float
    stage: _Stage


class Meter:
    """The progress of one run. `stage` is entered by the thread that works, `read` is called by any other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Replaced as a whole, so that another thread never sees half of a change.
        self._place = _Place(0.0, 1.0, _Stage(since=clock()))

    @contextmanager
    def stage(
        self,
        words: str = "",
        share: float = 1.0,
        *,
        done: Callable[[], int | None] = lambda: None,
        total: Callable[[], int] = int,
        note: Callable[[], str] = str,
    ) -> Iterator[None]:
        """Within the block this is done, which is `share` (0 to 1) of the stage around it."""
        outer = self._place
        told = (*outer.stage.words, words) if words else outer.stage.words
        width = outer.width * share
        self._place = _Place(outer.at, width, _Stage(told, self._clock(), done, total, note))
        try:
            yield
        finally:
            self._place = _Place(outer.at + width, outer.width, outer.stage)

    def read(self) -> Reading:
        """How far it is now. What `done`, `total` and `note` raise is raised."""
        at, width, stage = self._place
        done = stage.done()
        total = stage.expected() if done is not None else 0
        part = min(_ALMOST, (done or 0) / total) if total > 0 else 0.0
        told = measured(done, total, self._clock() - stage.since) if done is not None else ""
        words = ", ".join(stage.words) + (f": {told}" if told else "")
        note = stage.note()
        return Reading(f"{words}; {note}" if note else words, round(100 * min(_ALMOST, at + width * part), 1))


def measured(done: int, total: int, seconds: float) -> str:
    """`1.2 GB of about 2.2 GB, 71.0 MB/s, about 14 s left`, as far as it is known; seconds: since it began."""
    over = total > 0 and done > total
    words = size(done) + (f" of about {size(total)}" if total > 0 and not over else "")
    if seconds < _SOON or done <= 0:
        return words
    rate = done / seconds
    left = f", about {duration((total - done) / rate)} left" if total > 0 and not over else ""
    return f"{words}, {size(rate)}/s{left}"


def duration(seconds: float) -> str:
    """Seconds for people: `14 s`, `3 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
