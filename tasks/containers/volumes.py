"""Docker volumes: what the engine knows of each, who mounts it, and those of our own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tasks.containers.engine import OUR_LABEL
from tasks.errors import EngineError
from tasks.models import Model

RUN_LABEL = "io.rollcall.run"
TARGET_LABEL = "io.rollcall.target"
OWNER_LABEL = "io.rollcall.owner"
STORY_LABEL = "io.rollcall.story"
KEEP_UNTIL_LABEL = "io.rollcall.keep_until"

# States of a container in which its processes have, or may have at any moment, files of the volume open.
ALIVE = ("running", "paused", "restarting", "removing")

CONFLICT = 409
STUCK_SECONDS = 30.0  # a live run starts a helper that was made for it at once
PASSING_SECONDS = 300.0
"""A helper that looks into many volumes has all of them for as long, and may measure each for half a minute."""


class VolumeUser(Model):
    """A container that mounts a volume. running: its processes may have files of the volume open."""

    container: str
    id: str
    running: bool
    destination: str
    read_only: bool


class Volume(Model):
    """A Docker volume as the engine describes it, with every container that mounts it, stopped ones too. A helper of
    ours that only looks at it, for seconds, is no user.

    created_at is the engine's own text (RFC 3339; empty where its driver does not say); mountpoint is a path on the
    engine's host.
    """

    name: str
    driver: str
    labels: dict[str, str]
    options: dict[str, str]
    created_at: str
    mountpoint: str
    users: list[VolumeUser]


def find_volume(client: docker.DockerClient, name: str) -> Volume | None:
    """The volume called `name`, or None where there is none. Raise EngineError."""
    try:
        found: dict[str, Any] = client.api.inspect_volume(name)
    except NotFound:
        return None
    return read_volume(found, _containers(client), roots_of(client.api.volumes().get("Volumes") or []))


def list_volumes(client: docker.DockerClient) -> list[Volume]:
    """Every volume of the engine by name, anonymous and dangling ones too. Raise EngineError."""
    found = client.api.volumes().get("Volumes") or []
    containers, roots = _containers(client), roots_of(found)
    return sorted((read_volume(each, containers, roots) for each in found), key=lambda volume: volume.name)


def create_volume(client: docker.DockerClient, name: str, labels: Mapping[str, str]) -> Volume:
    """A new, empty volume of the driver `local`; raise EngineError if there is one of that name.

    The engine answers a create for a name that is taken with the present volume, and says nothing: so its labels are
    compared, which tells apart two runs that create at once, for each labels with a run's id of its own.
    """
    taken = EngineError(f"There is a volume {name!r} already; it is left as it is. Choose another name, or remove it.")
    if find_volume(client, name) is not None:
        raise taken
    try:
        client.api.create_volume(name, driver="local", labels=dict(labels))
    except APIError as error:
        raise EngineError(f"The volume {name!r} cannot be created: {error.explanation or error}.") from error
    made = find_volume(client, name)
    if made is None:
        raise EngineError(f"The volume {name!r} was removed by somebody right after it was created; try again.")
    if made.labels != dict(labels):
        raise taken
    return made


def remove_ours(client: docker.DockerClient, name: str) -> None:
    """Remove a volume that a run of ours made; one that is gone already is fine.

    Raise EngineError where it does not carry our run's label, or any container, even a stopped one, mounts it.
    """
    volume = find_volume(client, name)
    if volume is None:
        return
    if RUN_LABEL not in volume.labels:
        raise EngineError(f"The volume {name!r} was not made by Rollcall; it is left as it is.")
    remove_unused(client, name)


def remove_unused(client: docker.DockerClient, name: str) -> None:
    """Remove a volume of anybody's, once it is known that it may go; one that is gone already is fine.

    Raise EngineError where any container, even a stopped one, mounts it.
    """
    given_up = time.monotonic() + PASSING_SECONDS
    stuck: dict[str, float] = {}
    while (volume := find_volume(client, name)) is not None:
        if volume.users:
            users = ", ".join(each.container for each in volume.users)
            raise EngineError(f"The volume {name!r} is mounted by {users}; it is left as it is.")
        if _is_removed(client, name, given_up):
            return
        _end_stuck(client, name, stuck)
        time.sleep(0.2)


def _end_stuck(client: docker.DockerClient, volume: str, since: dict[str, float]) -> None:
    """Remove helpers that have the volume and do not start: whoever had the engine make them was killed.

    since: when each was seen first; kept by the caller.
    """
    filters = {"label": OUR_LABEL, "status": "created", "volume": volume}
    for each in client.api.containers(all=True, filters=filters):
        if time.monotonic() - since.setdefault(each["Id"], time.monotonic()) > STUCK_SECONDS:
            with contextlib.suppress(NotFound, APIError):
                client.api.remove_container(each["Id"], force=True)


def _is_removed(client: docker.DockerClient, name: str, given_up: float) -> bool:
    """Remove it; False where the engine says that it is in use: a passing helper has it, and is to be waited for."""
    try:
        client.api.remove_volume(name)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code != CONFLICT or time.monotonic() > given_up:
            raise EngineError(f"The volume {name!r} cannot be removed: {error.explanation or error}.") from error
        return False
    return True


def _containers(client: docker.DockerClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.api.containers(all=True)
    return found


def read_volume(
    found: Mapping[str, Any], containers: Sequence[Mapping[str, Any]], roots: Mapping[str, str] = MappingProxyType({})
) -> Volume:
    """A Volume from the engine's JSON of it and of all containers (Docker Engine API, VolumeInspect, ContainerList).

    roots: the folder that each volume shows, see `roots_of`: another volume may show the same.
    """
    mountpoint = found.get("Mountpoint") or ""
    folders = {mountpoint, roots.get(found["Name"], mountpoint)} - {""}
    return Volume(
        name=found["Name"],
        driver=found["Driver"],
        labels=found.get("Labels") or {},
        options=found.get("Options") or {},
        created_at=found.get("CreatedAt") or "",
        mountpoint=mountpoint,
        users=[
            _user(container, mount)
            for container in containers
            for mount in container.get("Mounts") or []
            if _is_of(mount, found["Name"], folders, roots) and not _is_passing(container, mount)
        ],
    )


def roots_of(volumes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By volume, the folder on the engine's host that it shows, from the engine's JSON of all volumes. Pure.

    A volume of the driver `local` with the options `o=bind,device=PATH` shows that folder; one of a share in a network
    shows what every other volume of that share does. Without a folder, its name stands for it.
    """
    return {each["Name"]: _root(each) for each in volumes}


