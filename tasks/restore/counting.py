"""Count the rows of a target's tables in a volume: asked of the server that runs on it, else of one on a copy."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

import docker

from tasks.alerts.artifacts import size
from tasks.checks.look import look_at_cluster, take_tally
from tasks.config import Config, Target
from tasks.containers.clusters import ClusterVolume
from tasks.containers.engine import host_of, inspect_container
from tasks.containers.images import LocalImages, PostgresImage
from tasks.containers.observe import Container, read
from tasks.containers.scratch import why_not_here
from tasks.containers.scratch_place import Place
from tasks.containers.volumes import (
    KEEP_UNTIL_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    Volume,
    VolumeUser,
    create_volume,
    find_volume,
    remove_ours,
)
from tasks.errors import EngineError, LoginRefused, RollcallError
from tasks.models import Model
from tasks.restore.rebuild import rebuild_from_volume

log = logging.getLogger("rollcall")

Extent = Literal["small", "all", "none"]

SMALL = 2 << 30
ROOM_TO_LEAVE = 1 << 30
COPY_PREFIX = "rollcall-census-"
COPY_LIFE = timedelta(days=1)
USUAL_PLACE = "/var/lib/postgresql/data"


class Counted(Model):
    """Rows by table of the target's database, None where they could not be counted; how, in words."""

    counts: dict[str, int] | None = None
    how: str


Count = Callable[[docker.DockerClient, Config, str, ClusterVolume, LocalImages], Counted]


def count_rows(
    client: docker.DockerClient, config: Config, target: str, cluster: ClusterVolume, images: LocalImages
) -> Counted:
    """The rows in `cluster`; the volume itself is only read. What stands in the way is told, never raised."""
    rules = config.target(target)
    users = writers(cluster.volume)
    try:
        if users:
            return _of_servers(client, rules, cluster, users)
        return _of_a_copy(client, config, target, cluster, images)
    except RollcallError as error:
        return Counted(how=f"not counted: {error}")


def not_asked_for(cluster: ClusterVolume, extent: Extent) -> str | None:
    """Why this cluster is not to be counted, in words; None where it is."""
    if extent == "none":
        return "not counted: not asked for"
    if extent == "small" and (cluster.bytes is None or cluster.bytes >= SMALL):
        big = "its size is not known" if cluster.bytes is None else f"it has {size(cluster.bytes)}"
        return f"not counted: {big}; ask with --count all"
    return None


def writers(volume: Volume) -> list[VolumeUser]:
    """The containers that may change the volume right now."""
    return [each for each in volume.users if each.running and not each.read_only]


def _of_servers(
    client: docker.DockerClient, rules: Target, cluster: ClusterVolume, users: Sequence[VolumeUser]
) -> Counted:
    """Ask whoever runs on the volume; one that answers as another cluster is not on it."""
    reasons: list[str] = []
    for user in users:
        container = read(inspect_container(client, user.id), engine_host=host_of(client))
        asked = _as_reached(rules, container)
        try:
            return _of_server(asked, container, cluster)
        except RollcallError as error:
            reasons.append(f"{user.container} runs on it and cannot be asked ({str(error).rstrip('.')})")
    return Counted(how=f"not counted: {'; '.join(reasons)}")


def _as_reached(rules: Target, container: Container) -> Target:
    """The target as it is reached in this container: its own address is of its own container alone."""
    if container.name == rules.container:
        return rules
    return rules.model_copy(update={"host": None, "port": None})


def _of_server(rules: Target, container: Container, cluster: ClusterVolume) -> Counted:
    """Raise DatabaseError, EngineError, SecretError."""
    if container.name == rules.container and rules.port and not rules.host:
        container = container.model_copy(update={"port": rules.port})
    seen = look_at_cluster(rules, container)
    if seen.identity.system_identifier != cluster.control.system_identifier:
        raise EngineError(f"at {seen.way.host}:{seen.way.port} another cluster answers")
    log.info("Counting the rows of %s in %s, asked of %s", rules.database, cluster.volume.name, container.name)
    return Counted(counts=take_tally(rules, seen).counts, how=f"by the running server in {container.name}")


