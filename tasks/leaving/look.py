"""Look at a Compose project before a `down`: containers, volumes and the clusters in them, targets, their backups."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker

from tasks.backups.omitted import is_whole
from tasks.checks.look import look_at_cluster, look_at_container
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.containers.clusters import ClusterVolume, look_into
from tasks.containers.compose_project import Project, project_files, read_project
from tasks.containers.compose_service import FOLDER, PROJECT, VERSION
from tasks.containers.contents import is_empty
from tasks.containers.engine import EngineIdentity, engine, identity_of, inspect_container
from tasks.containers.images import LocalImages
from tasks.containers.mounts import anonymous
from tasks.containers.observe import Container, declared_pgdata, read
from tasks.containers.other_files import OtherFiles
from tasks.containers.volumes import Volume, list_volumes
from tasks.errors import ContainerMissing, EngineError, RollcallError
from tasks.leaving import record
from tasks.leaving.facts import Box, Concerned, Holding, Stored, World
from tasks.leaving.others import box_of, found_of, left_of, of_a_service
from tasks.sections import Docker
from tasks.storage.catalogue import Entry

log = logging.getLogger("rollcall")

OWNER = "down"


def only_this_engine(config: Config) -> Config:
    """The configuration with the targets on the engine of its top alone, whatever ways to it they name.

    Raise ConfigError where no target is on it, and as `engine` does where that one does not answer.
    """
    others = [each for each in config.engines() if each != config.docker]
    if not others:
        return config.on(config.docker)
    with engine(config.docker) as client:
        here = identity_of(client)
    return config.on(config.docker, *(each for each in others if here.id and _is_the_same(each, here)))


def _is_the_same(where: Docker | None, here: EngineIdentity) -> bool:
    """Whether that engine is the one here. One that is not reached is taken for another: a `down` need not wait for all
    other machines, and what belongs to no target here is not removed."""
    try:
        with engine(where) as client:
            return identity_of(client) == here
    except RollcallError as error:
        log.warning("Its targets are taken for those of another engine: %s", error)
        return False


def look_at_project(config: Config, folder: str, files: Sequence[str] = (), name: str | None = None) -> World:
    """The project in `folder` and everything a `down` of it is decided from; nothing is touched.

    Raise ComposeFileError, EngineError, EngineUnreachable.
    """
    project_files(Path(folder), files)  # Bad input is told before the engine is asked anything.
    with engine(config.docker) as client:
        project = read_project(Path(folder), files, name, _version(client, Path(folder)))
        everyone = found_of(client, project)
        found = [each for each in everyone if of_a_service(each, project.services)]
        volumes = {each.name: each for each in list_volumes(client)}
        clusters, others = _clusters(client, config, _names(project, found, volumes), volumes)
        boxes = [box_of(client, each, project) for each in found]
        kept_on = _kept_on(client, config)
        holdings = [
            _holding(name, project, found, volumes.get(name), clusters, kept_on).model_copy(
                update={"others": others.get(name, [])}
            )
            for name in _names(project, found, volumes)
        ]
        holdings = [_unless_empty(client, each, config) for each in holdings]
        concerned = _concerned(config, boxes, holdings)
        staying = left_of(client, config, project, everyone)
        where = identity_of(client)
        earlier = record.earlier(client, config, project.name, where)
    return World(
        project=project,
        boxes=boxes,
        staying=staying,
        holdings=holdings,
        targets=[_target(config, *each) for each in concerned],
        engine=where,
        earlier=earlier,
    )


def _version(client: docker.DockerClient, folder: Path) -> str:
    """The version of Compose that made the folder's containers; empty where there are none."""
    label = f"{FOLDER}={folder.expanduser().absolute()}"
    found = client.api.containers(all=True, filters={"label": label})
    return str(found[0]["Labels"].get(VERSION) or "") if found else ""


def _names(project: Project, found: Sequence[dict[str, Any]], volumes: dict[str, Volume]) -> list[str]:
    """Every volume of the project: declared, mounted by one of its containers, or labelled as its own."""
    declared = [each.name for each in project.volumes]
    mounted = [each["Name"] for one in found for each in one["Mounts"] if each["Type"] == "volume"]
    labelled = [name for name, each in volumes.items() if each.labels.get(PROJECT) == project.name]
    return list(dict.fromkeys([*declared, *mounted, *labelled]))


