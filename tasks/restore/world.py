"""Observe a target before a restore: container, volumes, clusters, rows, dependants, what stands in the way."""

from __future__ import annotations

import os
import posixpath
from datetime import UTC, datetime
from typing import Any

import docker
from docker.errors import NotFound

from tasks.checks.judgement import judge_tally
from tasks.checks.look import Seen, login, look_at_cluster, place_exists, take_tally
from tasks.config import Config, Target
from tasks.containers import recreate, scratch
from tasks.containers.clusters import ClusterVolume, Looked, look_into
from tasks.containers.compose_program import hooks_of
from tasks.containers.compose_service import service_of
from tasks.containers.engine import engine, everybody, host_of, inspect_container, shares_this_kernel
from tasks.containers.observe import Container, declared_pgdata, kept_at, read, with_network
from tasks.containers.volumes import Volume, find_volume
from tasks.databases.connect import connect
from tasks.databases.identity import closed, databases, in_recovery, read_cluster
from tasks.databases.reach import way_in
from tasks.databases.roles import read_roles
from tasks.errors import ContainerMissing, DatabaseError, EngineError, Refused
from tasks.history.judge import judge_identity
from tasks.history.store import open_history
from tasks.models import Tally
from tasks.restore.facts import Dependant, World
from tasks.restore.mending import mending_of

NOT_EXCHANGEABLE = "its driver is {driver}, and only volumes of the driver `local` without options can be exchanged"

NOT_FOLDERS = (
    "The data of {container} is in the host's folder {folder}, and a restore exchanges Docker volumes alone: prove the "
    "backup with rollcall drill {target}, then put it back by hand (docs/restore-by-hand.md, \"Into a host's "
    'folder"), or move the data to a volume (docs/add-a-target.md).'
)


def observe_world(config: Config, target: str) -> World:
    """Everything a plan is made from. Raise Refused where there is no container, EngineUnreachable, HistoryError."""
    rules = config.target(target)
    with engine(rules.docker) as client:
        found, host = _container(client, rules), host_of(client)
        _require_image(client, found)
        container = read(with_network(client, found), rules.port if not rules.host else None, host)
        asked = _ask(rules, container, running=found["State"]["Status"] == "running")
        pgdata = asked.container.pgdata if isinstance(asked, Seen) else _told_before(config, target, found)
        container = container.model_copy(update={"pgdata": pgdata or container.pgdata})
        volumes = _volumes(client, container, rules)
        looked = _look(client, config, target, container, volumes)
        world = _engine_side(client, found, container, rules, volumes, _at_pgdata(looked, container), target)
        world = world.model_copy(update=_other_files(looked, volumes))
    with open_history(config.history) as history:
        pin = history.pin(target)
    world = world.model_copy(update={"known_cluster": pin.system_identifier if pin else None})
    return _server_side(config, target, world, container, asked)


def _ask(rules: Target, container: Container, *, running: bool) -> Seen | str:
    """What the server says of itself; where it does not, why, in words."""
    if not running:
        return f"the container {container.name} does not run."
    try:
        return look_at_cluster(rules, container)
    except (DatabaseError, EngineError) as error:
        return str(error)


def _told_before(config: Config, target: str, found: dict[str, Any]) -> str | None:
    """Where the server that is silent now said last that its data is, unless the container was made anew since and says
    itself. Raise HistoryError."""
    with open_history(config.history) as history:
        last = history.last_identity(target)
    if last is None or not last.pgdata:
        return None
    return last.pgdata if last.container_id == found["Id"] or declared_pgdata(found) is None else None


def expected_rows(config: Config, target: str) -> dict[str, int]:
    """Rows by table as they were accepted last. Raise HistoryError."""
    window = config.target(target).thresholds.window_days
    with open_history(config.history) as history:
        return dict(history.baseline(target, datetime.now(UTC), window).last)


def _container(client: docker.DockerClient, rules: Target) -> dict[str, Any]:
    try:
        return inspect_container(client, rules.container)
    except ContainerMissing as error:
        raise Refused(
            f"{error} Make it first (docker compose up, or create): a restore fills the volume of a container that is "
            "there, and whatever data that start initialises is kept."
        ) from error


def _require_image(client: docker.DockerClient, found: dict[str, Any]) -> None:
    """The server, the scratch server and a replacement all run on it. Raise Refused where it was removed."""
    try:
        client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    except NotFound as error:
        name, box = found["Config"]["Image"], found["Name"].lstrip("/")
        raise Refused(
            f"The image that {box} was made from ({name}) is not on this engine any more. Make the container again, of "
            f"the same major version (docker pull {name}, then docker compose up): whatever data that makes is kept."
        ) from error


