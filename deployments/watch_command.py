"""`rollcall watch`: the watcher alone, in the foreground, for who runs no Prefect. cli.py registers it."""

from __future__ import annotations

import json as jsons
import signal
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from deployments.app import ConfigOption
from tasks.config import load

_one_at_a_time = threading.Lock()


LinesOption = Annotated[bool, typer.Option("--json", help="Print a JSON document a line, as things are noticed.")]


def watch(config: ConfigOption = None, json: LinesOption = False) -> None:
    """Notice at once when a container or volume is another. Ctrl-C ends it: exit 0."""
    from deployments.watcher import watch as watched

    settings = load(config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watched(settings, stop, config, say=_json_line if json else _line)


def _line(words: str) -> None:
    _write(f"{datetime.now().astimezone():%H:%M:%S}  {words}")


def _json_line(words: str) -> None:
    """One document a line: the command has no end at which it could print one."""
    line: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "noticed": words}
    _write(jsons.dumps(line))


def _write(line: str) -> None:
    """Whole lines, though several checks have something to say at once."""
    with _one_at_a_time:
        print(line, flush=True)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(watch)