def _of_a_copy(
    client: docker.DockerClient, config: Config, target: str, cluster: ClusterVolume, images: LocalImages
) -> Counted:
    """Copy the volume into one of our own, start a server on that, count, and take it away again. Raise EngineError."""
    if reason := why_not_here(client):
        raise EngineError(reason)
    source = cluster.volume
    image = images.of_major(cluster.major, [each.id for each in source.users])
    if image is None:
        return Counted(how=f"not counted: no local image runs PostgreSQL {cluster.major}; pull one, then ask again")
    no_room = no_room_for_a_copy(cluster)
    if no_room:
        return Counted(how=no_room)
    log.info("Counting the rows in %s (%s) on a copy", source.name, size(cluster.bytes or 0))
    copy = f"{COPY_PREFIX}{secrets.token_hex(6)}"
    create_volume(client, copy, _labels(config, target, source.name))
    database = config.target(target).database
    try:
        built = rebuild_from_volume(
            config, target, source.name,
            volume=copy, image_id=image.id, place=place_of(image, cluster), owner=owner_of(config, target),
        )  # fmt: skip
    except LoginRefused as error:
        if f"the database {database!r} does not exist" not in str(error):
            raise
        return Counted(counts={}, how=f"it has no database {database}, by a server on a copy")
    finally:
        _drop(client, copy)
    now = find_volume(client, source.name)
    if now is None or writers(now):
        return Counted(how="not counted: somebody began to use it while it was copied; ask again")
    if built.system_identifier != cluster.control.system_identifier:
        return Counted(how="not counted: the volume holds several clusters, and another one was started")
    return Counted(counts=built.tallies[database].counts, how="by a server on a copy")


def no_room_for_a_copy(cluster: ClusterVolume) -> str | None:
    """Why the engine's disk, which the databases in use need too, is not to take a copy; None where it is."""
    if cluster.bytes is None:
        return "not counted: it took too long to measure it, so nobody knows whether a copy has room"
    if cluster.free_bytes is not None and cluster.free_bytes < cluster.bytes + ROOM_TO_LEAVE:
        free, needed = size(cluster.free_bytes), size(cluster.bytes)
        return f"not counted: a copy needs {needed}, and the engine's disk has {free} left; make room, then ask again"
    return None


def place_of(image: PostgresImage, cluster: ClusterVolume) -> Place:
    """Where the image expects its volume, and the cluster's folder in it."""
    inside = [each for each in image.volumes if PurePosixPath(image.pgdata).is_relative_to(each)]
    destination = max(inside, key=len, default=USUAL_PLACE)
    return Place(destination=destination, pgdata=str(PurePosixPath(destination) / cluster.path))


def _labels(config: Config, target: str, source: str) -> dict[str, str]:
    until = datetime.now(UTC) + COPY_LIFE
    return {
        TARGET_LABEL: target,
        OWNER_LABEL: owner_of(config, target),
        RUN_LABEL: f"census-{secrets.token_hex(6)}",
        STORY_LABEL: f"A copy of {source}, made to count its rows; it is of no use afterwards.",
        KEEP_UNTIL_LABEL: until.isoformat(timespec="seconds"),
    }


def _drop(client: docker.DockerClient, copy: str) -> None:
    try:
        remove_ours(client, copy)
    except EngineError as error:
        log.warning("A copy that was made to count rows is left over. %s", error)


def owner_of(config: Config, target: str) -> str:
    """What a census labels its own with: a backup that begins meanwhile sweeps the target's label, and not this."""
    return f"{config.owner(target)}-census"


def is_copy(volume: Volume) -> bool:
    """Whether the volume is a copy of ours, made to count rows."""
    return volume.name.startswith(COPY_PREFIX) and RUN_LABEL in volume.labels


def drop_old_copies(client: docker.DockerClient, volumes: Sequence[Volume], owners: Sequence[str]) -> None:
    """Remove the copies that killed runs of these owners left; one younger than a day may still be in use."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for each in volumes:
        old = each.labels.get(KEEP_UNTIL_LABEL, now) < now
        if is_copy(each) and old and each.labels.get(OWNER_LABEL) in owners:
            _drop(client, each.name)