def _volumes(client: docker.DockerClient, container: Container, rules: Target) -> dict[str, Volume]:
    """The mounted and the pinned volume by name, as far as they exist."""
    wanted = dict.fromkeys(name for name in (container.volume, rules.volume) if name)
    return {name: volume for name in wanted if (volume := find_volume(client, name)) is not None}


def _look(
    client: docker.DockerClient, config: Config, target: str, container: Container, volumes: dict[str, Volume]
) -> Looked:
    if not volumes:
        return Looked([], set(), {}, set())
    return look_into(client, container.image_id, list(volumes), config.owner(target))


def _at_pgdata(looked: Looked, container: Container) -> dict[str, ClusterVolume]:
    """By volume the cluster at the container's PGDATA, else any."""
    mount = container.data_mount
    pgdata = posixpath.relpath(container.pgdata, mount.destination) if mount else ""
    ordered = sorted(looked.clusters, key=lambda each: (each.path or ".") == pgdata)
    return {each.volume.name: each for each in ordered}


def _other_files(looked: Looked, volumes: dict[str, Volume]) -> dict[str, Any]:
    used = {each.volume.name for each in looked.clusters} | looked.others.keys() | looked.unclear
    return {"others": looked.others, "linked": sorted(looked.linked), "bare": sorted(volumes.keys() - used)}


def _engine_side(
    client: docker.DockerClient,
    found: dict[str, Any],
    container: Container,
    rules: Target,
    volumes: dict[str, Volume],
    clusters: dict[str, ClusterVolume],
    target: str,
) -> World:
    mount = container.data_mount
    mounted = kept_at(container, rules.pinned)
    obstacles = _obstacles(client, found, container, volumes.get(rules.pinned), rules, target)
    return World(
        target=target,
        container=container.name,
        container_id=container.id,
        image_id=container.image_id,
        running=found["State"]["Status"] == "running",
        destination=mount.destination if mount else "",
        pgdata=container.pgdata,
        mounted=mounted,
        pinned=rules.pinned,
        pinned_exists=rules.pinned in volumes or (rules.folder is not None and place_exists(client, rules.folder)),
        mounted_cluster=_identifier(clusters, mounted),
        pinned_cluster=_identifier(clusters, rules.pinned),
        major=_major(client, container.image_id, clusters.get(mounted or "")),
        dependants=[_dependant(client, name) for name in rules.dependents],
        mending=mending_of(found, rules.volume, host_of(client)) if rules.volume and mounted != rules.volume else None,
        by_compose=container.compose_project is not None,
        notes=[] if obstacles else [*_hooks(client, found, rules), *_notes(client, found, container, rules.pinned)],
        obstacles=obstacles,
        free_bytes=_free_bytes(client),
        no_scratch=scratch.why_not_here(client),
        keep_days=rules.keep_days,
    )


def _identifier(clusters: dict[str, ClusterVolume], name: str | None) -> str | None:
    return clusters[name].control.system_identifier if name in clusters else None


def _major(client: docker.DockerClient, image_id: str, cluster: ClusterVolume | None) -> str:
    """The major version that the image runs, as its environment says, else as the mounted data says."""
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    pairs = dict(each.partition("=")[::2] for each in image["Config"].get("Env") or [])
    return str(pairs.get("PG_MAJOR") or (cluster.major if cluster else ""))


def _dependant(client: docker.DockerClient, name: str) -> Dependant:
    try:
        found = inspect_container(client, name)
    except ContainerMissing:
        return Dependant(name=name, exists=False, running=False)
    return Dependant(name=name, exists=True, running=found["State"]["Status"] in ("running", "restarting"))


def _obstacles(
    client: docker.DockerClient,
    found: dict[str, Any],
    container: Container,
    pinned: Volume | None,
    rules: Target,
    target: str,
) -> list[str]:
    """What the engine's side says against any restore, and, with the wrong volume mounted, against a re-creation."""
    if rules.folder:
        return [NOT_FOLDERS.format(container=container.name, folder=rules.folder, target=target)]
    others = everybody(client)
    astray = container.volume != rules.pinned
    obstacles = (
        recreate.blockers(found, others, rules.pinned, container.pgdata)
        if astray
        else recreate.stop_blockers(found, others, container.pgdata)
    )
    if pinned is not None:
        obstacles += _about_pinned(pinned, container)
    passing = [each for each in others if each["Name"].lstrip("/") in rules.dependents]
    obstacles += [
        f"The dependant {each['Name'].lstrip('/')} was started with --rm: a stop deletes it; make it without."
        for each in passing
        if each["HostConfig"].get("AutoRemove")
    ]
    return list(dict.fromkeys(obstacles))