def _clusters(
    client: docker.DockerClient, config: Config, names: Sequence[str], volumes: dict[str, Volume]
) -> tuple[dict[str, list[ClusterVolume] | None], dict[str, list[OtherFiles]]]:
    """The clusters in each volume that exists, None for one that could not be looked into; and its other files."""
    there = [name for name in names if name in volumes]
    if not there:
        return {}, {}
    container = next(iter(config.targets.values())).container
    try:
        looked = look_into(client, LocalImages(client, container).to_look_with(), there, OWNER)
    except EngineError as error:
        log.warning("The project's volumes cannot be looked into: %s", error)
        return dict.fromkeys(there), {}
    known: dict[str, list[ClusterVolume] | None] = {
        name: [each for each in looked.clusters if each.volume.name == name] for name in there
    }
    # Where a driver or a mount of its own may have failed, finding nothing says nothing.
    odd = [name for name in there if volumes[name].driver != "local" or volumes[name].options or name in looked.unclear]
    return known | {name: None for name in odd if not known[name]}, looked.others


def _holding(
    name: str,
    project: Project,
    found: Sequence[dict[str, Any]],
    volume: Volume | None,
    clusters: dict[str, list[ClusterVolume] | None],
    kept_on: dict[str, set[str]],
) -> Holding:
    declared = next((each for each in project.volumes if each.name == name), None)
    own = {each["Id"] for each in found}
    return Holding(
        name=name,
        key=declared.key if declared else None,
        external=bool(declared and declared.external),
        anonymous=any(name in anonymous(each).values() for each in found),
        exists=volume is not None,
        clusters=clusters.get(name),
        expects_data=any(read(each).volume == name and _is_postgres(each) for each in found),
        beside_data=any(
            _mounts(each, name) and read(each).volume not in (None, name) and clusters.get(str(read(each).volume)) != []
            for each in found
        ),
        known_by=[each["Name"].lstrip("/") for each in found if _mounts(each, name)],
        strangers=[each.container for each in volume.users if each.id not in own] if volume else [],
        targets=[target for target, names in kept_on.items() if name in names],
    )


def _unless_empty(client: docker.DockerClient, holding: Holding, config: Config) -> Holding:
    """The volume that a database may be in, with whether anything at all is."""
    if holding.clusters != [] or not holding.precious:
        return holding
    image = LocalImages(client, next(iter(config.targets.values())).container).to_look_with()
    try:
        return holding.model_copy(update={"empty": is_empty(client, holding.name, image, OWNER)})
    except EngineError as error:
        log.warning("%s", error)
        return holding.model_copy(update={"clusters": None})


def _mounts(found: dict[str, Any], name: str) -> bool:
    return any(each.get("Name") == name for each in found["Mounts"] if each["Type"] == "volume")


def _is_postgres(found: dict[str, Any]) -> bool:
    """Whether the container says where its PGDATA is: `read` else assumes the usual place."""
    return declared_pgdata(found) is not None


def _kept_on(client: docker.DockerClient, config: Config) -> dict[str, set[str]]:
    """By target: the volume that it pins, and the one that its container keeps its data on."""
    found: dict[str, set[str]] = {}
    for target, rules in config.targets.items():
        found[target] = {rules.pinned}
        try:
            mounted = read(inspect_container(client, rules.container)).volume
        except ContainerMissing:
            continue
        found[target] |= {mounted} if mounted else set()
    return found


def _concerned(config: Config, boxes: Sequence[Box], holdings: Sequence[Holding]) -> list[tuple[str, str | None]]:
    """The targets, each with its container where that is one of the project's."""
    names = {each.name for each in boxes}
    holding = {target for each in holdings for target in each.targets}
    return [
        (target, rules.container if rules.container in names else None)
        for target, rules in config.targets.items()
        if rules.container in names or target in holding
    ]


def _target(config: Config, target: str, box: str | None) -> Concerned:
    rules = config.target(target)
    why, volume, path = "", None, ""
    try:
        seen = look_at_cluster(rules, look_at_container(rules))
        volume = seen.identity.volume
        path = _below(seen.container)
    except RollcallError as error:
        why = str(error)
    found = shelves(config, target)
    return Concerned(
        name=target,
        pinned=rules.pinned,
        box=box,
        answers=not why,
        why_silent=why,
        serves_from=volume,
        serves_path=path,
        stored=[stored_of(each) for each in found.backups],
        unreachable=list(found.unreachable),
    )


def _below(container: Container) -> str:
    """PGDATA below the root of the volume that it is on."""
    mount = container.data_mount
    path = posixpath.relpath(container.pgdata, mount.destination) if mount else "."
    return "" if path == "." else path


def stored_of(entry: Entry) -> Stored:
    """What is to be known of a backup (pure)."""
    manifest, identity = entry.manifest, entry.manifest.identity
    return Stored(
        id=manifest.id,
        created_at=manifest.created_at,
        quarantined=manifest.quarantined,
        whole=is_whole(manifest),
        proven_at=entry.proven_at,
        system_identifier=identity.system_identifier,
        timeline=identity.timeline,
        settled_xid=identity.settled_xid,
        volume=identity.volume,
    )
