"""What the engine shows of a target at one moment: which container, since when, on which volume; is the pin there, and
does anybody else run a server on it?

Events only say where to look. What is compared is what was seen, so an event that is lost, late or told twice changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker

from tasks.checks.look import place_exists
from tasks.checks.shared import Own, look_beside
from tasks.config import Target
from tasks.containers.neighbours import Around, candidates, place_of
from tasks.containers.observe import find_container, kept_at, read
from tasks.errors import ContainerMissing
from tasks.models import Model


class Sighting(Model):
    """container: the engine's id, empty where there is none. started_at: the engine's own text (RFC 3339).

    volume: what is behind PGDATA, a folder of the host too; None where that is neither. pinned: whether the pinned
    volume or folder exists. servers: the other containers that run a PostgreSQL server on it; own: where the target's
    own runs. crowd: the ids of all others that have it mounted for writing.
    """

    container: str = ""
    started_at: str = ""
    running: bool = False
    volume: str | None = None
    pinned: bool = True
    servers: tuple[str, ...] = ()
    own: Own = "down"
    crowd: frozenset[str] = frozenset()


def sight(client: docker.DockerClient, target: Target, around: Around) -> Sighting:
    """Look at a target's container and its pinned volume now. Raise EngineError where the engine fails.

    around: what the engine showed a moment ago.
    """
    try:
        found = find_container(client, target.container, target.pinned)
    except ContainerMissing:
        found = None
    seen = read_sighting(found, place_exists(client, target.pinned), target.pinned)
    beside = look_beside(client, around, target, found)
    servers = tuple(each.container for each in beside.servers)
    return seen.model_copy(update={"servers": servers, "own": beside.own, "crowd": crowd(around, target, seen)})


def crowd(around: Around, target: Target, seen: Sighting) -> frozenset[str]:
    """The ids of the containers, other than the one that is seen, that have the pinned volume mounted for writing.
    Pure."""
    place = place_of(around, target.pinned, None)
    return frozenset(each["Id"] for each in candidates(around, place, seen.container)) if place else frozenset()


def read_sighting(found: Mapping[str, Any] | None, pinned: bool, pin: str = "") -> Sighting:
    """A Sighting from the engine's inspect JSON; None: there is no container. pin: the pinned volume or
    folder."""
    if found is None:
        return Sighting(pinned=pinned)
    return Sighting(
        container=found["Id"],
        started_at=found["State"]["StartedAt"],
        running=found["State"]["Status"] == "running",
        volume=kept_at(read(dict(found)), pin),
        pinned=pinned,
    )
