"""What keeps the runner company in `rollcall serve`: the watcher and the status API, each in a thread of its own."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from tasks.config import Config

log = logging.getLogger("rollcall")


def watch(settings: Config, stop: threading.Event, config: str | None) -> threading.Thread | None:
    """Follow the engine's events until `stop` is set; None where there is no watcher."""
    module = _module("deployments.watcher")
    if module is None:
        return None
    return _thread("watcher", lambda: module.watch(settings, stop, config))


def status_api(settings: Config, stop: threading.Event) -> tuple[threading.Thread, str] | None:
    """Answer the status API until `stop` is set; with its address. None where there is none."""
    module = _module("deployments.status_api")
    if module is None:
        return None
    import uvicorn

    section: Any = getattr(settings, "api", None)
    host, port = getattr(section, "host", "127.0.0.1"), getattr(section, "port", 8080)
    options = uvicorn.Config(module.application(settings), host=host, port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(options)

    def end_with_stop() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=end_with_stop, name="status-api-stop", daemon=True).start()
    return _thread("status-api", server.run), f"http://{host}:{port}"


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _thread(name: str, work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
