"""What the engine says about a target: container, the mount behind PGDATA, its volume, how it was started.

The functions over inspect JSON are pure; `observe` is the only one that calls the engine.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import docker

from tasks.containers.engine import OUR_LABEL, engine, host_of, inspect_container
from tasks.containers.processes import servers_of
from tasks.errors import ContainerMissing, ContainerStopped
from tasks.models import DataOn, Model
from tasks.sections import Docker, is_folder, plain_folder

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
DEFAULT_PGDATA = "/var/lib/postgresql/data"
DEFAULT_PORT = 5432
SERVERS = ("postgres", "postmaster", "pg_ctl")
SHORT_OPTIONS = {"-D": "data_directory", "-p": "port", "-c": ""}


class Mount(Model):
    """One mount of a container: `volume` is None for a bind mount or a tmpfs."""

    destination: str
    source: str
    kind: str
    volume: str | None


class Container(Model):
    """A running container as far as a backup needs to know it.

    addresses: its own on each Docker network; published: (host address, port) pairs of the PostgreSQL port, as this
    machine may reach them. engine_host: where the engine is; None on this machine. major: the version of the server
    that answers in it, 0 until it was asked. tmpfs: what it has in memory besides its mounts.
    """

    id: str
    name: str
    image_id: str
    pgdata: str
    port: int
    mounts: list[Mount]
    addresses: list[str]
    published: list[tuple[str, int]]
    compose_project: str | None = None
    compose_service: str | None = None
    host_network: bool = False
    engine_host: str | None = None
    major: int = 0
    tmpfs: list[str] = []

    @property
    def data_on(self) -> DataOn:
        """What PGDATA is on."""
        mount = self.data_mount
        memory = [each for each in self.tmpfs if PurePosixPath(self.pgdata).is_relative_to(each)]
        if memory and len(max(memory, key=len)) >= len(mount.destination if mount else ""):
            return "memory"
        if mount is None:
            return "container"
        return "volume" if mount.volume else "folder" if mount.kind == "bind" else "memory"

    @property
    def data_mount(self) -> Mount | None:
        """The mount that PGDATA lives on."""
        return mount_behind(self.pgdata, self.mounts)

    @property
    def volume(self) -> str | None:
        """The Docker volume behind PGDATA, or None where there is none."""
        mount = self.data_mount
        return mount.volume if mount else None


def kept_at(container: Container, pinned: str) -> str | None:
    """Where the container keeps its data: the volume's name, or the folder of the engine's host that is bound there,
    written as `pinned` is where it is the same; None where it is in neither."""
    mount = container.data_mount
    if mount is None or container.data_on not in ("volume", "folder"):
        return None
    if mount.volume:
        return mount.volume
    below = PurePosixPath(container.pgdata).relative_to(mount.destination)
    if is_folder(pinned) and any(
        _is_folder_of(container, pinned, each) for each in (mount.source, str(PurePosixPath(mount.source, below)))
    ):
        return pinned
    return mount.source


def _is_folder_of(container: Container, pinned: str, source: str) -> bool:
    """Whether both are one folder: by name or, on this machine, by what they lead to as far as this user may look."""
    if plain_folder(pinned) == plain_folder(source):
        return True
    try:
        return container.engine_host is None and Path(pinned).samefile(source)
    except OSError:
        return False


def observe(where: Docker | None, name: str, pinned: str, port: int | None = None) -> Container:
    """The container called `name`; where none is, the only running one with its data at `pinned` (it was renamed).

    where: the engine, None: that of the environment. Raise ContainerMissing, ContainerStopped, EngineUnreachable,
    EngineError.
    """
    with engine(where) as client:
        found = with_network(client, find_container(client, name, pinned))
        host = host_of(client)
    state = found["State"]["Status"]
    if state != "running":
        raise ContainerStopped(f"The container {name!r} is {state}. Start it with: docker start {name}")
    return read(found, port, host)


def with_network(client: docker.DockerClient, found: dict[str, Any]) -> dict[str, Any]:
    """The same inspect JSON, with the addresses and ports of the container whose network it shares, if it does
    (`network_mode: container:…`, `service:…`). Raise EngineError."""
    kind, _, whose = (found["HostConfig"].get("NetworkMode") or "").partition(":")
    if kind != "container":
        return found
    try:
        lender = inspect_container(client, whose)
    except ContainerMissing:  # It is gone, and with it the way in.
        return found
    return {**found, "NetworkSettings": lender["NetworkSettings"]}


def find_container(client: docker.DockerClient, name: str, pinned: str) -> dict[str, Any]:
    """The inspect JSON of the container called `name`, running or not, else of the only running one that keeps its data
    at `pinned`, a volume's name or a folder.

    Raise ContainerMissing.
    """
    try:
        return inspect_container(client, name)
    except ContainerMissing as missing:
        return _heir(client, pinned, missing)


def _heir(client: docker.DockerClient, pinned: str, missing: ContainerMissing) -> dict[str, Any]:
    """The inspect JSON of the one running container that keeps its data at `pinned`, or of the one among several that
    runs a server; else `missing` is raised. One that is listed may be gone a moment later.

    Helpers of ours look into volumes too: a census into each.
    """
    mounted = []
    by_name: dict[str, str] = {} if is_folder(pinned) else {"volume": pinned}
    for each in client.api.containers(filters={**by_name, "status": "running"}):
        if OUR_LABEL in (each.get("Labels") or {}):
            continue
        if is_folder(pinned) and not any(mount["Type"] == "bind" for mount in each.get("Mounts") or []):
            continue
        with contextlib.suppress(ContainerMissing):
            found = inspect_container(client, each["Id"])
            if _may_serve(client, found, pinned):
                mounted.append(found)
    serving = mounted if len(mounted) == 1 else [each for each in mounted if servers_of(client, each)]
    if len(serving) != 1:
        raise missing
    return serving[0]


def _may_serve(client: docker.DockerClient, found: dict[str, Any], pinned: str) -> bool:
    """Whether the container keeps its data at `pinned`. Of one that does not say where its data is, and has nothing in
    the usual place, only the server that it runs tells: a backup of the volume mounts it anywhere."""
    container = read(found)
    read_only = [each["Destination"] for each in found["Mounts"] if not each.get("RW", True)]
    mount = container.data_mount
    if mount is None or mount.destination in read_only or kept_at(container, pinned) != pinned:
        return False
    told = declared_pgdata(found) or mount_behind(DEFAULT_PGDATA, container.mounts)
    return bool(told or servers_of(client, found))


def read(
    found: dict[str, Any], port: int | None = None, engine_host: str | None = None, pgdata: str | None = None
) -> Container:
    """A Container from the engine's inspect JSON (Docker Engine API, ContainerInspect).

    pgdata: what the server itself said of its data directory; None: as the container declares, else a guess.
    """
    options = server_options(found)
    mounts = [_mount(each) for each in found["Mounts"]]
    port = port or _port(options.get("port", "")) or _port(environment(found).get("PGPORT", "")) or DEFAULT_PORT
    networks = found["NetworkSettings"]["Networks"] or {}
    return Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        image_id=found["Image"],
        pgdata=pgdata or declared_pgdata(found) or _likely_pgdata(mounts),
        port=port,
        mounts=mounts,
        addresses=[each["IPAddress"] for each in networks.values() if each.get("IPAddress")],
        published=_published(found, port, engine_host),
        compose_project=(found["Config"].get("Labels") or {}).get(COMPOSE_PROJECT),
        compose_service=(found["Config"].get("Labels") or {}).get(COMPOSE_SERVICE),
        host_network=found["HostConfig"]["NetworkMode"] == "host",
        engine_host=engine_host,
        tmpfs=list(found["HostConfig"].get("Tmpfs") or {}),
    )


def environment(found: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment, from its inspect JSON."""
    pairs = (each.partition("=") for each in found["Config"].get("Env") or [])
    return {name: value for name, _, value in pairs}


