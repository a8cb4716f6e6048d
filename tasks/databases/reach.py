"""Where a target's server can be connected to, and why there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from tasks.config import Target
from tasks.containers.observe import Container
from tasks.errors import NoWayIn
from tasks.models import Model


class Way(Model):
    """An address that accepts connections, and how it was found, in words for `doctor`.

    inside: the address and port that the server itself has for such a connection (inet_server_addr, inet_server_port):
    the same one within its own network; None until it was asked.
    """

    host: str
    port: int
    reason: str
    inside: tuple[str, int] | None = None


def listens(host: str, port: int, timeout: float = 2.0) -> bool:
    """True if a TCP connection can be made within `timeout` seconds."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except (OSError, ValueError):  # ValueError: no host name at all, such as `a..b`
        return False


def ways(target: Target, container: Container) -> Iterator[Way]:
    """Every way in worth trying, best first. One that the configuration names is the only one."""
    if target.host:
        yield Way(host=target.host, port=target.port or 5432, reason="the configuration names this address")
        return
    remote = container.engine_host
    if container.host_network:
        yield Way(host=remote or "127.0.0.1", port=container.port, reason="the container uses the host's own network")
    # The same address may be another server's in a network of this machine.
    for address in container.addresses if remote is None else ():
        yield Way(host=address, port=container.port, reason="the container's address on its Docker network")
    for host, port in container.published:
        yield Way(host=host, port=port, reason="the port that the container publishes")


def way_in(target: Target, container: Container, listens: Callable[[str, int], bool] = listens) -> Way:
    """The first way that accepts connections. Raise NoWayIn, which names the two ways out."""
    tried = list(ways(target, container))
    for way in tried:
        if listens(way.host, way.port):
            return way
    places = ", ".join(f"{way.host}:{way.port}" for way in tried) or "nothing: it has no address and no published port"
    raise NoWayIn(
        f"PostgreSQL in container {container.name} cannot be reached (tried {places}). If it is still starting, wait; "
        f"else {_ways_out(target, container)}."
    )


def _ways_out(target: Target, container: Container) -> str:
    if target.host:
        return "correct `host` and `port` of the target"
    if container.engine_host is not None:
        return f"publish its port on {container.engine_host}, or give the target a host and port (a tunnel)"
    return (
        f"where it listens on another port than {container.port}, say `port`; where this machine reaches it at another "
        f"address, say `host` and `port`; or publish its port on loopback (127.0.0.1:5432:{container.port})"
    )
