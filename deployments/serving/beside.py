"""What goes on beside the runs, each in a thread of its own, and is started again where it has ended: the watcher, …

A thread that dies says nothing by itself: `mend` notices. What cannot be kept running is told to people, for nobody
would miss a watcher until its alarm does not come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from deployments.status_answers import PartState
from tasks.alerts.message import Message, in_words
from tasks.alerts.tell import send
from tasks.config import Config
from tasks.errors import RollcallError

log = logging.getLogger("rollcall")

WATCHER, RUNNER, SERVER = "watcher", "Prefect runner", "Prefect server"
SCHEDULING, CONFIGURATION = "scheduling", "configuration"
PAGE, CARE = "page of all targets", "care of forms and runs"
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a new start, doubling from one failure to the next."""
STEADY = 20.0
"""So many seconds without an end, and it is said to run again."""
TOLD_AFTER, TOLD_AFTER_SECONDS = 4, 60.0
"""So many ends in a row, ten seconds or so, or one after so long, and people are told."""
FALLS_WINDOW = 900.0
"""As many falls within it, each from having run, are told too; the good news waits until they have become fewer."""


class Words(NamedTuple):
    """How it is said that a part has ended, what is done then, that it cannot be kept running, and that it can."""

    ended: str = "ended"
    then: str = "starting it again"
    down: str = "does not run"
    up: str = "runs again"


WORDS = {
    SCHEDULING: Words("does not work", "looking again", "does not work", "works again"),
    CONFIGURATION: Words("cannot be read", "looking again", "cannot be read", "can be read again"),
}


def words_of(name: str) -> Words:
    """A part's own words, where it is not something that runs."""
    return WORDS.get(name, Words())


@dataclass
class _Part:
    """start: puts its work into a thread and returns that; or raises. ready: whether it has done what it
    needs to begin with; reason: why the thread ended, where that is known there. Times: seconds, monotonic; down: since
    when; ends: in a row; falls: when each row of ends of the last quarter of an hour began."""

    name: str
    start: Callable[[], threading.Thread]
    ready: Callable[[], bool]
    reason: Callable[[], str]
    thread: threading.Thread | None = None
    started: float = 0.0
    due: float | None = None
    down: float = 0.0
    ends: int = 0
    restarts: int = 0
    falls: list[float] = field(default_factory=list)
    told: float | None = None
    why: str = "it ended by itself"


