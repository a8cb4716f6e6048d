"""Where the status API listens, and the thread that serves it."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from dataclasses import dataclass
from typing import Any

import uvicorn

from deployments.status_api import Parts, application, no_parts
from tasks.config import Config
from tasks.errors import ConfigError, RollcallError, SecretError
from tasks.sections import Api

log = logging.getLogger("rollcall")

STOP_SECONDS = 5


@dataclass(frozen=True)
class ServedApi:
    """The API while it runs. url: where."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        """End it, and wait until it has; requests that are being answered get a few seconds. Twice does no harm."""
        self.server.should_exit = True
        self.thread.join(STOP_SECONDS * 2)


def serve_api(settings: Config, parts: Parts = no_parts) -> ServedApi:
    """Serve the API in a thread of its own, until `stop`; it answers once this returns.

    parts: says how what runs beside it does, where that is `rollcall serve`.
    Raise ConfigError where it may not listen there, SecretError where its token is not to be had, RollcallError where
    the address cannot be had: all before any thread has started.
    """
    app = application(settings, parts)
    listener = listen(settings.api)
    # Nothing is logged by request, and the program's own logging stays as it is.
    options = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(options)
    thread = threading.Thread(target=server.run, args=([listener],), name="status-api", daemon=True)
    thread.start()
    return ServedApi(_url(listener), server, thread)


def serve_if_free(settings: Config, parts: Parts = no_parts) -> ServedApi | None:
    """The same; None, and a warning, where its port is taken: backups do not wait for a dashboard."""
    try:
        return serve_api(settings, parts)
    except (ConfigError, SecretError):
        raise
    except RollcallError as error:
        log.warning("Without the status API: %s", error)
        return None


def listen(api: Api) -> socket.socket:
    """A socket that listens where the configuration says. Raise ConfigError where that would show a database's state
    to other machines unasked, RollcallError where the address cannot be had."""
    family, address = _resolved(api)
    open_to_others = not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
    if open_to_others and api.token is None and not api.allow_without_token:
        raise ConfigError(
            f"api.host {api.host} can be reached from other machines and api.token is not set: set it, or listen on "
            "127.0.0.1, or set api.allow_without_token: true if something in front of it asks who is there."
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise RollcallError(
            f"The status API cannot listen on {api.host}, port {api.port}: {_reason(error)}; "
            "set api.host and api.port to an address that is free."
        ) from error
    return listener


def _resolved(api: Api) -> tuple[socket.AddressFamily, Any]:
    """The very address to bind: checked and bound must be the same, whatever a name may mean the next time."""
    try:
        found = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"api.host {api.host} is no address of this machine: {_reason(error)}.") from error
    family, _, _, _, address = found[0]
    return family, address


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
