"""The one process that runs everything: server, runner, watcher, status API; from start to a clean stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from deployments.serving.beside import WATCHER, beside
from deployments.serving.folders import check_writable, only_service, work_from_the_project
from deployments.serving.left_over import Decision, decide, was_missed
from deployments.serving.page import Page
from deployments.serving.server import OwnServer
from deployments.serving.wanted import Wanted, wanted
from deployments.status_server import ServedApi, serve_api, serve_if_free
from deployments.tracking import answers, configured_api
from deployments.watcher import watch
from tasks.checks.lock import is_held
from tasks.config import Config
from tasks.errors import RollcallError

if TYPE_CHECKING:
    from deployments.serving.forms import Choice
    from deployments.serving.runner import RunnerThread

log = logging.getLogger("rollcall")

PLANNED_SECONDS = 90.0
RENEW_SECONDS = 30.0
MOST_ENDS = 3  # of the runner, within so many seconds:
ENDS_WINDOW = 600.0
SERVER_LOOK_SECONDS = 0.5
TIDY_SECONDS = 60.0
LOOK_AT_ALL = timedelta(minutes=15)  # for backups that were taken without this serve
SEND_SECONDS = 5.0
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
        self.status_api: ServedApi | None = None
        self.deployed: dict[UUID, Wanted] = {}
        self.next_runs: dict[str, datetime] = {}
        self._since: dict[str, datetime] = {}
        self._offered: dict[str, list[Choice]] = {}
        self._outliving: set[str] = set()
        self._runner: RunnerThread | None = None
        self._beside = beside(config, self.stopping)
        self._renew_after = 0.0
        self._ended_runner: RunnerThread | None = None
        self._ends: list[float] = []
        self._answers = threading.Event()  # the server, once it was started again
        self._held = ExitStack()

    def __enter__(self) -> Service:
        try:
            check_writable(self.config.state)
            self._held.enter_context(only_service(self.config.state))
            self.status_api = serve_if_free(self.config, self._beside.states)
            self._connect()
            work_from_the_project()
            with _prefect_s_refusals_in_words():
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
        self._beside.join(5)
        if self.status_api:
            self.status_api.stop()
        if runner:
            from deployments.serving.runner import send_what_is_left

            send_what_is_left(SEND_SECONDS)
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
        """Start again what has ended or is worn; runs at work go on meanwhile. Raise RollcallError if all must end."""
        self._beside.mend()
        runner = self._runner
        if runner is None or time.monotonic() < self._renew_after:
            return
        if not runner.runs:
            self._renew_ended(runner)
        elif runner.worn and not runner.at_work:
            self._renew(runner)

    def _renew_ended(self, runner: RunnerThread) -> None:
        """One that ended by itself, as where the server is away for minutes. Raise RollcallError if that goes on."""
        now = time.monotonic()
        if runner is not self._ended_runner:
            self._ended_runner = runner
            self._ends = [each for each in self._ends if now - each < ENDS_WINDOW] + [now]
            log.warning("Prefect's runner ended (%s); starting a new one.", type(runner.failure).__name__)
        if len(self._ends) > MOST_ENDS:
            raise RollcallError(f"Prefect's runner ended ({type(runner.failure).__name__}); start serve again.")
        self._renew(runner)

    def _renew(self, runner: RunnerThread) -> None:
        """A new runner in place of one that has lost its ear for runs to be cancelled; later, where Prefect is away."""
        try:
            with _prefect_s_refusals_in_words():
                self._since = applied().schedules_before(list(self.deployed.values()))
                if runner.runs:
                    runner.ask_to_stop()
                    runner.wait(self.config.serve.grace + STOP_SECONDS)
                fresh = self._new_runner(list(self.deployed.values()))
                fresh.start()
                self._runner = fresh
                self._plan()
        except RollcallError as error:
            log.warning("%s", error)
            self._renew_after = time.monotonic() + RENEW_SECONDS

    def _keep_server(self, server: OwnServer) -> None:
        """Start it again if it has ended, and see that it runs. Raise RollcallError when it does not."""
        if server.ended() is not None:
            self._answers.clear()
            server.start()
        self._answers.set()
        while not self.stopping.wait(SERVER_LOOK_SECONDS):
            if (code := server.ended()) is not None:
                raise RollcallError(f"it ended with {code}, and {server.log} may say why")

    def _connect(self) -> None:
        """Find Prefect's API, or start a server. Only then may Prefect be imported: it reads the environment once."""
        configured = configured_api()
        if configured and answers(configured):
            self.api = configured
        else:
            own = OwnServer(self.config.state / "prefect", self.config.serve)
            # Whoever has commands tracked by this very serve has named it there.
            if configured and configured.rstrip("/").replace("localhost", "127.0.0.1") != own.api:
                raise RollcallError(
                    "The Prefect API that PREFECT_API_URL or the active profile names does not answer. Start it, or "
                    "unset that: rollcall serve then starts a server of its own."
                )
            os.environ.update(own.environment)
            self.server = own
            log.info("Starting a Prefect server at %s; its data is in %s.", own.ui, own.folder)
            own.start()
            self.api = own.api
        os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "rollcall")
        # What this process itself logs belongs to no run.
        os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
        os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

    def _deploy(self) -> None:
        asked = wanted(self.config, self.file)
        self._since = applied().schedules_before(asked)
        for name in applied().remove_stale(asked, self.file):
            log.info("Removed the deployment %s, which the configuration no longer asks for.", name)
        for target in self.config.targets:
            self._offered[target] = self._backups(target) or []
        self._runner = self._new_runner(asked)

    def _new_runner(self, asked: list[Wanted]) -> RunnerThread:
        """A runner, not yet started, of these deployments, which are made or brought up to date."""
        from deployments.serving.runner import RunnerThread

        section = self.config.serve
        runner = RunnerThread(section.grace, section.at_once)
        made = [applied().deployment_of(each, self._offered[each.target]) for each in asked]
        self.deployed = dict(zip(runner.add(made), asked, strict=True))
        for identity, each in self.deployed.items():
            if not each.cron:
                applied().drop_schedules(identity)
        return runner

    def _settle(self) -> None:
        """What a former serve left, before anything of it can begin."""
        now = datetime.now(UTC)
        self._carry_out(decide(applied().runs_due(self.deployed, now), now, self._is_at_work))

    def _settle_more(self) -> None:
        """What was still at work when this began, and has ended since."""
        if not self._outliving:
            return
        now = datetime.now(UTC)
        decisions = decide(applied().runs_due(self.deployed, now), now, self._is_at_work)
        self._carry_out([each for each in decisions if each.run.id in self._outliving])

    def _carry_out(self, decisions: list[Decision]) -> None:
        """Do it; keep which runs are still at work, to ask again."""
        for each in decisions:
            applied().carry_out(each, self.deployed)
            if each.what != "wait":
                log.info("%s, due %s: %s. %s", each.run.name, _when(each.run.due), WORDS[each.what], each.why)
        self._outliving = {each.run.id for each in decisions if each.what == "wait"}

    def _is_at_work(self, flow: str, target: str) -> bool:
        """Whether some process holds the lock that such a run takes; a check takes none, and is over in seconds."""
        if flow == "verify":
            return False
        return is_held(self.config.state, f"{target}/drill" if flow == "drill" else target)

    def _run(self) -> None:
        if self._runner:
            self._runner.start()
        if self.server:
            own = self.server
            self._beside.go_on("Prefect server", lambda: self._keep_server(own), self._answers.is_set)
        page = Page(self.config, self.stopping, applied().publish)
        self._beside.go_on(WATCHER, lambda: watch(self.config, self.stopping, str(self.file), checked=page.changed))
        self._beside.go_on("page of all targets", page.keep)
        if self.status_api:
            self._beside.keep("status API", self._serve_status_again, self.status_api.thread)
        self._plan()
        self._beside.go_on("care of forms and runs", self._tidy)

    def _serve_status_again(self) -> threading.Thread:
        """Raise RollcallError where its port is taken by now."""
        self.status_api = serve_api(self.config, self._beside.states)
        return self.status_api.thread

    def _plan(self) -> None:
        """Wait until Prefect has planned every schedule's next run, then look whether one fell between two plans."""
        asked = {identity: each.name for identity, each in self.deployed.items() if each.cron}
        self.next_runs = {}
        deadline = time.monotonic() + PLANNED_SECONDS
        while asked and not self.stopping.is_set():
            planned = {name: applied().next_run(identity) for identity, name in asked.items()}
            self.next_runs |= {name: due for name, due in planned.items() if due}
            asked = {identity: name for identity, name in asked.items() if name not in self.next_runs}
            if asked and time.monotonic() > deadline:
                late = ", ".join(asked.values())
                raise RollcallError(f"Prefect plans no runs of {late}; is the scheduler of its server switched off?")
            self.stopping.wait(1 if asked else 0)
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
        looked = told_all = datetime.now(UTC)
        while not self.stopping.wait(TIDY_SECONDS):
            now = datetime.now(UTC)
            try:
                self._settle_more()
                if now - told_all >= LOOK_AT_ALL:
                    targets, told_all = set(self.config.targets), now
                else:
                    targets = applied().targets_with_news(self.deployed, looked)
                self._offer(targets)
                looked = now
            except Exception as error:  # noqa: BLE001 - Prefect is away; the next minute may be better
                log.warning("The restore forms could not be brought up to date (%s).", type(error).__name__)

    def _offer(self, targets: set[str]) -> None:
        """Bring the forms of these targets up to date, where their storages answer."""
        for target in targets:
            backups = self._backups(target)
            if backups is None or backups == self._offered[target]:
                continue
            for identity, each in self.deployed.items():
                if each.target == target and each.offers_backups:
                    applied().refresh_form(identity, each, backups)
            self._offered[target] = backups

    def _backups(self, target: str) -> list[Choice] | None:
        """What the storages hold; None where one of them does not say."""
        try:
            found: list[Choice] | None = applied().backups_of(self.config, target)
        except RollcallError as error:
            log.warning("The backups of %s could not be listed: %s", target, error)
            return None
        return found


WORDS = {"skip": "skipped", "dead": "not finished", "wait": "still at work", "again": "started again"}


def applied() -> ModuleType:
    """The module that speaks with Prefect: importing it imports Prefect, which must come after `_connect`."""
    from deployments.serving import applied

    return applied


@contextmanager
def _prefect_s_refusals_in_words() -> Iterator[None]:
    """What Prefect's API would not do, as a RollcallError. It quotes no address, for one may have a key in it."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status, path = error.response.status_code, error.request.url.path
        hint = "check PREFECT_API_KEY or PREFECT_API_AUTH_STRING" if status in {401, 403} else "its log says why"
        raise RollcallError(f"Prefect's API answered {path} with {status}; {hint}.") from None
    except httpx.HTTPError as error:
        raise RollcallError(f"Prefect's API does not answer any more ({type(error).__name__}); see to it.") from None


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
