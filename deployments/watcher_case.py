"""One target under watch: what it waits for, and its checks, one at a time, in a thread that lives only as long."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from deployments.watcher_places import GIVE_UP_AFTER, Places, after
from tasks.alerts.tell import send
from tasks.checks.lock import is_held, sharing
from tasks.config import Config
from tasks.errors import HistoryError, RollcallError
from tasks.history.store import open_history
from tasks.history.telling import told_since
from tasks.models import CheckResult
from tasks.restore.journal import active_path
from tasks.watching.accepting import accepts
from tasks.watching.decide import Checked, Need, Pending, is_due, joined, seconds_to_wait
from tasks.watching.sighting import Sighting
from tasks.watching.telling import Certain, certain, check_hangs

log = logging.getLogger("rollcall")

QUICK_POLL, CALM_POLL = 0.2, 1.0
QUICK_SECONDS = 30.0
"""For so long a start is asked for often; a server that recovers logs a line each time it is asked."""
CHECKS_KEPT = 50
AGAIN_AFTER = 30.0
FIRST_WORD_AFTER = 2.5
"""A check that takes longer, for it counts a large copy or waits for a storage, must not keep back what is certain."""
START_WAIT_ON_ANOTHER_VOLUME = 30.0
"""Its server may never accept connections, being of another version; that it is the wrong one is known already."""


@dataclass
class Shared:
    """What the cases of one watcher share. places: for checks at once; say: takes a line for people;
    checked: called after every check."""

    settings: Config
    config: str | None
    stop: threading.Event
    say: Callable[[str], None]
    checked: Callable[[], None]
    places: Places = field(default_factory=Places)


def verify_directly(target: str, config: str | None) -> CheckResult:
    """Run the verify flow in this thread, untracked: no server is asked, and nothing shared is changed.

    Imported here, for a flow that is imported before Prefect stays a plain function for good.
    """
    flow = importlib.import_module("flows.verify").verify
    result: CheckResult = getattr(flow, "fn", flow)(target, config)
    return result


class Case:
    """One target. All methods may be called from any thread.

    owed: what is certain to be wrong and nobody has been told of yet, a wrong volume or a second server; told: what
    somebody was told of, until all is right again.
    """

    def __init__(self, target: str, shared: Shared) -> None:
        self.target, self._shared = target, shared
        self._rules = shared.settings.target(target)
        self._changed = threading.Condition()
        self._pending: Pending | None = None
        self._seen = Sighting()
        self._checks: list[Checked] = []
        self._checking = False
        self._owed: Certain | None = None
        self._told: Certain | None = None
        self._thread: threading.Thread | None = None

    def need(self, need: Need, seen: Sighting) -> None:
        """A check is called for at this sight; one that already waits is replaced."""
        self._say(need.why)
        with self._changed:
            self._pending = joined(self._pending, need, time.monotonic())
            self._seen = seen
            wrong = certain(self.target, self._rules, seen)
            if wrong is None and seen.volume == self._rules.pinned:
                self._owed = self._told = None
            elif wrong not in {None, self._told}:
                self._owed = wrong
            if self._checking:
                self._word_if_it_takes_long()  # It looks at what was there before.
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._attend, daemon=True, name=f"rollcall-watch-{self.target}")
                self._thread.start()

    def end(self, seconds: float) -> None:
        """Wait so long at most for the thread, which sees that the watch has stopped; a long check ends with the
        process."""
        with self._changed:
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(max(0.0, seconds))

    def _attend(self) -> None:
        """Until nothing is waited for any more; through defects too, for this target would be watched by nobody."""
        while True:
            try:
                self._attend_to_its_end()
            except Exception as error:  # noqa: BLE001 - said, and begun again after a while
                self._say(f"the watcher met a defect ({type(error).__name__}) and begins again")
                self._shared.stop.wait(AGAIN_AFTER)
            else:
                return

    def _attend_to_its_end(self) -> None:
        while True:
            with self._changed:
                pending = self._pending
                if pending is None or self._shared.stop.is_set():
                    self._thread = None
                    return
            accepting = self._accepts(pending)
            with self._changed:
                if self._pending is not pending:
                    continue
                if not self._may_check(pending, accepting):
                    self._changed.wait(self._poll(pending))
                    continue
            self._check(pending, accepting)

    def _accepts(self, pending: Pending) -> bool:
        return pending.need.when == "when it accepts connections" and accepts(self._rules)

    def _may_check(self, pending: Pending, accepting: bool) -> bool:
        now, start_wait = time.monotonic(), self._rules.start_wait
        if self._seen.volume != self._rules.pinned:
            start_wait = min(start_wait, START_WAIT_ON_ANOTHER_VOLUME)
        if not is_due(pending, accepting, now, start_wait):
            return False
        return seconds_to_wait(self._checks, self._seen, now) == 0 and not self._is_restored()

    def _is_restored(self) -> bool:
        """A restore stops and starts the container itself; what it leaves is looked at when it is over."""
        settings = self._shared.settings
        return any(
            active_path(settings.state, each).exists() and is_held(settings.state, each)
            for each in sharing(settings, self.target)
        )

    def _poll(self, pending: Pending) -> float:
        return QUICK_POLL if time.monotonic() - pending.since < QUICK_SECONDS else CALM_POLL

    def _check(self, pending: Pending, accepting: bool) -> None:
        """Verify, and put down what is still to be waited for: connections, if it did not accept any."""
        with self._changed:
            begun, seen, self._checking = time.monotonic(), self._seen, True
            self._checks = [*self._checks[1 - CHECKS_KEPT :], Checked(begun, seen)]
            self._word_if_it_takes_long(datetime.now(UTC))
        with self._shared.places.one(), after(self._rules.check_deadline + GIVE_UP_AFTER, self._tell_that_it_hangs):
            well = self._verified(begun)
        self._shared.checked()
        if not well and (owed := self._owed) is not None:
            self._give_first_word(owed)  # On a full disk, say, no check comes to its end; this needs none.
        with self._changed:
            self._checking = False
            if well and self._owed == (wrong := certain(self.target, self._rules, seen)):
                self._owed, self._told = None, wrong
            if self._pending is not pending:
                return
            if pending.need.when == "when it accepts connections" and not accepting:
                self._pending = replace(pending, tried=True)
            elif well:
                self._pending = None
            else:
                self._changed.wait(AGAIN_AFTER)

    def _word_if_it_takes_long(self, begun: datetime | None = None) -> None:
        """What is certain and no check has told of in a while, for it takes long or another one does, is told.

        begun: when a check began that looks at this very volume, and may have told of it before it ends.
        """
        if self._owed is not None:
            timer = threading.Timer(FIRST_WORD_AFTER, self._give_first_word, [self._owed, begun])
            timer.daemon = True
            timer.start()

    def _give_first_word(self, wrong: Certain, begun: datetime | None = None) -> None:
        has_told = begun is not None and self._has_told(begun)
        with self._changed:
            if self._owed != wrong or self._shared.stop.is_set() or self._is_restored():
                return
            if not self._checking:
                return  # The other check has ended; the one that is to come has its own time.
            self._owed, self._told = None, wrong
        if has_told:
            return
        self._say(f"{wrong.words}: told before a check has ended")
        for sentence in send(self._shared.settings, wrong.message):
            log.warning("%s", sentence)

    def _has_told(self, begun: datetime) -> bool:
        """Whether the check has told already; no where the history cannot say."""
        try:
            with open_history(self._shared.settings.history) as history:
                return told_since(history, self.target, begun)
        except HistoryError:
            return False

    def _verified(self, begun: float) -> bool:
        """Whether a check came to its end; the flow tells of what it found and of its own failure."""
        try:
            result = verify_directly(self.target, self._shared.config)
        except RollcallError as error:
            self._say(f"the check did not come to its end: {error}")
            return False
        except Exception as error:  # noqa: BLE001 - a defect in one check must not end the watch of all targets
            self._say(f"the check met a defect ({type(error).__name__}); rollcall verify {self.target} may say more")
            return False
        wrong = ", ".join(dict.fromkeys(each.code for each in result.findings if each.severity != "notice"))
        self._say(f"{result.verdict}{f' ({wrong})' if wrong else ''}, checked in {time.monotonic() - begun:.1f} s")
        return True

    def _tell_that_it_hangs(self) -> None:
        """What should have failed by itself long ago: nobody would miss the checks that do not follow it."""
        word = check_hangs(self.target, self._rules.check_deadline + GIVE_UP_AFTER)
        log.warning("%s", word.title)
        for sentence in send(self._shared.settings, word):
            log.warning("%s", sentence)

    def _say(self, words: str) -> None:
        self._shared.say(f"{self.target}: {words}")
