"""What the engine shows of a target at one moment: which container, since when, on which volume; is the pin there?

Events only say where to look. What is compared is what was seen, so an event that is lost, late or told twice changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import NotFound

from tasks.config import Target
from tasks.containers.observe import find_container, read
from tasks.errors import ContainerMissing
from tasks.models import Model


class Sighting(Model):
    """container: the engine's id, empty where there is none. started_at: the engine's own text (RFC 3339).

    volume: what is behind PGDATA, None where that is no volume. pinned: whether the pinned volume exists.
    """

    container: str = ""
    started_at: str = ""
    running: bool = False
    volume: str | None = None
    pinned: bool = True


def sight(client: docker.DockerClient, target: Target) -> Sighting:
    """Look at a target's container and its pinned volume now. Raise EngineError where the engine fails."""
    try:
        found = find_container(client, target.container, target.volume)
    except ContainerMissing:
        found = None
    return read_sighting(found, volume_exists(client, target.volume))


def read_sighting(found: Mapping[str, Any] | None, pinned: bool) -> Sighting:
    """A Sighting from the engine's inspect JSON; None: there is no container."""
    if found is None:
        return Sighting(pinned=pinned)
    return Sighting(
        container=found["Id"],
        started_at=found["State"]["StartedAt"],
        running=found["State"]["Status"] == "running",
        volume=read(dict(found)).volume,
        pinned=pinned,
    )


def volume_exists(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has a volume of this name."""
    try:
        client.api.inspect_volume(name)
    except NotFound:
        return False
    return True
