"""The containers beside a target's own that have its data mounted for writing, and which of them run a server on it.

PostgreSQL's lock (postmaster.pid) does not work between containers: each server is process 1 of its own, and takes the
other's lock for one that a dead server left. Two servers then write the same files, and neither says a word.

A mount by the volume's name, a bind of its folder on the engine's host, another volume that shows the same folder, and
what `volumes_from` brings are the same to the engine: one folder. So folders are compared, not names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import docker

from tasks.containers.engine import OUR_LABEL, host_of, inspect_container
from tasks.containers.observe import COMPOSE_PROJECT, directory_in, environment, mount_behind, options_in
from tasks.containers.observe import read as read_container
from tasks.containers.processes import servers_of
from tasks.containers.volumes import ALIVE, roots_of
from tasks.errors import ContainerMissing
from tasks.models import Model
from tasks.sections import is_folder, plain_folder


class Neighbour(Model):
    """A container, other than the target's own, that mounts the target's data for writing.

    serves: it runs a PostgreSQL server on that data, or is about to. state: the engine's word for it; project: of
    Compose.
    """

    container: str
    id: str
    state: str
    project: str | None
    serves: bool


class Around(NamedTuple):
    """What the engine shows at one moment: every container, as in its list, and the folder on the engine's host that
    each volume shows. here: whether this machine may read those folders."""

    containers: list[dict[str, Any]]
    roots: dict[str, str]
    here: bool


class Place(NamedTuple):
    """Where a target's data is on the engine's host. root: what the pinned volume shows; data: PGDATA itself, None
    where that is not known."""

    root: str
    data: str | None = None


def look_around(client: docker.DockerClient) -> Around:
    """Look now. Raise what `engine` raises."""
    volumes = client.api.volumes().get("Volumes") or []
    return Around(client.api.containers(all=True), roots_of(volumes), host_of(client) is None)


def place_of(around: Around, pinned: str, found: Mapping[str, Any] | None, pgdata: str | None = None) -> Place | None:
    """Where the data of a target is that is pinned to the volume or folder `pinned`; None without such a volume.

    found: the inspect JSON of the target's container, None where there is none; pgdata: where its server says that its
    data is.
    """
    root = pinned if is_folder(pinned) else around.roots.get(pinned)
    if root is None:
        return None
    data = _on_host(around, found, pgdata or read_container(dict(found)).pgdata) if found else None
    return Place(root, data if data and _is_within(around, data, root) else None)


def candidates(around: Around, place: Place, own: str) -> list[dict[str, Any]]:
    """The containers of the list that may write where the data is, `own` (an id) and our helpers left out. Pure."""
    return [
        each
        for each in around.containers
        if each["Id"] != own
        and each.get("State") in ALIVE
        and OUR_LABEL not in (each.get("Labels") or {})
        and any(_reaches(around, mount, place.root) for mount in each.get("Mounts") or [])
    ]


def neighbours(client: docker.DockerClient, around: Around, place: Place, own: str) -> list[Neighbour]:
    """The containers, other than the one with the id `own`, that have the data mounted for writing; those that run a
    server on it first. One that goes meanwhile is left out."""
    found = [one for each in candidates(around, place, own) if (one := _neighbour(client, around, place, each))]
    return sorted(found, key=lambda each: (not each.serves, each.container))


def _neighbour(
    client: docker.DockerClient, around: Around, place: Place, listed: Mapping[str, Any]
) -> Neighbour | None:
    """None where it has no more than a folder above the data mounted, and runs no server on it: a monitor of the whole
    host does."""
    try:
        found = inspect_container(client, listed["Id"])
    except ContainerMissing:
        return None
    serves = any(_is_shared(around, place, found, command) for command in servers_of(client, found))
    if not serves and not any(_is_within(around, _source(around, mount), place.root) for mount in _writable(found)):
        return None
    return Neighbour(
        container=found["Name"].lstrip("/"),
        id=found["Id"],
        state=found["State"]["Status"],
        project=(found["Config"].get("Labels") or {}).get(COMPOSE_PROJECT),
        serves=serves,
    )


def _is_shared(around: Around, place: Place, found: Mapping[str, Any], command: Sequence[str]) -> bool:
    """Whether a server with this command line keeps its data where the target's is."""
    told = directory_in(options_in(command)) or environment(found).get("PGDATA")
    if told is None:  # Then whatever of the data it can write is what it may serve.
        return any(_is_within(around, _source(around, mount), place.root) for mount in _writable(found))
    theirs = _on_host(around, found, told)
    if theirs is None:
        return False
    if place.data is None:
        return _is_within(around, theirs, place.root)
    return _is_same(around, theirs, place.data)


def _writable(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (each for each in found.get("Mounts") or [] if each.get("RW", True))


def _reaches(around: Around, mount: Mapping[str, Any], root: str) -> bool:
    """Whether what is below the root, or all of it, can be written through the mount."""
    source = _source(around, mount)
    return mount.get("RW", True) and (_is_within(around, source, root) or _is_within(around, root, source))


def _source(around: Around, mount: Mapping[str, Any]) -> str:
    """The folder on the engine's host that a mount shows."""
    source = mount.get("Source") or ""
    return around.roots.get(mount.get("Name") or "", source) if mount["Type"] == "volume" else source


def _on_host(around: Around, found: Mapping[str, Any], path: str) -> str | None:
    """Where a path inside the container is on the engine's host; None where it is in the container's own layer."""
    behind = mount_behind(path, read_container(dict(found)).mounts)
    if behind is None:
        return None
    source = _source(around, {"Type": behind.kind, "Name": behind.volume, "Source": behind.source})
    return str(PurePosixPath(source, PurePosixPath(path).relative_to(behind.destination))) if source else None


def _is_within(around: Around, path: str, root: str) -> bool:
    if not path or not root:
        return False
    one, other = (_real(around, each) for each in (path, root))
    return PurePosixPath(one).is_relative_to(other) or _is_same(around, path, root)


def _is_same(around: Around, one: str, other: str) -> bool:
    """Whether two paths on the engine's host are one folder: links are followed as far as this user may look."""
    if _real(around, one) == _real(around, other):
        return True
    try:
        return around.here and Path(one).samefile(other)
    except OSError:
        return False


def _real(around: Around, path: str) -> str:
    plain = plain_folder(path)
    return os.path.realpath(plain) if around.here and plain.startswith("/") else plain
