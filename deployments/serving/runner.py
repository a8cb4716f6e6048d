"""Prefect's runner in a thread of its own: it starts due runs as processes, and when it stops, lets them finish."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, Self, cast
from uuid import UUID

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runner import Runner

from deployments.serving.applied import refusal_named

log = logging.getLogger("rollcall")

POLL_SECONDS = 5.0


class PatientRunner(Runner):
    """A runner that waits for the runs at work before it cancels them."""

    def __init__(self, grace: float, at_once: int) -> None:
        """`grace`: seconds; `at_once`: the most runs at a time."""
        super().__init__(name="rollcall", query_seconds=POLL_SECONDS, limit=at_once, pause_on_shutdown=False)
        self._grace = grace
        self.hurry = threading.Event()
        """Set it to wait no longer."""
        self.worn = False
        """True once the API was away for so long that what listens for runs to be cancelled gave up, for good."""

    async def __aenter__(self) -> Self:
        """Begin, with a poll that bears an API that is away: Prefect's own gives up after three, and ends all runs."""
        await super().__aenter__()
        poller = self._scheduled_run_poller  # No public way to it; the tests stop a server under a run.
        ask = poller._get_scheduled_flow_runs
        away = False

        async def ask_patiently() -> list[FlowRun]:
            nonlocal away
            try:
                found = await ask()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if not away:
                    log.warning("The Prefect API does not answer (%s); asking on.", type(error).__name__)
                away = True
                return []
            if away:
                log.info("The Prefect API answers again.")
            away = False
            return found

        poller._get_scheduled_flow_runs = ask_patiently  # type: ignore[method-assign]
        if self._cancelling_observer:
            self._cancelling_observer.on_failure = self._note_that_it_is_worn
        return self

    def _note_that_it_is_worn(self, flow_run_ids: set[UUID]) -> None:
        self.worn = True

    async def cancel_all(self) -> None:
        """Called by `stop`, once no further run is begun."""
        deadline = time.monotonic() + self._grace
        while self.at_work and not self.hurry.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        await super().cancel_all()

    @property
    def at_work(self) -> int:
        """How many runs are at work."""
        return len(self._process_manager.flow_run_ids())


def send_what_is_left(seconds: float) -> None:
    """Send the last events and log lines while there is a server: at exit, Prefect would go on trying without one."""
    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=seconds)


class RunnerThread:
    """A PatientRunner from start to stop."""

    def __init__(self, grace: float, at_once: int) -> None:
        """As PatientRunner."""
        self._runner = PatientRunner(grace, at_once)
        self._loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self.failure: BaseException | None = None

    def add(self, deployments: Sequence[RunnerDeployment]) -> list[UUID]:
        """Create or update the deployments in Prefect, and run what comes due of them. Return their ids, in order.

        Raise RollcallError where one is refused.
        """
        made: list[UUID] = []
        for each in deployments:
            with refusal_named(each.full_name):
                made.append(cast("Any", self._runner.add_deployment)(each))
        return made

    def start(self) -> None:
        """Begin to run what is due."""
        self.thread.start()

    @property
    def runs(self) -> bool:
        """False once it has ended, asked for or not."""
        return self.thread.is_alive()

    @property
    def at_work(self) -> int:
        """How many runs are at work."""
        return self._runner.at_work

    @property
    def worn(self) -> bool:
        """Whether it should make way for a new one, when nothing is at work."""
        return self._runner.worn

    def ask_to_stop(self) -> None:
        """Begin no further run; end when those at work have, or after the grace time. Returns at once."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)

    def hurry(self) -> None:
        """Wait for no run any longer."""
        self._runner.hurry.set()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        self.thread.join(seconds)
        return not self.thread.is_alive()

    async def _stop(self) -> None:
        while not self._runner.started:  # Prefect's runner cannot be stopped while it is still starting.
            await asyncio.sleep(0.1)
        await self._runner.astop()

    def _run(self) -> None:
        # Inherited by the runs: Ctrl-C in a terminal reaches every process of the group, and they are to finish.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._runner.start())
        except BaseException as error:  # noqa: BLE001 - kept for the main thread, which tells of it and ends
            self.failure = error
        finally:
            self._loop.close()
