"""The one door to the Docker engine: a client for as long as a task needs it, its errors in our words."""

from __future__ import annotations

import atexit
import os
import platform
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import docker
import requests.exceptions
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, NotFound
from docker.transport import UnixHTTPAdapter
from docker.utils import kwargs_from_env

from tasks.containers.relay import Relay, by_ssh, ssh_host, why_not, without_engine
from tasks.errors import ConfigError, ContainerMissing, EngineError, EngineNotTrusted, EngineUnreachable
from tasks.models import Model
from tasks.orchestration import docker_host_block
from tasks.sections import Docker, without_user, wrong_address

OUR_LABEL = "io.rollcall.helper"

# Files that the engine makes for every container, in its own folder, whatever the network and the hostname are.
OWN_FILE = re.compile(r"/containers/([0-9a-f]{64})/[a-z.]+ /etc/(?:hostname|hosts|resolv\.conf) ")


class Client(docker.DockerClient):
    """A client that knows which engine it is of. where: what `engine` was asked for, so that another thread can ask for
    the same; host: the machine that it is on, None for an engine of this machine's own socket."""

    where: Docker | None = None
    host: str | None = None


class Way(NamedTuple):
    """The way to an engine. named: for people; url: its address, or that of the relay to it, None: as the environment
    says; host: the machine that it is on, None for this one; by: the relay."""

    named: str
    url: str | None
    host: str | None
    by: Relay | None

    def heard(self) -> int:
        """How much the way to it has said until now."""
        return self.by.heard() if self.by else 0

    def unreachable(self, since: int = 0) -> EngineUnreachable:
        """The error for an engine that does not answer, with what the way to it had to say after `heard` was that."""
        if self.url is not None:
            return why_not(self.named, self.by.said(since) if self.by else "")
        return EngineUnreachable(
            "No Docker engine answers. Start it, or point DOCKER_HOST at it; this user must be allowed to use its "
            "socket."
        )


@contextmanager
def engine(where: Docker | None, timeout: float = 60.0) -> Iterator[Client]:
    """A client of the engine that the configuration names, None: that DOCKER_HOST or the default socket names.

    timeout: in seconds, of one call. Raise EngineUnreachable if none answers, EngineError for any call inside the block
    that the engine refuses, SecretError where a block that names it cannot be loaded, ConfigError for a TLS file that
    is not there.
    """
    way = way_to(where)
    heard = way.heard()
    try:
        client = _client(way, int(timeout))
    except (DockerException, OSError, ValueError) as error:
        raise way.unreachable(heard) from error
    client.where = where
    try:
        yield client
    except NotFound as error:
        raise EngineError(f"The Docker engine does not know it any more: {error.explanation}.") from error
    except APIError as error:
        if way.by and OTHER_VERSION.search(str(error.explanation)):
            _forget(way.by)
            raise EngineUnreachable(
                f"The Docker engine {way.named} is of another version than before; the next try takes that one."
            ) from error
        raise EngineError(f"The Docker engine refused: {error.explanation or error}.") from error
    except requests.exceptions.RequestException as error:
        raise way.unreachable(heard) from error
    finally:
        if way.by is None:
            client.close()


OWN_SOCKET = DEFAULT_UNIX_SOCKET.removeprefix("http+")
"""Where Docker's library looks for an engine that nothing names."""
SCHEME = "http+docker://"
OLDEST = "1.24"  # which the version is asked in
# What an engine says that was changed for a newer or an older one while a client of it was kept.
OTHER_VERSION = re.compile(r"client version \S+ is too (?:old|new)")
_clients: dict[tuple[str, int], Client] = {}
_relays: dict[tuple[str, ...], Relay] = {}
_making = threading.Lock()


def _client(way: Way, timeout: int) -> Client:
    """One for the call; to an engine elsewhere one for as long as the process lives: a connection may take seconds."""
    if way.by is None:
        url = {"base_url": way.url} if way.url else kwargs_from_env()
        client = Client(timeout=timeout, **url)
    elif (known := _clients.get((way.by.url, timeout))) is not None:
        return known
    else:
        adapter = _OnePool(f"http+{way.by.url}", timeout)
        asking = docker.APIClient(way.by.url, OLDEST, timeout)
        asking.mount(SCHEME, adapter)
        version = asking.version(api_version=False)["ApiVersion"]
        client = Client(way.by.url, version, timeout)
        client.api.mount(SCHEME, adapter)
        _clients[way.by.url, timeout] = client
    client.host = way.host
    return client


