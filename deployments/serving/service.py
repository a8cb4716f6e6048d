"""The one process that runs everything: server, runner, watcher, status API; from start to a clean stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from deployments.serving.beside import CARE, CONFIGURATION, PAGE, RUNNER, SCHEDULING, SERVER, WATCHER, beside
from deployments.serving.configured import keep_reading
from deployments.serving.folders import check_writable, only_service, work_from_the_project
from deployments.serving.late import applied, refusals_in_words, see_that_it_answers
from deployments.serving.listing import Listing
from deployments.serving.page import Page
from deployments.serving.plans import Plans
from deployments.serving.scheduling import Scheduling, deployed_again, named
from deployments.serving.server import OwnServer
from deployments.serving.settling import Settling
from deployments.serving.wanted import Wanted, wanted
from deployments.status_server import ServedApi, serve_api, serve_if_free
from deployments.tracking import answers, configured_api, unusable
from deployments.watcher import watch
from tasks.config import Config
from tasks.errors import RollcallError

if TYPE_CHECKING:
    from deployments.serving.applied import OwnArtifact
    from deployments.serving.forms import Choice
    from deployments.serving.runner import RunnerThread

log = logging.getLogger("rollcall")

RENEW_SECONDS = 30.0
SERVER_LOOK_SECONDS = 0.5
SERVER_ASK_SECONDS = 15.0
SERVER_HANGS_SECONDS = 300.0
"""Its health is asked for, which needs no database: so long without an answer is no work that will have an end."""
TIDY_SECONDS = 60.0
LOOK_AT_ALL = timedelta(minutes=15)  # for backups that were taken without this serve
LIST_AT_START = 10.0
LIST_SECONDS = 60.0
"""How long the forms wait for the storages' lists, which they may get a minute later as well."""
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
        self._plans = Plans(self.stopping)
        self._scheduling = Scheduling(lambda: self.api, lambda: self.deployed, self.stopping)
        self._settling = Settling(config.state)
        self._offered: dict[str, list[Choice]] = {}
        self._listing = Listing(self._backups)
        self._page = Page(config, self.stopping, self._publish)
        self._artifact: OwnArtifact | None = None
        self._runner: RunnerThread | None = None
        self._beside = beside(config, self.stopping)
        self._renew_after = 0.0
        self._answers = threading.Event()  # the server, once it was started again
        self._held = ExitStack()

    def __enter__(self) -> Service:
        try:
            check_writable(self.config.state)
            self._held.enter_context(only_service(self.config.state))
            self._beside.expect(WATCHER, CONFIGURATION, RUNNER, SCHEDULING, PAGE, CARE)
            self.status_api = serve_if_free(self.config, self._beside.states)
            self._choose_api()
            work_from_the_project()
            self._watch()
            if self.server:
                log.info("Starting a Prefect server at %s; its data is in %s.", self.server.ui, self.server.folder)
                self.server.start(self._beside.mend)
            with refusals_in_words():
                self._deploy()
                self._settling.all(self.deployed)
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

    @property
    def next_runs(self) -> dict[str, datetime]:
        """When each deployment is due next, by its name."""
        return self._plans.next_runs

    def mend(self) -> None:
        """Start again what has ended or is worn; runs at work go on meanwhile."""
        self._beside.mend()
        runner = self._runner
        if runner is None or not runner.runs or time.monotonic() < self._renew_after:
            return
        worn = runner.worn and not runner.at_work
        if self._plans.done and not worn and not self._scheduling.lost:
            return
        try:
            see_that_it_answers(self.api)
            with refusals_in_words():
                if worn:
                    self._renew(runner)
                elif self._scheduling.lost:
                    self._deploy_again(runner, self._scheduling.lost)
                if not self._plans.done:
                    self._plans.complete(self.deployed)
        except RollcallError as error:
            log.warning("%s", error)
            self._renew_after = time.monotonic() + RENEW_SECONDS
        except Exception as error:  # noqa: BLE001 - the watcher must not end for it
            log.warning("Prefect's runner could not be made anew (%s); trying again.", type(error).__name__)
            self._renew_after = time.monotonic() + RENEW_SECONDS

    def _renew(self, runner: RunnerThread) -> None:
        """A new runner in place of one that has lost its ear for runs to be cancelled; later, where Prefect is away."""
        asked = list(self.deployed.values())
        self._plans.note(asked)
        runner.ask_to_stop()
        runner.wait(self.config.serve.grace + STOP_SECONDS)
        fresh = self._new_runner(asked)
        fresh.start()
        self._runner = fresh
        self._beside.replaced(RUNNER, fresh.thread)

    def _deploy_again(self, runner: RunnerThread, lost: list[str]) -> None:
        """Give Prefect what it has lost. Runs at work go on; what came due since all was there last is made up for."""
        asked = list(self.deployed.values())
        self._plans.note(asked, dict.fromkeys(lost, self._scheduling.seen))
        self._add(runner, asked)
        self._scheduling.lost = []
        log.warning("Prefect had lost %s: deployed again.", named(lost))
        self._beside.announce(deployed_again(lost))

    def _start_runner_again(self) -> threading.Thread:
        """One that ended by itself took its runs with it: they are settled first. Raise RollcallError where Prefect is
        away; what was planned is completed by `mend`, and only then is the runner well again."""
        if self.server and not self._answers.is_set():
            raise RollcallError("The Prefect server does not run.")
        with refusals_in_words():
            asked = list(self.deployed.values())
            self._plans.note(asked)
            fresh = self._new_runner(asked)
            self._settling.all(self.deployed)
            fresh.start()
            self._runner = fresh
        return fresh.thread

    def _why_the_runner_ended(self) -> str:
        failure = self._runner.failure if self._runner else None
        return type(failure).__name__ if failure else ""

    def _keep_server(self, server: OwnServer) -> None:
        """Start it again if it has ended, and see that it runs. One that hangs is ended. Raise RollcallError when
        it does not run."""
        if server.ended() is not None:
            self._answers.clear()
            server.start()
        self._answers.set()
        asked = answered = time.monotonic()
        while not self.stopping.wait(SERVER_LOOK_SECONDS):
            server.rotate_log()
            if (code := server.ended()) is not None:
                raise RollcallError(f"it ended with {code}, and {server.log} may say why")
            if time.monotonic() - asked < SERVER_ASK_SECONDS:
                continue
            answered = time.monotonic() if answers(server.api) else answered
            asked = time.monotonic()
            if asked - answered > SERVER_HANGS_SECONDS:
                server.stop()
                raise RollcallError(f"it gave no answer for {SERVER_HANGS_SECONDS:g} s, and was ended")

    def _choose_api(self) -> None:
        """Find Prefect's API, or say where a server will be. Only then may Prefect be imported: it reads the
        environment once."""
        configured = configured_api()
        why = unusable(configured) if configured else None
        if configured and why is None:
            self.api = configured
        else:
            own = OwnServer(self.config.state / "prefect", self.config.serve)
            # Whoever has commands tracked by this very serve has named it there.
            if configured and configured.rstrip("/").replace("localhost", "127.0.0.1") != own.api:
                raise RollcallError(
                    f"{why}. PREFECT_API_URL or the active profile names it. Start it, or unset that: rollcall serve "
                    "then starts a server of its own."
                )
            os.environ.update(own.environment)
            self.server = own
            self.api = own.api
            self._beside.expect(SERVER)
        os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "rollcall")
        # What this process itself logs belongs to no run.
        os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
        os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        os.environ.setdefault("DO_NOT_TRACK", "1")

    def _deploy(self) -> None:
        asked = wanted(self.config, self.file)
        self._plans.note(asked)
        for name in applied().remove_stale(asked, self.file):
            log.info("Removed the deployment %s, which the configuration no longer asks for.", name)
        listed = self._listing.of(self.config.targets, LIST_AT_START)
        self._offered = {target: backups for target, backups in listed.items() if backups is not None}
        self._runner = self._new_runner(asked)

    def _new_runner(self, asked: list[Wanted]) -> RunnerThread:
        """A runner, not yet started, of these deployments, which are made or brought up to date."""
        from deployments.serving.runner import RunnerThread

        section = self.config.serve
        runner = RunnerThread(section.grace, section.at_once)
        self._add(runner, asked)
        return runner

    def _add(self, runner: RunnerThread, asked: list[Wanted]) -> None:
        made = [applied().deployment_of(each, self._offered.get(each.target, [])) for each in asked]
        self.deployed = dict(zip(runner.add(made), asked, strict=True))
        for identity, each in self.deployed.items():
            if not each.cron:
                applied().drop_schedules(identity)

    def _watch(self) -> None:
        """What needs no Prefect server begins first, however long that one takes."""
        changed = self._page.changed
        self._beside.go_on(WATCHER, lambda: watch(self.config, self.stopping, str(self.file), checked=changed))
        self._beside.go_on(CONFIGURATION, lambda: keep_reading(self.file, self.config.targets, self.stopping))
        if self.status_api:
            self._beside.keep("status API", self._serve_status_again, self.status_api.thread)

    def _publish(self, key: str, markdown: str, description: str) -> None:
        artifact = self._artifact = self._artifact or applied().OwnArtifact()
        artifact.publish(key, markdown, description)

    def _run(self) -> None:
        if self.server:
            own = self.server
            self._beside.go_on(SERVER, lambda: self._keep_server(own), self._answers.is_set)
        if self._runner:
            self._runner.start()
            self._beside.keep(
                RUNNER,
                self._start_runner_again,
                self._runner.thread,
                ready=lambda: self._plans.done,
                reason=self._why_the_runner_ended,
            )
        self._beside.go_on(PAGE, self._page.keep)
        self._plans.complete(self.deployed)
        self._beside.go_on(SCHEDULING, self._scheduling.keep, self._scheduling.well.is_set)
        self._beside.go_on(CARE, self._tidy)

    def _serve_status_again(self) -> threading.Thread:
        """Raise RollcallError where its port is taken by now."""
        self.status_api = serve_api(self.config, self._beside.states)
        return self.status_api.thread

    def _tidy(self) -> None:
        """Every minute: settle what was still at work, and offer new backups in the forms."""
        looked = told_all = datetime.now(UTC)
        while not self.stopping.wait(TIDY_SECONDS):
            now = datetime.now(UTC)
            try:
                self._settling.more(self.deployed)
                if now - told_all >= LOOK_AT_ALL:
                    targets, told_all = set(self.config.targets), now
                else:
                    targets = applied().targets_with_news(self.deployed, looked)
                self._offer(targets | (set(self.config.targets) - self._offered.keys()))
                looked = now
            except Exception as error:  # noqa: BLE001 - Prefect is away; the next minute may be better
                log.warning("The restore forms could not be brought up to date (%s).", type(error).__name__)

    def _offer(self, targets: set[str]) -> None:
        """Bring the forms of these targets up to date, where their storages answer."""
        for target, backups in self._listing.of(targets, LIST_SECONDS).items():
            if backups is None or backups == self._offered.get(target):
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
        except Exception as error:  # noqa: BLE001 - a form without its list keeps nothing from going on
            log.warning("The backups of %s could not be listed (%s).", target, type(error).__name__)
            return None
        return found
