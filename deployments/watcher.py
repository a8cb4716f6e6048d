"""The watcher: follows the engine's events, and checks a target as soon as something has happened to it.

Events only say where to look; all targets are looked at again whenever the connection to the engine was lost, and every
quarter of a minute, so that what happened meanwhile is noticed even where no event told of it.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from deployments.watcher_case import Case, Shared
from deployments.watcher_words import Word
from tasks.checks.lock import only_run
from tasks.config import Config
from tasks.containers.engine import engine
from tasks.containers.neighbours import Around, look_around
from tasks.errors import Busy, EngineError, HistoryError, RollcallError
from tasks.history.store import open_history
from tasks.models import Identity
from tasks.watching.decide import Need, compare, first_look
from tasks.watching.engine_events import EngineEvent, EngineEvents
from tasks.watching.new_volumes import LookAlike, NewVolumes
from tasks.watching.sighting import Sighting, crowd, sight
from tasks.watching.telling import engine_lost, engine_regained, look_alike, look_alike_message

log = logging.getLogger("rollcall")

LOOK_AGAIN = 15.0
ENTERING = 30.0
"""For so long a container that came to a pinned volume is asked every second whether it runs a server on it: an entry
point may do much before that."""
ENTERING_POLL = 1.0
RECONNECT_AFTER = 0.5
TELL_LOST_AFTER = 60.0
"""A restart of the engine takes less; whoever runs the watcher alone has no schedule that would miss the engine."""
COMES_OR_GOES = frozenset({"start", "die", "destroy"})
PATIENCE = 0.25
STANDBY = 5.0
ENDS_WITHIN = 5.0
"""For the checks that are under way when the watch is to stop."""
ENGINE_SECONDS = 20.0
"""For one answer of the engine: a connection that hangs must not keep the watch from noticing."""


def watch(
    settings: Config,
    stop: threading.Event,
    config: str | None = None,
    *,
    say: Callable[[str], None] = log.info,
    checked: Callable[[], None] = lambda: None,
) -> None:
    """Watch all targets until `stop` is set; checks run in threads of their own, on the configuration file `config`.

    `say` takes each thing that is noticed, as a line for people; `checked` is called after every check. A second
    watcher of the same state folder stands by until the first has ended. An engine that does not answer is waited for.
    Raise ConfigError where the state folder cannot be used, RollcallError where the watch of an engine ended by a
    defect: the others end with it, and whoever started this starts all of it again.
    """
    standing_by = False
    while not stop.is_set():
        try:
            with only_run(settings.state, "watcher/watch"):
                halt = threading.Event()
                _run(
                    [_Watcher(settings.on(each), halt, config, say, checked) for each in settings.engines()], stop, halt
                )
                return
        except Busy:
            if not standing_by:
                say("another watcher is at work on this state folder; this one waits for its end")
            standing_by = True
            stop.wait(STANDBY)


def _run(watchers: Sequence[_Watcher], stop: threading.Event, halt: threading.Event) -> None:
    """One for each engine, until `stop`: an engine that is lost must not hide what happens on another.

    halt: what the watchers themselves heed. One that waits for a silent engine is left behind: it holds up no stop,
    and does nothing more once the engine answers.
    """
    warm_up()
    threads = [threading.Thread(target=each.run, daemon=True, name="rollcall-watcher") for each in watchers]
    try:
        for thread in threads:
            thread.start()
        while all(thread.is_alive() for thread in threads) and not stop.wait(PATIENCE):
            pass
    finally:
        halt.set()
        deadline = time.monotonic() + ENDS_WITHIN + 2 * PATIENCE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
    failures = [each.failure for each in watchers if each.failure]
    if failures:
        raise RollcallError(f"The watch of an engine ended by a defect ({type(failures[0]).__name__}).")


class _Watcher:
    def __init__(
        self,
        settings: Config,
        stop: threading.Event,
        config: str | None,
        say: Callable[[str], None],
        checked: Callable[[], None],
    ) -> None:
        self._settings, self._stop, self._say = settings, stop, say
        self._remind_every = settings.remind_every_hours * 3600
        self.failure: BaseException | None = None
        """What ended it before it was time."""
        shared = Shared(settings, config, stop, say, checked)
        self._cases = {name: Case(name, shared) for name in settings.targets}
        self._seen: dict[str, Sighting] = {}
        self._volumes = NewVolumes(settings)
        self._entering: dict[str, float] = {}
        """Until when (seconds, monotonic), by target."""
        self._asked = 0.0
        self._since: int | None = None
        self._look_alikes: list[tuple[LookAlike, Word]] = []
        """Those that were told, or are being told, and are still there."""
        self._lost: float | None = None
        self._told_lost: float | None = None
        self._words: list[Word] = []
        """That the engine is lost, as often as it was said since."""

    def run(self) -> None:
        """Follow the engine until it is time to stop, through as many lost connections as come."""
        try:
            while not self._stop.is_set():
                try:
                    self._follow()
                except EngineError as error:
                    self._lose(f"the engine is lost: {error}")
                except Exception as error:  # noqa: BLE001 - a watcher that ends without a word is worse than any defect
                    self._lose(f"the watcher met a defect ({type(error).__name__}) and begins again")
        except BaseException as error:  # noqa: BLE001 - raised by who started this thread
            self.failure = error
        finally:
            deadline = time.monotonic() + ENDS_WITHIN
            for case in self._cases.values():
                case.end(deadline - time.monotonic())

    def _lose(self, words: str) -> None:
        """Wait a moment; it is said once until all is well again, and people are told, and reminded, where that takes
        long."""
        now = time.monotonic()
        if self._lost is None:
            self._say(words)
            self._lost = now
        since = self._told_lost
        due = now - self._lost >= TELL_LOST_AFTER if since is None else now - since >= self._remind_every
        if due:
            self._told_lost = now
            for each in self._words:
                each.drop()  # Who has not heard it yet hears this one.
            self._words.append(self._tell(Word(self._settings, engine_lost(list(self._cases), words), self._stop)))
        self._stop.wait(RECONNECT_AFTER)

    def _regain(self) -> None:
        self._say(f"watching {', '.join(self._cases)}" if self._lost is None else "all is watched again")
        if self._words:
            self._tell(Word(self._settings, engine_regained(list(self._cases)), self._stop, answers=self._words))
        self._lost, self._told_lost, self._words = None, None, []

    def _tell(self, word: Word) -> Word:
        word.start()
        return word

    def _follow(self) -> None:
        """One connection: subscribe, then look at everything, so that nothing falls in between."""
        with engine(self._settings.docker, ENGINE_SECONDS) as client:
            client.ping()  # Where this hangs it ends; a subscription has no time-out.
        with EngineEvents(self._settings.docker, self._since) as events:
            self._look(self._cases)
            self._regain()
            looked = time.monotonic()
            while not self._stop.is_set():
                event = events.next(PATIENCE)
                if event is not None:
                    self._take([event, *events.waiting()])
                if time.monotonic() - looked >= LOOK_AGAIN:
                    self._look(self._cases)
                    looked = time.monotonic()
                self._look_at_those_entering()
                self._tell_look_alikes()

    def _take(self, events: Sequence[EngineEvent]) -> None:
        """One look, however many they are: a wrong container must not wait behind two hundred others."""
        self._since = max(event.at for event in events)
        targets = {name: None for event in events for name in concerned(event, self._settings)}
        volumes = any(event.kind == "volume" and event.action == "create" for event in events)
        strangers = any(
            event.kind == "container" and event.action in COMES_OR_GOES and not event.ours for event in events
        )
        if targets or volumes or strangers:
            self._look(targets, volumes=volumes, strangers=strangers)

    def _look(self, targets: Iterable[str], *, volumes: bool = True, strangers: bool = False) -> None:
        """Look at these targets, and at which volumes there are, and ask for the checks that the changes call for.

        strangers: also at the targets whose pinned volume another container has mounted, or has no more.
        """
        with engine(self._settings.docker, ENGINE_SECONDS) as client:
            around = look_around(client)
            for name in dict.fromkeys([*targets, *(self._disturbed(around) if strangers else ())]):
                self._compare(name, sight(client, self._settings.target(name), around))
            found = self._volumes.look(client) if volumes else []
            for name in {each.target for each in found}:  # As it is now that the volume is there.
                self._compare(name, sight(client, self._settings.target(name), around))
        for each in found:
            self._say(f"{each.target}: the volume {each.volume} was made, and looks like the pinned one")
            seen = self._seen.get(each.target)
            if seen and seen.running and seen.volume != each.volume:
                self._cases[each.target].need(Need("at once", f"whether {each.volume} has taken its place"), seen)

    def _disturbed(self, around: Around) -> list[str]:
        return [
            name for name, seen in self._seen.items() if crowd(around, self._settings.target(name), seen) != seen.crowd
        ]

    def _look_at_those_entering(self) -> None:
        now = time.monotonic()
        self._entering = {name: until for name, until in self._entering.items() if now < until}
        if self._entering and now - self._asked >= ENTERING_POLL:
            self._asked = now
            self._look(list(self._entering), volumes=False)

    def _compare(self, name: str, seen: Sighting) -> None:
        before, pin = self._seen.get(name), self._settings.target(name).pinned
        self._seen[name] = seen
        if before and seen.crowd - before.crowd:
            self._entering[name] = time.monotonic() + ENTERING
        need = compare(before, seen, pin) if before else self._first_look(name, seen, pin)
        if need:
            self._cases[name].need(need, seen)

    def _first_look(self, name: str, seen: Sighting, pin: str) -> Need | None:
        """Raise nothing: a history that cannot be read is what the check will tell of."""
        try:
            with open_history(self._settings.history) as history:
                last = history.latest(name)
        except HistoryError:
            last = None
        identity: Identity | None = last.identity if last else None
        return first_look(seen, last.checked_at if last else None, identity.container_id if identity else None, pin)

    def _tell_look_alikes(self) -> None:
        self._drop_those_that_are_gone()
        for each in self._volumes.settled():
            seen, pin = self._seen.get(each.target, Sighting()), self._settings.target(each.target).pinned
            if seen.running and seen.volume == each.volume:
                continue  # A check has told of it, with what is in it.
            finding = look_alike(each.volume, pin, each.project, mounted=seen.running and seen.volume == pin)
            self._say(f"{each.target}: {finding.message}")
            word = Word(self._settings, look_alike_message(each.target, finding), self._stop)
            self._look_alikes.append((each, self._tell(word)))

    def _drop_those_that_are_gone(self) -> None:
        for each, word in self._look_alikes:
            if not self._volumes.is_there(each.volume):
                word.drop()
                if not word.heard:
                    self._volumes.unheard(each.target)
        self._look_alikes = [each for each in self._look_alikes if self._volumes.is_there(each[0].volume)]


def concerned(event: EngineEvent, settings: Config) -> list[str]:
    """The targets to look at again: a renamed container may be anybody's heir."""
    if event.action == "rename":
        return list(settings.targets)
    return [
        name
        for name, target in settings.targets.items()
        if (target.volume if event.kind == "volume" else target.container) in event.names
    ]


def warm_up() -> None:
    """Import now what the first check and the first alert would: seconds that an alarm should not pay."""
    importlib.import_module("flows.verify")
    importlib.import_module("apprise")
