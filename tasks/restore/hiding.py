"""Keep the old container of a re-creation where Compose does not see it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import docker

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
    with engine() as client:
        try:
            found = inspect_container(client, hands.plan.container_id)
        except ContainerMissing:
            found = None
        if found is not None:
            made = recreate.create(client, _without_compose(client, found, hands), passing)
            log.info("The container %s takes the place of the old one.", made[:12])
            client.api.remove_container(found["Id"], v=False)
        with contextlib.suppress(ContainerMissing):
            recreate.rename(client, passing, kept)


def _without_compose(client: docker.DockerClient, found: dict[str, Any], hands: Hands) -> recreate.Payload:
    image: dict[str, Any] = client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    if list(recreate.lost_files(found, client.api.diff(found["Id"]) or [])):
        saved = client.api.commit(found["Id"], repository="rollcall-kept", tag=hands.run.lower())
        image = client.api.inspect_image(saved["Id"])  # type: ignore[no-untyped-call]
        found = {**found, "Image": image["Id"], "Config": {**found["Config"], "Image": image["Id"]}}
    labels = {name: None for name in found["Config"].get("Labels") or {} if name.startswith(COMPOSE)}
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
