"""The one process that runs everything: server, deployments, runner, companions; from start to a clean stop."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from uuid import UUID

from deployments import companions
from deployments.serving.left_over import Run, decide, was_missed
from deployments.serving.server import OwnServer
from deployments.serving.wanted import Wanted, wanted
from deployments.tracking import answers, configured_api
from tasks.checks.lock import is_held
from tasks.config import Config
from tasks.errors import Busy, RollcallError

if TYPE_CHECKING:
    from deployments.serving.forms import Choice
    from deployments.serving.runner import RunnerThread

log = logging.getLogger("rollcall")

PLANNED_SECONDS = 90.0
MOST_RESTARTS = 3  # of the server, within so many seconds:
RESTART_WINDOW = 600.0
TIDY_SECONDS = 60.0
STOP_SECONDS = 60.0  # after the grace time: for ending the runs that are still at work


class Service:
    """Everything that `rollcall serve` runs. Use it as a context: leaving it stops all of it, in the right order."""

    def __init__(self, config: Config, file: Path) -> None:
        """`file`: the configuration's path, which every run reads anew."""
        self.config = config
        self.file = file.absolute()
        self.stopping = threading.Event()
        self.server: OwnServer | None = None
        self.api = ""
        self.status_api = ""
        self.deployed: dict[UUID, Wanted] = {}
        self.next_runs: dict[str, datetime] = {}
        self._since: dict[str, datetime] = {}
        self._offered: dict[str, list[Choice]] = {}
        self._before: list[Run] = []
        self._runner: RunnerThread | None = None
        self._threads: list[threading.Thread] = []
        self._restarts: list[float] = []
        self._held = ExitStack()

    def __enter__(self) -> Service:
        try:
            self._held.enter_context(only_service(self.config.state))
            self._connect()
            self._deploy()
            self._settle()
            self._run()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Runs first, for they report to the server; the server last."""
        self.stopping.set()
        runner = self._runner
        if runner and runner.runs:
            runner.ask_to_stop()
            if not runner.wait(self.config.serve.grace + STOP_SECONDS):
                log.warning("Prefect's runner did not end; going on without it.")
        for thread in self._threads:
            thread.join(5)
        if self.server:
            self.server.stop()
        self._held.close()

    def hurry(self) -> None:
        """Wait no longer for the runs that are at work."""
        if self._runner:
            self._runner.hurry()

    @property
    def at_work(self) -> int:
        """How many runs are at work."""
        return self._runner.at_work if self._runner else 0

    def mend(self) -> None:
        """Start the server again if it has ended: runs at work go on meanwhile. Raise RollcallError if all must end."""
        if self._runner and not self._runner.runs:
            raise RollcallError(f"Prefect's runner ended ({type(self._runner.failure).__name__}); start serve again.")
        if self.server is None or self.server.ended() is None:
            return
        now = time.monotonic()
        self._restarts = [each for each in self._restarts if now - each < RESTART_WINDOW] + [now]
        if len(self._restarts) > MOST_RESTARTS:
            raise RollcallError(f"The Prefect server ends again and again; {self.server.log} says why.")
        log.warning("The Prefect server ended with %s; starting it again.", self.server.ended())
        self.server.start()

    def _connect(self) -> None:
        """Find Prefect's API, or start a server. Only then may Prefect be imported: it reads the environment once."""
        configured = configured_api()
        if configured:
            if not answers(configured):
                raise RollcallError(
                    "The Prefect API that PREFECT_API_URL or the active profile names does not answer. Start it, or "
                    "unset that: rollcall serve then starts a server of its own."
                )
            self.api = configured
        else:
            self.server = OwnServer(self.config.state / "prefect", self.config.serve)
            os.environ.update(self.server.environment)
            self.server.start()
            self.api = self.server.api
        os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "rollcall")
        # What this process itself logs belongs to no run.
        os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
        os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

    def _deploy(self) -> None:
        from deployments.serving.runner import RunnerThread

        asked = wanted(self.config, self.file)
        self._since = applied().schedules_before(asked)
        for name in applied().remove_stale(asked, self.file):
            log.info("Removed the deployment %s, which the configuration no longer asks for.", name)
        self._offered = {target: applied().backups_of(self.config, target) for target in self.config.targets}
        section = self.config.serve
        self._runner = RunnerThread(section.grace, section.at_once)
        made = [applied().deployment_of(each, self._offered[each.target]) for each in asked]
        self.deployed = dict(zip(self._runner.add(made), asked, strict=True))

    def _settle(self) -> None:
        """What a former serve left, before anything of it can begin."""
        now = datetime.now(UTC)
        self._before = applied().runs_due(self.deployed, now)
        self._decide(self._before, now)

    def _decide(self, runs: list[Run], now: datetime) -> None:
        """Settle these runs; keep those that are still at work, to ask again."""
        decisions = decide(runs, now, self._is_at_work)
        for each in decisions:
            applied().carry_out(each, self.deployed)
            if each.what != "wait":
                log.info("%s, due %s: %s. %s", each.run.name, _when(each.run.due), WORDS[each.what], each.why)
        self._before = [each.run for each in decisions if each.what == "wait"]

    def _is_at_work(self, flow: str, target: str) -> bool:
        """Whether some process holds the lock that such a run takes; a check takes none, and is over in seconds."""
        if flow == "verify":
            return False
        return is_held(self.config.state, f"{target}/drill" if flow == "drill" else target)

    def _run(self) -> None:
        if self._runner:
            self._runner.start()
        watcher = companions.watch(self.config, self.stopping, str(self.file))
        self._threads += [watcher] if watcher else []
        answered = companions.status_api(self.config, self.stopping)
        if answered:
            thread, self.status_api = answered
            self._threads.append(thread)
        self._plan()
        tidy = threading.Thread(target=self._tidy, name="tidy", daemon=True)
        tidy.start()
        self._threads.append(tidy)

    def _plan(self) -> None:
        """Wait until Prefect has planned every schedule's next run, then look whether one fell between two plans."""
        asked = {each.name for each in self.deployed.values() if each.cron}
        deadline = time.monotonic() + PLANNED_SECONDS
        while not self.stopping.is_set():
            self.next_runs = applied().next_runs(self.deployed)
            if asked <= self.next_runs.keys():
                break
            if time.monotonic() > deadline:
                late = ", ".join(sorted(asked - self.next_runs.keys()))
                raise RollcallError(f"Prefect plans no runs of {late}; is the scheduler of its server switched off?")
            self.stopping.wait(1)
        self._catch_up()

    def _catch_up(self) -> None:
        now = datetime.now(UTC)
        for identity, each in self.deployed.items():
            since = self._since.get(each.name)
            if each.cron is None or since is None or each.flow == "verify":
                continue
            runs = applied().runs_due({identity: each}, now)
            due = was_missed(each.cron, each.timezone, runs, since, now)
            if due:
                log.info("%s, due %s, was missed: started now.", each.name, _when(due))
                applied().start_now(identity, f"missed-{identity}-{due.isoformat()}")

    def _tidy(self) -> None:
        """Every minute: settle what was still at work, and offer new backups in the forms."""
        while not self.stopping.wait(TIDY_SECONDS):
            try:
                self._tidy_once()
            except Exception as error:  # noqa: BLE001 - Prefect or a storage is away; the next minute may be better
                log.warning("The forms could not be brought up to date (%s).", type(error).__name__)

    def _tidy_once(self) -> None:
        if self._before:
            now = datetime.now(UTC)
            known = {run.id for run in self._before}
            self._decide([run for run in applied().runs_due(self.deployed, now) if run.id in known], now)
        applied().refresh_forms(self.config, self.deployed, self._offered)


WORDS = {"skip": "skipped", "dead": "not finished", "wait": "still at work", "again": "started again"}


def applied() -> ModuleType:
    """The module that speaks with Prefect: importing it imports Prefect, which must come after `_connect`."""
    from deployments.serving import applied

    return applied


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@contextmanager
def only_service(state: Path) -> Iterator[None]:
    """Hold the state folder's one place for a `rollcall serve`. Raise Busy if another has it."""
    folder = state / "serve"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise Busy(
                f"Another rollcall serve (process {lock.read().strip()}) uses {state}; stop that one first."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