def declared_pgdata(found: dict[str, Any]) -> str | None:
    """Where the container itself says that its data is: on its command line, else in its environment."""
    return directory_in(server_options(found)) or environment(found).get("PGDATA") or None


def directory_in(options: Mapping[str, str]) -> str | None:
    """The data directory among a server's settings, or those of initdb and pg_ctl (pure)."""
    return options.get("data_directory") or options.get("pgdata") or None


def server_options(found: dict[str, Any]) -> dict[str, str]:
    """The settings on the container's command line, by name."""
    return options_in(_server_arguments(found))


def options_in(arguments: Sequence[str]) -> dict[str, str]:
    """The settings among a server's arguments by name, `-D DIR` and `-p PORT` too (PostgreSQL documentation, postgres;
    pure)."""
    words = iter(arguments)
    options = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
        elif word[:2] in SHORT_OPTIONS:
            name, value = SHORT_OPTIONS[word[:2]], word[2:] or next(words, "")
        else:
            continue
        if not name:
            name, _, value = value.partition("=")
        options[name.strip().replace("-", "_").lower()] = value.strip()
    return options


def _server_arguments(found: dict[str, Any]) -> list[str]:
    """What follows the server's name on the command line, a line of shell taken apart; without it, what the image's
    entry point is given."""
    given = [str(each) for each in found["Config"].get("Cmd") or []]
    words = [*(str(each) for each in found["Config"].get("Entrypoint") or []), *given]
    if len(words) > 2 and words[-2] == "-c" and " " in words[-1] and "=" not in words[-1].split()[0]:
        with contextlib.suppress(ValueError):  # No closing quotation: it is no line that we can read.
            words = shlex.split(words[-1])
    named = [place for place, word in enumerate(words) if PurePosixPath(word).name in SERVERS]
    return words[named[0] + 1 :] if named else given


