"""Is the target's data its server's alone? Another container may have it mounted, and run a second server on it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import docker

from tasks.checks.look import volume_findings
from tasks.config import Target
from tasks.containers.engine import engine
from tasks.containers.neighbours import Around, Neighbour, look_around, neighbours, place_of
from tasks.containers.observe import find_container
from tasks.containers.volumes import ALIVE
from tasks.errors import ContainerMissing
from tasks.models import Finding, Identity

Own = Literal["on it", "elsewhere", "down"]
"""Where the target's own container runs: on the pinned volume, on other data, or nowhere."""


class Beside(NamedTuple):
    """The containers that have a target's pinned volume mounted for writing, its own left out."""

    own: Own
    others: list[Neighbour]

    @property
    def servers(self) -> list[Neighbour]:
        """Those that run a PostgreSQL server on it."""
        return [each for each in self.others if each.serves]


def place_findings(target: Target, identity: Identity | None) -> list[Finding]:
    """`volume.missing` where the pinned volume does not exist, `volume.shared` for each container beside the target's
    own that has it mounted for writing. identity: what the server said, None where it was not asked."""
    if missing := volume_findings(target):
        return missing
    with engine(target.docker) as client:
        try:
            found = find_container(client, target.container, target.pinned)
        except ContainerMissing:
            found = None
        beside = look_beside(client, look_around(client), target, found, identity.pgdata if identity else None)
    return shared_findings(target, beside)


def look_beside(
    client: docker.DockerClient, around: Around, target: Target, found: dict[str, Any] | None, pgdata: str | None = None
) -> Beside:
    """Look at who else has the target's pinned volume. Raise EngineError.

    found: the inspect JSON of its own container, None where there is none; pgdata: where its server says that its data
    is.
    """
    place = place_of(around, target.pinned, found, pgdata)
    running = found is not None and found["State"]["Status"] in ALIVE
    own: Own = "down" if not running else "on it" if place and place.data else "elsewhere"
    return Beside(own, neighbours(client, around, place, found["Id"] if found else "") if place else [])


def shared_findings(target: Target, beside: Beside) -> list[Finding]:
    """`volume.shared`: critical for a second server, a notice for a container that could start one. Pure."""
    return [
        Finding(code="volume.shared", severity="critical", message=second_server(target, each, beside.own))
        if each.serves
        else Finding(code="volume.shared", severity="notice", message=_may_write(target, each))
        for each in beside.others
    ]


def named(each: Neighbour) -> str:
    """The container in words: its name, its Compose project and, if it does not simply run, its state."""
    said = [f"compose project {each.project}"] if each.project else []
    said += [each.state] if each.state != "running" else []
    return f"{each.container} ({', '.join(said)})" if said else each.container


def second_server(target: Target, each: Neighbour, own: Own) -> str:
    """What is wrong, and what to do, where another container runs a server on the pinned volume. Pure."""
    what = f"Container {named(each)} runs a PostgreSQL server on the {target.pinned_place}"
    stop = f"docker stop {each.container}"
    match own:
        case "on it":
            return (
                f"{what} beside {target.container}: two servers on the same files damage them and lose rows. "
                f"Stop it now: {stop}"
            )
        case "elsewhere":
            return (
                f"{what}, where {target.container} belongs: find out which of them people use, and stop the other "
                f"before {target.container} is put on it."
            )
        case "down":
            return (
                f"{what}, and {target.container} does not run: do not start it beside that one, for two servers on the "
                f"same files damage them. If {each.container} is not the one that people use, first: {stop}"
            )


def _may_write(target: Target, each: Neighbour) -> str:
    return (
        f"Container {named(each)} has the {target.pinned_place} mounted for writing, and runs no PostgreSQL "
        "server on it; mount it read-only there (:ro) if it only reads."
    )
