"""Whether the watcher outside can be called: its URL is looked at and its server connected to, but never called.

A call would count: a success that did not happen, for one more period of silence.
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from tasks.alerts.ping import SUFFIX, address
from tasks.config import Config
from tasks.doctor.diagnosis import Diagnosis, tried
from tasks.errors import ConfigError, NotificationFailed
from tasks.secrets import SecretReference, reveal

FLOWS = ("backup", "verify", "drill")
SECONDS = 5.0
PORTS = {"http": 80, "https": 443}


def ping_diagnoses(config: Config, target: str) -> Iterator[Diagnosis]:
    """One for each URL of the target's `ping`; none where nobody outside waits."""
    flows: dict[SecretReference, list[str]] = {}
    for flow in FLOWS:
        if reference := config.target(target).ping_of(flow):
            flows.setdefault(reference, []).append(flow)
    for reference, names in flows.items():
        yield tried(f"{target}: ping of {', '.join(names)}", partial(_reach, reference))


def _reach(reference: SecretReference) -> str:
    """Connect to whoever would be called. The URL, by which anybody could call, is not quoted."""
    parts = urlsplit(address(reveal(reference), "success"))
    for suffix in filter(None, SUFFIX.values()):
        if parts.path.endswith(suffix):
            raise ConfigError(f"The URL that `ping` names ends with {suffix}, which is added to it: leave that out.")
    host, scheme = parts.hostname or "", parts.scheme
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
    if proxy:
        try:
            through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            port = through.port or PORTS["http"]
        except ValueError:  # It is not quoted either, for it may hold a password.
            raise ConfigError(
                f"The proxy for {scheme}:// that the environment names has an address that cannot be."
            ) from None
        _connect(through.hostname or "", port, secure=False)
        return f"The proxy towards {host} answers; it was not called, for a call would count."
    try:
        port = parts.port or PORTS[scheme]
    except ValueError:
        raise ConfigError("The URL that `ping` names has a port that cannot be.") from None
    _connect(host, port, secure=scheme == "https")
    return f"{host} can be reached; it was not called, for a call would count."


def _connect(host: str, port: int, *, secure: bool) -> None:
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            if secure:
                ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise NotificationFailed(
            f"The watcher outside ({host}, port {port}) cannot be reached ({type(error).__name__}): it will call you, "
            "although the runs are well. See to the network, a firewall, or the URL that `ping` names."
        ) from error