def _hooks(client: docker.DockerClient, found: dict[str, Any], rules: Target) -> list[str]:
    """The hooks of the service, and of the dependants, which a restore passes by."""
    if host_of(client) is not None:
        return []
    boxes = [found, *(each for each in everybody(client) if each["Name"].lstrip("/") in rules.dependents)]
    known = [(service, hooks_of(service)) for each in boxes if (service := service_of(each)) is not None]
    return [
        f"The hooks of the service {service.service} ({', '.join(hooks)}) do not run: Rollcall stops and starts the "
        "container itself, and only Compose runs hooks. Do afterwards what they do, if it matters."
        for service, hooks in known
        if hooks
    ]


def _notes(client: docker.DockerClient, found: dict[str, Any], container: Container, pinned: str) -> list[str]:
    """What differs after a re-creation besides the volume; nothing where there is none."""
    if container.volume in (pinned, None) or container.data_mount is None:
        return []
    image: dict[str, Any] = client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    payload = recreate.replacement(
        found,
        image,
        api_version=client.api.api_version,
        wrong=container.volume or "",
        pinned=pinned,
        destination=container.data_mount.destination,
    )
    return [*payload.notes, *recreate.reports(found, client.api.diff(found["Id"]) or [])]


def _about_pinned(pinned: Volume, container: Container) -> list[str]:
    obstacles = []
    if pinned.driver != "local" or pinned.options:
        what = NOT_EXCHANGEABLE.format(driver=pinned.driver)
        obstacles.append(f"The volume {pinned.name} cannot be restored in place: {what}.")
    others = [each.container for each in pinned.users if each.running and each.id != container.id]
    if others:
        obstacles.append(f"The volume {pinned.name} is in use by {', '.join(others)}; stop that first.")
    return obstacles


def _free_bytes(client: docker.DockerClient) -> int | None:
    if not shares_this_kernel(client):
        return None
    try:
        room = os.statvfs(client.info()["DockerRootDir"])
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def _server_side(config: Config, target: str, world: World, container: Container, seen: Seen | str) -> World:
    """What the running server says: it, its databases and roles, its rows, and whether they are as they should be."""
    rules = config.target(target)
    if not world.running:
        return world.model_copy(update={"why_silent": seen})
    if isinstance(seen, str):
        return world.model_copy(update={"why_silent": seen, **_what_else_is_there(rules, container)})
    try:
        with connect(login(rules, seen.way)) as connection:
            roles, standby = read_roles(connection), in_recovery(connection)
        tally = take_tally(rules, seen)
    except (DatabaseError, EngineError) as error:
        return world.model_copy(update={"why_silent": str(error), **_what_else_is_there(rules, container)})
    return world.model_copy(
        update={
            "answers": True,
            "pgdata": seen.container.pgdata,
            "major": seen.identity.server_version.partition(".")[0],
            "counts": tally.counts,
            "databases": [*seen.databases, *seen.others],
            "closed": seen.closed,
            "roles": roles,
            "standby": standby,
            "unwell": _unwell(config, target, seen, tally),
        }
    )


def _what_else_is_there(rules: Target, container: Container) -> dict[str, list[str]]:
    """Databases and roles of a server that runs, where the target's own database cannot be asked: it may be the one
    that is gone. Nothing where the server does not answer at all."""
    try:
        with connect(login(rules, way_in(rules, container), "template1")) as connection:
            shut = closed(read_cluster(connection)["databases"])
            return {
                "databases": sorted({*databases(connection), *shut}),
                "closed": shut,
                "roles": read_roles(connection),
            }
    except DatabaseError:
        return {}


def _unwell(config: Config, target: str, seen: Seen, tally: Tally) -> bool:
    """Whether anything about identity or rows is critical."""
    with open_history(config.history) as history:
        pin, last = history.pin(target), history.last_identity(target)
    findings = judge_identity(seen.identity, pin, last, config.target(target).pinned)
    judged = judge_tally(config, target, tally, datetime.now(UTC))
    return any(each.severity == "critical" for each in [*findings, *judged.findings])