class _OnePool(UnixHTTPAdapter):
    """The library's own has a pool of connections for each URL that is asked: so it hardly uses one again."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """A pool, as the library asks for one; the same for every URL."""
        return super().get_connection(SCHEME, proxies)


def way_to(where: Docker | None, environ: Mapping[str, str] = os.environ) -> Way:
    """The way to the engine. Raise EngineUnreachable, ConfigError, SecretError; whether it answers is not asked."""
    url, tls = (_of_environment(environ), []) if where is None else _options(where)
    parts, named = urlsplit(url), f"at {without_user(url)}"
    if parts.scheme == "ssh":
        relay = _relay(by_ssh(url), environ, named)
        return Way(named, relay.url, ssh_host(url), relay)
    if parts.scheme == "tcp" and (tls if where else environ.get("DOCKER_TLS_VERIFY")):
        told = ["--host", url, *tls] if where else []
        surroundings = without_engine(environ) if where else environ
        relay = _relay(["docker", *told, "system", "dial-stdio"], surroundings, named)
        return Way(named, relay.url, parts.hostname, relay)
    return Way(named, url if where else None, parts.hostname if parts.scheme == "tcp" else None, None)


def _of_environment(environ: Mapping[str, str]) -> str:
    """DOCKER_HOST; raise EngineNotTrusted where it is no address. It is not quoted: a password may be in it."""
    url = environ.get("DOCKER_HOST", "")
    try:
        # What else Docker's library takes needs no parsing of ours.
        ours = urlsplit(url).scheme in ("ssh", "tcp") or "@" in url
    except ValueError:
        ours = True
    if ours and (wrong := wrong_address(url)):
        raise EngineNotTrusted(f"No Docker engine is reached: DOCKER_HOST {wrong}.")
    return url


def _relay(command: list[str], environ: Mapping[str, str], named: str) -> Relay:
    """The relay that this command is for, made when it is first asked for, and closed when the process ends."""
    with _making:
        key = (*command, environ.get("DOCKER_HOST", ""))
        if key not in _relays:
            made = Relay(command, environ, named)
            atexit.register(_close, made)
            _relays[key] = made
        return _relays[key]


def _forget(relay: Relay) -> list[Client]:
    """Let the next call make a client anew. Return those that are known no more; another thread may use one still."""
    return [_clients.pop(key) for key in list(_clients) if key[0] == relay.url]


def _close(relay: Relay) -> None:
    for client in _forget(relay):
        client.close()
    relay.close()


def _options(where: Docker) -> tuple[str, list[str]]:
    """The engine's URL, and what the docker program must be told of TLS."""
    url = where.host or docker_host_block(where.block or "")
    if wrong := wrong_address(url):
        raise ConfigError(f"The Prefect DockerHost block {where.block!r} {wrong}.")
    files = {"--tlscacert": where.tls_ca, "--tlscert": where.tls_cert, "--tlskey": where.tls_key}
    given = {option: path for option, path in files.items() if path is not None}
    if given and not url.startswith("tcp://"):
        raise ConfigError(
            f"The key docker has TLS files, and the block {where.block!r} no tcp:// host to use them for."
        )
    for path in given.values():
        _check_readable(path)
    named = [word for option, path in given.items() for word in (option, str(path))]
    return url, ["--tlsverify", *named] if named else []


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"The key docker names {path}, which cannot be read: {error.strerror}.") from error


def compose_environment(where: Docker | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which Compose and Docker's other programs reach the same engine. Raise as `way_to` does.

    Left alone, they follow DOCKER_CONTEXT and `docker context use`, of which the library that we look with knows
    nothing: what was looked at on one engine would be brought down on another.
    """
    url = way_to(where, environ).url
    if url is None and environ.get("DOCKER_HOST"):
        return {name: value for name, value in environ.items() if name != "DOCKER_CONTEXT"}
    return {**without_engine(environ), "DOCKER_HOST": url or OWN_SOCKET}


class EngineIdentity(Model):
    """An engine by its own id, which it keeps as long as its data folder, and the name of its machine.

    Both, for an engine on a cloned machine has the id of the one it was cloned from.
    """

    id: str
    name: str


def identity_of(client: docker.DockerClient) -> EngineIdentity:
    """Which engine this is (`docker info`), whatever way leads there. Raise what `engine` raises."""
    info = client.info()
    return EngineIdentity(id=info.get("ID") or "", name=str(info.get("Name") or ""))


def inspect_container(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """The engine's JSON about the container. Raise ContainerMissing if there is none of that name."""
    try:
        found: dict[str, Any] = client.api.inspect_container(name)
    except NotFound as error:
        raise ContainerMissing(f"There is no container {name!r} on this Docker engine.") from error
    return found


def has_container(client: docker.DockerClient, id_: str) -> bool:
    """Whether the engine has a container of that id, running or not."""
    try:
        return bool(inspect_container(client, id_)["Id"] == id_)
    except ContainerMissing:
        return False


def everybody(client: docker.DockerClient) -> list[dict[str, Any]]:
    """The engine's JSON about every container, stopped ones too; one that goes meanwhile is left out."""
    found = []
    for each in client.api.containers(all=True):
        try:
            found.append(inspect_container(client, each["Id"]))
        except ContainerMissing:
            continue
    return found


def host_of(client: docker.DockerClient) -> str | None:
    """The host of an engine that is not reached through a socket of this machine; None for one that is.

    Where it is not None, neither a container's address nor this machine's loopback leads to the engine's containers:
    they may lead to another server.
    """
    address = urlsplit(client.api.base_url)
    return getattr(client, "host", None) or (None if address.scheme == "http+docker" else address.hostname)


def shares_this_kernel(client: docker.DockerClient) -> bool:
    """True where the engine seems to run on this very kernel, so that a FIFO of ours can be opened inside a container:
    on this host or, for a program in one of its containers, below it.

    Not so with Docker Desktop (a virtual machine) seen from outside of it, or a remote engine.
    """
    if platform.system() != "Linux" or host_of(client) is not None:
        return False
    if own_container(client) is not None:
        return True
    info = client.info()
    return bool(info.get("Name") == socket.gethostname() and info.get("KernelVersion") == platform.release())


def own_container(client: docker.DockerClient) -> dict[str, Any] | None:
    """The engine's JSON about the container that this program runs in; None if it runs in none of this engine's."""
    try:
        identity = own_id(Path("/proc/self/mountinfo").read_text(errors="replace"))
    except OSError:
        return None
    if identity is None:
        return None
    try:
        return inspect_container(client, identity)
    except ContainerMissing:
        return None


def own_id(mountinfo: str) -> str | None:
    """The id of the container whose mounts these are (proc_pid_mountinfo(5)); None for a host's. Pure."""
    found = OWN_FILE.search(mountinfo)
    return found[1] if found else None
