"""Show how far a long run is: as a bar in Prefect's UI, and as a line of the log now and then.

A thread of its own reads the meter and does the telling, so that a server which hangs or is gone costs the run nothing.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tasks import orchestration
from tasks.alerts.artifacts import artifact_key
from tasks.alerts.meter import Meter, Reading, duration

log = logging.getLogger("rollcall")

BAR_SECONDS = 3.0
"""Between two updates of the bar. A run that is over before the first has none, and needs none."""
SLOWEST_SECONDS = 60.0
"""Between two attempts at a server that does not take them."""
TERMINAL_SECONDS = 5.0
"""Between two lines where somebody watches the log on a terminal."""
LOG_SECONDS = 30.0
"""Between two lines elsewhere, and before the first."""
LAST_WORD_SECONDS = 2.0
"""That a run waits at most, at its end, for the bar to be told of it."""

_current: ContextVar[Meter | None] = ContextVar("rollcall_meter", default=None)


def meter() -> Meter:
    """The meter of the run that this is part of; one that nobody reads where there is none."""
    return _current.get() or Meter()


@contextmanager
def shown(kind: str, target: str, *, bar_seconds: float = BAR_SECONDS) -> Iterator[Meter]:
    """Within the block, people see how far it is, by the stages of meter(). kind: backup, restore or drill."""
    made = Meter()
    teller = _Teller(made, kind, target, bar_seconds)
    token = _current.set(made)
    teller.start()
    try:
        yield made
    except BaseException:
        teller.end(whole=False)
        raise
    else:
        teller.end(whole=True)
    finally:
        _current.reset(token)


class _Teller:
    """Reads a meter and tells of it until it is told to end. What telling meets is never the run's business."""

    def __init__(self, read: Meter, kind: str, target: str, bar_seconds: float) -> None:
        self._meter, self._target = read, target
        self._bar = orchestration.ProgressBar(artifact_key(f"progress-{kind}", target))
        self._tracked = orchestration.tracked()
        self._every = bar_seconds
        self._log_every = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._whole = False
        # A daemon, for one that waits for a dead server must not keep the process from ending. In a copy of the context
        # for the bar belongs to the task that runs now.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._tell), name=f"progress-{kind}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, *, whole: bool) -> None:
        """The last word, for the bar alone: the run's own log says how it ended."""
        self._whole = whole
        self._over.set()
        self._thread.join(LAST_WORD_SECONDS)

    def _tell(self) -> None:
        next_line, wait, percent = self._begun + self._log_every, self._every, 0.0
        while not self._over.wait(wait):
            reading = self._read()
            if reading is None:
                continue
            percent = reading.percent
            if time.monotonic() >= next_line:
                log.info("%s: %s (%.0f %%)", self._target, reading.words, percent)
                next_line = time.monotonic() + self._log_every
            wait = self._every if self._show(reading) else min(SLOWEST_SECONDS, 2 * wait)
        if self._bar.shown:
            self._show(self._last(percent))

    def _last(self, percent: float) -> Reading:
        took = duration(time.monotonic() - self._begun)
        return Reading(f"done in {took}", 100.0) if self._whole else Reading(f"ended early, after {took}", percent)

    def _read(self) -> Reading | None:
        try:
            return self._meter.read()
        except Exception as error:  # noqa: BLE001 - whatever cannot be measured now may be measured next time
            log.debug("%s: how far it is cannot be seen (%s).", self._target, type(error).__name__)
            return None

    def _show(self, reading: Reading) -> bool:
        """Whether the bar is where it should be: the server took it, or there is none."""
        return not self._tracked or self._bar.show(reading.percent, f"{self._target}: {reading.words}")