def _root(volume: Mapping[str, Any]) -> str:
    options = volume.get("Options") or {}
    device, flags = options.get("device") or "", str(options.get("o") or "").split(",")
    if device.startswith("/") and ("bind" in flags or "rbind" in flags):
        return str(device)
    if ":" in device or device.startswith("//"):
        address = next((each for each in flags if each.startswith("addr=")), "")
        return f"{options.get('type')}:{address}:{device}"
    return volume.get("Mountpoint") or f"volume:{volume['Name']}"


def _is_of(mount: Mapping[str, Any], name: str, folders: Collection[str], roots: Mapping[str, str]) -> bool:
    """Whether the mount shows the volume: by its name, by a bind of the folder that it is on the engine's host, or by
    another volume that shows that folder."""
    source = mount.get("Source") or ""
    if mount["Type"] == "volume":
        if mount.get("Name") == name:
            return True
        source = roots.get(mount.get("Name") or "", "")
    return bool(source) and any(PurePosixPath(source).is_relative_to(each) for each in folders)


def _is_passing(container: Mapping[str, Any], mount: Mapping[str, Any]) -> bool:
    """Whether this is a helper of ours that only reads: it is gone in seconds, and nothing need wait for a person."""
    return OUR_LABEL in (container.get("Labels") or {}) and not mount.get("RW", True)


def _user(container: Mapping[str, Any], mount: Mapping[str, Any]) -> VolumeUser:
    names = container.get("Names") or [container["Id"][:12]]
    # A link shows as a second name with a slash inside.
    name = min(names, key=len).lstrip("/")
    return VolumeUser(
        container=name,
        id=container["Id"],
        running=container.get("State") in ALIVE,
        destination=mount["Destination"],
        read_only=not mount.get("RW", True),
    )
