"""Which containers go with a `down`, and which stay: Compose decides that; so it is asked again, and the end looked at.

Compose knows a project by its name alone: containers of other folders, of former services and of inactive profiles have
the same label.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tasks.config import Config
from tasks.containers.compose_project import Project, services_now
from tasks.containers.compose_service import FOLDER, PROJECT, SERVICE
from tasks.containers.engine import engine, inspect_container
from tasks.containers.observe import read
from tasks.containers.volumes import ALIVE
from tasks.errors import ComposeFileError, ContainerMissing, Refused
from tasks.leaving.facts import Box, Staying, World


def found_of(client: docker.DockerClient, project: Project) -> list[dict[str, Any]]:
    """The inspect JSON of every container with the project's label."""
    found = []
    for each in client.api.containers(all=True, filters={"label": f"{PROJECT}={project.name}"}):
        try:
            found.append(inspect_container(client, each["Id"]))
        except ContainerMissing:
            continue
    return sorted(found, key=lambda each: str(each["Name"]))


def of_a_service(found: dict[str, Any], services: Sequence[str]) -> bool:
    """Whether the container is of one of the services: a `down` removes it then."""
    return found["Config"]["Labels"].get(SERVICE) in services


def box_of(client: docker.DockerClient, found: dict[str, Any], project: Project) -> Box:
    """A container that goes."""
    container = read(found)
    return Box(
        name=container.name,
        id=container.id,
        running=found["State"]["Status"] in ALIVE,
        data_volume=container.volume,
        layer_cluster=container.data_mount is None and _holds_a_cluster(client, container.id, container.pgdata),
        folder=_other_folder(found, project),
    )


def _holds_a_cluster(client: docker.DockerClient, container: str, pgdata: str) -> bool:
    """Whether PG_VERSION lies at that place in the container, which need not run."""
    try:
        stream, _ = client.api.get_archive(container, posixpath.join(pgdata, "PG_VERSION"))
    except (NotFound, APIError):
        return False
    for _ in stream:  # Read to its end, or the connection stays open.
        continue
    return True


def left_of(
    client: docker.DockerClient, config: Config, project: Project, everyone: Sequence[dict[str, Any]]
) -> list[Staying]:
    """What stays: of the project's containers those of no service in its files, and those of the targets."""
    found = [each for each in everyone if not of_a_service(each, project.services)]
    known = {each["Id"] for each in everyone}
    for rules in config.targets.values():
        try:
            other = inspect_container(client, rules.container)
        except ContainerMissing:
            continue
        if other["Id"] not in known:
            known.add(other["Id"])
            found.append(other)
    return [_staying(each, project) for each in found]


def _staying(found: dict[str, Any], project: Project) -> Staying:
    return Staying(
        name=str(found["Name"]).lstrip("/"),
        id=found["Id"],
        running=found["State"]["Status"] in ALIVE,
        of_the_project=(found["Config"].get("Labels") or {}).get(PROJECT) == project.name,
        folder=_other_folder(found, project),
        fleeting=bool(found["HostConfig"].get("AutoRemove")),
    )


def _other_folder(found: dict[str, Any], project: Project) -> str | None:
    named = (found["Config"].get("Labels") or {}).get(FOLDER)
    first = Path(project.options[1]).parent if project.options else project.folder
    here = {str(way) for each in (project.folder, first) for way in (each, each.resolve())}
    return None if not named or {named, str(Path(named).resolve())} & here else str(named)


def still_as_planned(config: Config, world: World) -> World:
    """The world without those of `staying` that somebody has removed since it was looked at.

    Raise Refused where the files name more containers now than were planned to go; ComposeFileError where Compose does
    not accept them any more.
    """
    services = services_now(world.project)
    planned = {each.id for each in world.boxes}
    with engine(config.docker) as client:
        now = [each for each in found_of(client, world.project) if of_a_service(each, services)]
        there = {str(each["Id"]) for each in client.api.containers(all=True)}
    more = [str(each["Name"]).lstrip("/") for each in now if each["Id"] not in planned]
    if more:
        raise Refused(
            f"Nothing is brought down: the project has changed since the plan was made, and these containers would go "
            f"now, too: {', '.join(more)}. What was stopped is started again; ask again for a new plan."
        )
    return world.model_copy(update={"staying": [each for each in world.staying if each.id in there]})


def end_of(config: Config, world: World) -> list[str]:
    """What became of those that had to stay, in sentences, after a `down`.

    Raise ComposeFileError where one of them is gone, or one that had to go is still there.
    """
    with engine(config.docker) as client:
        now = {each["Id"]: str(each["State"]) for each in client.api.containers(all=True)}
    wrong = list(_wrong(world, now))
    if wrong:
        raise ComposeFileError(
            f"Compose has ended, and not as planned; no volume was removed. {' '.join(wrong)} See: docker ps --all"
        )
    ended = [each.name for each in world.staying if each.running and now.get(each.id) not in ALIVE]
    on = [each.name for each in world.staying if each.running and each.name not in ended]
    return [
        *([f"Still running, as planned: {', '.join(on)}."] if on else []),
        *(f"{each} ran before and does not run now; see why by: docker logs {each}" for each in ended),
    ]


def _wrong(world: World, now: dict[str, str]) -> Iterator[str]:
    for box in world.boxes:
        if box.id in now:
            yield f"The container {box.name} is still there."
    for each in world.staying:
        if each.id not in now and not each.fleeting:
            yield f"The container {each.name} had to stay, and is gone."
