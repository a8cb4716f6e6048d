"""Look at a target: its container, its mount, the way in, and which cluster answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound

from tasks.config import Target
from tasks.containers.engine import engine, everybody, own_container, shares_this_kernel
from tasks.containers.observe import Container, kept_at, observe, read
from tasks.databases.connect import Login, connect, translated, within
from tasks.databases.identity import (
    ClusterIdentity,
    beyond,
    closed,
    databases,
    read_cluster,
    read_identity,
    server_address,
)
from tasks.databases.load import major_of
from tasks.databases.reach import Way, way_in
from tasks.databases.rows import Progress
from tasks.databases.tally import frozen
from tasks.errors import ContainerMissing, DatabaseUnreachable
from tasks.models import Finding, Identity, Model, Tally
from tasks.secrets import reveal
from tasks.sections import is_folder, plain_folder

LOOK_SECONDS = 120.0
"""For what takes milliseconds on an idle server."""


class Seen(Model):
    """A target as it was found: no secret in it, so it may be passed between tasks and shown.

    databases: all of the cluster that a backup takes; others: those that it does not take, be it that the configuration
    names others or that they are `closed`, that is, allow no connections; cluster: how it was initialised; files: the
    server's own configuration files by their usual name, as paths inside the container.
    """

    container: Container
    way: Way
    identity: Identity
    databases: list[str]
    others: list[str] = []
    closed: list[str] = []
    cluster: dict[str, Any]
    files: dict[str, str]


def look_at_container(target: Target) -> Container:
    """The target's container, running. Raise ContainerMissing, ContainerStopped, EngineUnreachable."""
    try:
        return observe(target.docker, target.container, target.pinned, target.port if not target.host else None)
    except ContainerMissing as missing:
        with engine(target.docker) as client:
            running = [read(found) for found in everybody(client) if found["State"]["Status"] == "running"]
        alike = [said for each in running if (said := namesake(target, each))]
        raise ContainerMissing(" ".join([str(missing), *alike])) from missing


def namesake(target: Target, other: Container) -> str:
    """In words that another Compose project runs the same service as the target's container, which is missing, by its
    name and its volume's; nothing where it does not. Pure."""
    project, service = other.compose_project, other.compose_service
    own = re.fullmatch(rf"(.+)[-_]{re.escape(service or '')}[-_]\d+", target.container)
    if not project or not service or own is None or own[1] == project or other.volume is None:
        return ""
    if other.volume.removeprefix(f"{project}_") != target.pinned.removeprefix(f"{own[1]}_"):
        return ""
    return (
        f"The compose project {project} runs the same service: {other.name}, on volume {other.volume}. If it was "
        f"started in its place, stop it and start {target.container} from the project {own[1]} again."
    )


def login(target: Target, way: Way, database: str | None = None) -> Login:
    """How to log in, with the password looked up now."""
    password = reveal(target.password) if target.password else None
    return Login(way.host, way.port, target.user, password, database or target.database)


def look_at_cluster(target: Target, container: Container) -> Seen:
    """Connect and read the cluster's identity. Raise NoWayIn, LoginRefused, DatabaseUnreachable, DatabaseError."""
    way = way_in(target, container)
    into = login(target, way)
    late = DatabaseUnreachable(f"Reading the identity of {into} was not done in {LOOK_SECONDS:g} s; it may hang.")
    reading = translated("reading the cluster's identity", login=into)
    with connect(into) as connection, within(connection, LOOK_SECONDS, late), reading:
        found = read_identity(connection)
        cluster = read_cluster(connection)
        present = databases(connection)
        names, shut = _wanted(target, present), closed(cluster["databases"])
        others = beyond(connection, present, names)
        way = way.model_copy(update={"inside": server_address(connection)})
    # Where the server itself says its data is counts more than what the image's environment promised.
    major = major_of(found.server_version)
    container = container.model_copy(update={"pgdata": found.data_directory, "major": major})
    return Seen(
        container=container,
        way=way,
        identity=_identity(container, found, target.pinned),
        databases=names,
        others=sorted({*others, *shut}),
        closed=shut,
        cluster=cluster,
        files=_files(found),
    )


def _identity(container: Container, found: ClusterIdentity, pinned: str) -> Identity:
    folder = kept_at(container, pinned) if container.data_on == "folder" else None
    return Identity(
        container=container.name,
        volume=container.volume if container.data_on == "volume" else None,
        folder=folder,
        folder_id=_inode(folder) if folder and container.engine_host is None else None,
        data_on=container.data_on,
        system_identifier=found.system_identifier,
        timeline=found.timeline,
        checkpoint_lsn=found.checkpoint_lsn,
        server_version=found.server_version,
        compose_project=container.compose_project,
        container_id=container.id,
        image_id=container.image_id,
        pgdata=container.pgdata,
        settled_xid=found.settled_xid,
    )


def _inode(folder: str) -> str | None:
    """Device and inode of the folder, where this machine has it and this user may look."""
    try:
        found = Path(folder).stat()
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}"


def _files(found: ClusterIdentity) -> dict[str, str]:
    return {
        "postgresql.conf": found.config_file,
        "postgresql.auto.conf": f"{found.data_directory}/postgresql.auto.conf",
        "pg_hba.conf": found.hba_file,
        "pg_ident.conf": found.ident_file,
    }


def _wanted(target: Target, present: list[str]) -> list[str]:
    """The databases to back up, the target's own first."""
    others = [name for name in present if name != target.database]
    if target.databases is not None:
        others = [name for name in dict.fromkeys(target.databases) if name != target.database]
    return [target.database, *others]


def take_tally(
    target: Target,
    seen: Seen,
    progress: Progress | None = None,
    database: str | None = None,
    deadline: float | None = None,
) -> Tally:
    """Count the target's database (or another of the cluster) in one snapshot, within `deadline` seconds, else the
    target's own.

    Raise TablesLocked, RowsHidden, DatabaseUnreachable, DatabaseError after the deadline.
    """
    into = login(target, seen.way, database)
    with frozen(into, lock_wait=target.lock_wait, deadline=deadline or target.deadline) as instant:
        return instant.tally(progress)


def volume_findings(target: Target) -> list[Finding]:
    """`volume.missing` where the engine has no volume of the pinned name, or its host not the pinned folder."""
    with engine(target.docker) as client:
        if place_exists(client, target.pinned):
            return []
    on = "on the host of this Docker engine" if target.folder else "on this Docker engine"
    message = f"The {target.pinned_place} does not exist {on}."
    return [Finding(code="volume.missing", severity="critical", message=message)]


def place_exists(client: docker.DockerClient, pinned: str) -> bool:
    """Whether the pinned volume or folder is there. A folder that cannot be seen from here is taken to be."""
    if is_folder(pinned):
        return not _is_seen_to_lack(client, pinned)
    try:
        client.api.inspect_volume(pinned)
    except NotFound:
        return False
    return True


def _is_seen_to_lack(client: docker.DockerClient, folder: str) -> bool:
    if not shares_this_kernel(client) or own_container(client) is not None:
        return False
    try:
        return not Path(plain_folder(folder)).is_dir()
    except OSError:
        return False
