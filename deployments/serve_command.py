"""`rollcall serve`: says where everything is, waits to be told to stop, stops cleanly. cli.py registers it."""

from __future__ import annotations

import json as json_module
import logging
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

import typer

from deployments.app import ConfigOption, JsonOption
from deployments.tracking import shown
from tasks.config import config_path, load

if TYPE_CHECKING:
    from deployments.serving.service import Service

log = logging.getLogger("rollcall")

LOOK_SECONDS = 0.5


def serve(config: ConfigOption = None, json: JsonOption = False) -> None:
    """One process for all: UI, schedules, watcher, status API. Ctrl-C stops it.

    A Prefect API that is configured is used; else a server is started, with its database in the state folder.
    """
    from deployments.serving.service import Service

    settings = load(config)
    service = Service(settings, config_path(config))
    asked = _Asked(service)
    with suppress(_StoppedEarly), asked, service:
        asked.may_interrupt = False
        _say(service, json)
        while not asked.to_stop.wait(LOOK_SECONDS):
            service.mend()
        if service.at_work:
            told = "Waiting up to %.0f s for %d run(s) at work; Ctrl-C or SIGTERM once more ends them now."
            log.info(told, settings.serve.grace, service.at_work)
    log.info("Stopped.")


class _StoppedEarly(BaseException):
    """Asked to stop while still starting."""


class _Asked:
    """SIGTERM and SIGINT: the first asks to stop, the second to hurry."""

    def __init__(self, service: Service) -> None:
        self.to_stop = threading.Event()
        self.may_interrupt = True
        self._service = service
        self._former: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._former[number] = signal.signal(number, self._hear)

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)  # type: ignore[arg-type]

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        again = self.to_stop.is_set()
        self.to_stop.set()
        self._service.stopping.set()
        if again:
            self._service.hurry()
        elif self.may_interrupt:
            raise _StoppedEarly


def _say(service: Service, json: bool) -> None:
    """Where the UI and the APIs are, and when each target's next runs are due."""
    if json:
        print(json_module.dumps(_document(service)), flush=True)
        return
    ui = shown(service.server.ui if service.server else service.api.removesuffix("/api"))
    lines = [f"Prefect UI    {ui}", f"Prefect API   {shown(service.api)}"]
    if service.status_api:
        lines.append(f"status API    {service.status_api.url}/api/system-metrics")
    for target in service.config.targets:
        lines.append(f"{target}")
        for each in service.deployed.values():
            if each.target == target and each.cron:
                due = service.next_runs.get(each.name)
                told = _local(due, each.timezone) if due else "not planned"
                lines.append(f"  {each.flow:<10}  next {told}")
    typer.echo("\n".join(lines))


def _local(due: datetime, timezone: str) -> str:
    from zoneinfo import ZoneInfo

    return f"{due.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} {timezone}"


def _document(service: Service) -> dict[str, object]:
    """One JSON document, printed once everything runs."""
    runs: dict[str, dict[str, str]] = {target: {} for target in service.config.targets}
    for each in service.deployed.values():
        due = service.next_runs.get(each.name)
        if due:
            runs[each.target][each.flow] = due.astimezone(UTC).isoformat()
    return {
        "ui": shown(service.server.ui if service.server else service.api.removesuffix("/api")),
        "api": shown(service.api),
        "status_api": service.status_api.url if service.status_api else None,
        "next_runs": runs,
    }


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(serve)
