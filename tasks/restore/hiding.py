"""Keep the old container of a re-creation where Compose does not see it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import docker
from docker.errors import NotFound

from tasks.containers import recreate
from tasks.containers.engine import engine, everybody, inspect_container
from tasks.errors import ContainerMissing
from tasks.restore.hands import Hands

log = logging.getLogger("rollcall")

COMPOSE = "com.docker.compose."


def hide_old(hands: Hands) -> None:
    """Put a container that never runs in the old one's place: with all it mounts, without Compose's labels.

    Compose knows containers by their labels, which no call changes: it would take the kept one for the service, and
    remove the replacement. What the old one had written outside of its volumes goes into an image first.
    """
    _, kept = hands.names
    passing = f"{kept}.unlabelled"
    with engine(hands.docker) as client:
        try:
            found = inspect_container(client, hands.plan.container_id)
        except ContainerMissing:
            found = None
        if found is not None:
            made = recreate.create(client, _without_compose(client, found, hands), passing)
            log.info("The container %s takes the place of the old one.", made[:12])
            recreate.remove(client, found["Id"])
        with contextlib.suppress(ContainerMissing):
            recreate.rename(client, passing, kept)


def _without_compose(client: docker.DockerClient, found: dict[str, Any], hands: Hands) -> recreate.Payload:
    image: dict[str, Any] = client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    labels: dict[str, str | None] = {}
    own = [name for name in found["Config"].get("Labels") or {} if name.startswith(COMPOSE)]
    if list(recreate.lost_files(found, client.api.diff(found["Id"]) or [])):
        image = _saved(client, found, hands)
        found = {**found, "Image": image["Id"], "Config": {**found["Config"], "Image": image["Id"]}}
        # The image has the labels too, and a container takes over those that it does not set itself.
        labels = dict.fromkeys(own, "")
    else:
        labels = dict.fromkeys(own)
    mounted = hands.plan.mounted or ""
    return recreate.replacement(
        found,
        image,
        api_version=client.api.api_version,
        wrong=mounted,
        pinned=mounted,
        destination=hands.plan.destination,
        labels=labels,
        names=recreate.names_of(everybody(client)),
    )


def _saved(client: docker.DockerClient, found: dict[str, Any], hands: Hands) -> dict[str, Any]:
    """What the container had written outside of its volumes, as an image of this engine; made once in a run."""
    name = f"rollcall-kept:{hands.run.lower()}"
    try:
        image: dict[str, Any] = client.api.inspect_image(name)  # type: ignore[no-untyped-call]
    except NotFound:
        repository, tag = name.split(":")
        saved = client.api.commit(found["Id"], repository=repository, tag=tag)
        log.warning("What %s had written outside of its volumes is kept as the image %s.", hands.names[1], name)
        image = client.api.inspect_image(saved["Id"])  # type: ignore[no-untyped-call]
    return image