@dataclass
class Beside:
    """The parts of a serve. remind: seconds between two messages about one that does not run; tell: sends it and
    returns what could not be delivered."""

    stopping: threading.Event
    tell: Callable[[Message], list[str]]
    remind: float = 3600.0
    clock: Callable[[], float] = time.monotonic
    _parts: dict[str, _Part] = field(default_factory=dict)
    _expected: list[str] = field(default_factory=list)

    def expect(self, *names: str) -> None:
        """Parts that are to begin: until they do they are down."""
        self._expected += names

    def go_on(self, name: str, work: Callable[[], None], ready: Callable[[], bool] = lambda: True) -> None:
        """Do `work` until all is to stop, again whenever it ends before; it is well again once it is `ready`."""

        def start() -> threading.Thread:
            thread = threading.Thread(target=self._noting, args=(name, work), name=name, daemon=True)
            thread.start()
            return thread

        self.keep(name, start, ready=ready)

    def keep(
        self,
        name: str,
        start: Callable[[], threading.Thread],
        thread: threading.Thread | None = None,
        ready: Callable[[], bool] = lambda: True,
        reason: Callable[[], str] = lambda: "",
    ) -> None:
        """Keep running what `start` starts; `thread` where it runs already. Raise what `start` does."""
        part = self._parts[name] = _Part(name, start, ready, reason, thread, self.clock())
        part.thread = thread or start()

    def announce(self, message: Message) -> None:
        """Tell people once, in a thread of its own."""

        def deliver() -> None:
            for sentence in self.tell(message):
                log.warning("%s", sentence)

        threading.Thread(target=deliver, daemon=True, name="rollcall-tell").start()

    def replaced(self, name: str, thread: threading.Thread) -> None:
        """The part goes on in this thread, the former one having been ended by who started it. Only between calls of
        `mend`."""
        self._parts[name].thread = thread

    def mend(self) -> None:
        """Start again what has ended, ever later; to be called every second or so."""
        if not self.stopping.is_set():
            for part in self._parts.values():
                self._mend(part)

    def states(self) -> dict[str, PartState]:
        """How every part is, by its name. May be called from any thread."""
        states = dict.fromkeys(self._expected, PartState(False, 0))
        return states | {
            name: PartState(part.ends == 0 and part.thread is not None and part.thread.is_alive(), part.restarts)
            for name, part in list(self._parts.items())
        }

    def join(self, seconds: float) -> None:
        """Wait so long at most for each, once all is to stop."""
        for part in self._parts.values():
            if part.thread is not None:
                part.thread.join(seconds)

    def _mend(self, part: _Part) -> None:
        now = self.clock()
        if part.thread is not None and part.thread.is_alive():
            self._look_at_running(part, now)
        elif part.due is None:
            self._note_end(part, now)
        elif now >= part.due:
            part.due = None
            part.started, part.restarts = now, part.restarts + 1
            try:
                part.thread = part.start()
            except RollcallError as error:
                part.thread, part.why = None, str(error).rstrip(".")
            except Exception as error:  # noqa: BLE001 - the other parts are to be looked after all the same
                part.thread, part.why = None, type(error).__name__

    def _look_at_running(self, part: _Part, now: float) -> None:
        if part.ends and not part.ready():
            self._tell_where_it_is_time(part, now)
        elif part.ends and now - part.started >= STEADY:
            log.info("The %s of rollcall serve %s.", part.name, words_of(part.name).up)
            part.ends, part.why = 0, _Part.why
        if part.told is not None and not part.ends and not _falls_often(part, now):
            part.told = None
            self._send(part, runs_again(part.name))

    def _note_end(self, part: _Part, now: float) -> None:
        if part.thread is not None:
            part.why = part.reason() or part.why
        part.due = now + min(LONGEST_WAIT, FIRST_WAIT * 2.0**part.ends)
        part.ends += 1
        if part.ends == 1:
            part.down = now
            part.falls.append(now)
            words = words_of(part.name)
            log.warning("The %s of rollcall serve %s (%s); %s.", part.name, words.ended, part.why, words.then)
        self._tell_where_it_is_time(part, now)

    def _tell_where_it_is_time(self, part: _Part, now: float) -> None:
        long = part.ends >= TOLD_AFTER or now - part.down >= TOLD_AFTER_SECONDS or _falls_often(part, now)
        if long and (part.told is None or now - part.told >= self.remind):
            part.told = now
            self._send(part, does_not_run(part.name, part.why))

    def _send(self, part: _Part, message: Message) -> None:
        """In a thread of its own, for a destination that does not answer takes half a minute."""

        def deliver() -> None:
            log.warning("%s", message.title)
            undelivered = self.tell(message)
            for sentence in undelivered:
                log.warning("%s", sentence)
            if undelivered:
                part.told = None  # It is tried again when it next ends.

        threading.Thread(target=deliver, daemon=True, name="rollcall-tell").start()

    def _noting(self, name: str, work: Callable[[], None]) -> None:
        """Do it, and keep why it ended."""
        why = _Part.why
        try:
            work()
        except RollcallError as error:
            why = str(error).rstrip(".")
        except BaseException as error:  # noqa: BLE001 - said by `mend`; others' texts may hold secrets
            why = type(error).__name__
        part = self._parts.get(name)
        if part is not None:
            part.why = why


def _falls_often(part: _Part, now: float) -> bool:
    part.falls = [each for each in part.falls if now - each < FALLS_WINDOW]
    return len(part.falls) >= TOLD_AFTER


def beside(config: Config, stopping: threading.Event) -> Beside:
    """The parts of this configuration's serve; they tell as its alerts do."""
    return Beside(stopping, lambda message: send(config, message), config.remind_every_hours * 3600)


def does_not_run(name: str, why: str) -> Message:
    """What people are told of a part that cannot be kept running."""
    after = ["It is tried again every minute. Next: see the log of rollcall serve."]
    if name == WATCHER:
        after.insert(0, "A wrong container or volume is noticed at the next scheduled check, not before.")
    if name in (RUNNER, SCHEDULING):
        after.insert(0, "No scheduled backup, check or drill begins meanwhile.")
    if name == CONFIGURATION:
        after = ["Every backup, check and drill fails until the file is mended."]
    said = f"It ends again and again: {why}." if name not in WORDS else f"{why}."
    return in_words(f"FAILED rollcall serve: its {name} {words_of(name).down}", said, after, "failure")


def runs_again(name: str) -> Message:
    """The good news after that."""
    said = "It was started again and goes on." if name not in WORDS else "All is well again."
    return in_words(f"RECOVERED rollcall serve: its {name} {words_of(name).up}", said, [], "success")
