"""What a `down` has stopped, on the disk before it does: the next one starts again what a killed one stopped."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import docker
from pydantic import ValidationError

from tasks.config import Config
from tasks.containers import at_rest, recreate
from tasks.containers.engine import EngineIdentity, engine, inspect_container
from tasks.containers.neighbours import Around, look_around, neighbours, place_of
from tasks.containers.observe import declared_pgdata
from tasks.containers.observe import read as read_container
from tasks.containers.processes import is_server
from tasks.errors import ConfigError, ContainerMissing, EngineError, EngineUnreachable
from tasks.leaving.facts import Earlier, World
from tasks.models import Model
from tasks.restore.journal import sync_folder, write_durably

log = logging.getLogger("rollcall")


class Stopped(Model):
    """Ids of the containers that ran, in the order in which they are to be started; and which one was being stopped."""

    containers: list[str]
    stopping: str | None = None
    at: datetime
    folder: str


class Started(NamedTuple):
    """What came of a start: a sentence for each that does not run, and for each that was not started, and why."""

    wrong: list[str]
    left: list[str]


def path_of(config: Config, project: str, where: EngineIdentity) -> Path:
    """Where the record of a project's `down` is: a project of the same name on another engine is another one."""
    engine_key = hashlib.sha256(where.model_dump_json().encode()).hexdigest()[:12]
    return config.state / "downs" / f"{project}.{engine_key}.json"


def write(config: Config, world: World, containers: list[str], stopping: str | None = None) -> None:
    """Write it durably. Raise ConfigError if it cannot be."""
    path, folder = path_of(config, world.project.name, world.engine), str(world.project.folder)
    stopped = Stopped(containers=containers, stopping=stopping, at=datetime.now(UTC), folder=folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(partial := path.with_suffix(".new"), stopped.model_dump_json())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; nothing is stopped.") from error


def read(config: Config, project: str, where: EngineIdentity) -> Stopped | None:
    """The record of a `down` that has not come to its end; None where there is none that can be read."""
    try:
        return Stopped.model_validate_json(path_of(config, project, where).read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None


def forget(config: Config, world: World) -> None:
    """The `down` has come to its end, or all that it stopped was started again."""
    path_of(config, world.project.name, world.engine).unlink(missing_ok=True)


def earlier(client: docker.DockerClient, config: Config, project: str, where: EngineIdentity) -> Earlier | None:
    """What a `down` that did not come to its end has stopped, and which of it may be started; None where nothing is
    left of that. Raise what `engine` raises."""
    if (stopped := read(config, project, where)) is None:
        return None
    found = _there(client, stopped)
    around, mine = look_around(client), set(stopped.containers)
    starts, left = [], []
    for each in found:
        if not _is_database(each) or not (others := _users(client, around, each, mine)):
            starts.append(each)
        else:
            left.append(
                f"The container {_name(each)} is not started: {', '.join(others)} has its data mounted, and two "
                "servers on one volume damage it."
            )
    if not found:
        return None
    names, ids = [_name(each) for each in starts], [each["Id"] for each in starts]
    return Earlier(at=stopped.at, folder=stopped.folder, ids=ids, starts=names, left=left)


def _there(client: docker.DockerClient, stopped: Stopped) -> list[dict[str, Any]]:
    """The inspect JSON of those that exist and do not run, or were being stopped: that may still be going on."""
    found = []
    for each in stopped.containers:
        try:
            one = inspect_container(client, each)
        except ContainerMissing:
            continue
        if not one["State"]["Running"] or each == stopped.stopping:
            found.append(one)
    return found


def _name(found: dict[str, Any]) -> str:
    return str(found["Name"]).lstrip("/")


def _is_database(found: dict[str, Any]) -> bool:
    return declared_pgdata(found) is not None or is_server([found["Path"], *(found.get("Args") or [])])


def _users(client: docker.DockerClient, around: Around, found: dict[str, Any], mine: set[str]) -> list[str]:
    """The running containers, none of which the record names, that may write where this one keeps its data."""
    mount = read_container(found).data_mount
    if mount is None:
        return []
    place = place_of(around, mount.volume or mount.source or "", found)
    if place is None:
        return []
    return [each.container for each in neighbours(client, around, place, found["Id"]) if each.id not in mine]


def start_recorded(config: Config, world: World) -> Started:
    """Start what the record names; what was removed meanwhile is left out. The record is gone then, if all runs.

    The engine may still be at work on the stop of one whose client was killed: that comes to its end first. Raise
    EngineUnreachable.
    """
    project = world.project.name
    if (stopped := read(config, project, world.engine)) is None:
        return Started([], [])
    wrong, started = [], []
    with engine(config.docker, recreate.STOP_PATIENCE) as client:
        found = earlier(client, config, project, world.engine)
        for each in found.ids if found else []:
            try:
                if each == stopped.stopping:
                    recreate.stop(client, each)
                recreate.start(client, each)
                started.append(each)
            except ContainerMissing:
                continue
            except EngineUnreachable:
                raise
            except EngineError as error:
                wrong.append(str(error))
        wrong += at_rest.not_running(client, started)
    if not wrong:
        forget(config, world)
    return Started(wrong, found.left if found else [])