def _likely_pgdata(mounts: list[Mount]) -> str:
    """Where an image most likely has its data that says nothing: in the usual place, else on its only volume."""
    volumes = [each.destination for each in mounts if each.volume]
    usual = mount_behind(DEFAULT_PGDATA, mounts) is not None or len(volumes) != 1
    return DEFAULT_PGDATA if usual else volumes[0]


def _port(given: str) -> int:
    """The port that a text says, 0 where it says none."""
    port = int(given) if re.fullmatch(r"[0-9]{1,5}", given) else 0
    return port if port <= 65535 else 0


def _mount(each: dict[str, Any]) -> Mount:
    volume = each.get("Name") if each["Type"] == "volume" else None
    return Mount(destination=each["Destination"], source=each.get("Source", ""), kind=each["Type"], volume=volume)


def _published(found: dict[str, Any], port: int, engine_host: str | None) -> list[tuple[str, int]]:
    """Where the engine's host listens for the port.

    An address that means every interface is asked on the engine's host, which is loopback for an engine of this
    machine. The loopback of another machine is left out: here it would be a different server.
    """
    bindings = (found["NetworkSettings"].get("Ports") or {}).get(f"{port}/tcp") or []
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - translated, not listened on
    pairs = [(each["HostIp"], int(each["HostPort"])) for each in bindings]
    if engine_host is None:
        return [(anywhere.get(address, address), place) for address, place in pairs]
    reached = [(engine_host if ip in anywhere else ip, at) for ip, at in pairs if not ip.startswith(("127.", "::1"))]
    return list(dict.fromkeys(reached))


def mount_behind(path: str, mounts: list[Mount]) -> Mount | None:
    """The mount with the longest destination that `path` is in: images differ in what they mount."""
    inside = [each for each in mounts if PurePosixPath(path).is_relative_to(each.destination)]
    return max(inside, key=lambda each: len(PurePosixPath(each.destination).parts), default=None)
