"""Take a container through a whole re-creation, in the order in which a restore does it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import NotFound

from tasks.containers import recreate
from tests.bed.labels import LABEL, Bed, remove

SECONDS = 180.0


def data_mount(found: dict[str, Any], destination: str) -> str:
    """The volume that a container mounts at `destination`, from its inspect JSON."""
    return next(str(each["Name"]) for each in found["Mounts"] if each["Destination"] == destination)


def inspect_all(client: docker.DockerClient) -> list[dict[str, Any]]:
    """The inspect JSON of all containers but those that go meanwhile."""
    found: list[dict[str, Any]] = []
    for each in client.api.containers(all=True):
        with suppress(NotFound):
            found.append(client.api.inspect_container(each["Id"]))
    return found


def recreate_on(
    client: docker.DockerClient,
    found: dict[str, Any],
    pinned: str,
    destination: str,
    labels: dict[str, str | None] | None = None,
) -> dict[str, Any]:
    """Re-create the container on `pinned`; return the replacement's inspect JSON once it is healthy.

    The old one is kept, stopped, as `<name>.before-test`, its restart policy `no`.
    """
    api = client.api
    everybody = inspect_all(client)
    image: dict[str, Any] = api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    payload = recreate.replacement(
        found,
        image,
        api_version=api.api_version,
        wrong=data_mount(found, destination),
        pinned=pinned,
        destination=destination,
        labels=labels,
        names=recreate.names_of(everybody),
    )
    made = recreate.create(client, payload, f"{payload.name}.new-test")
    recreate.connect_networks(client, payload, made)
    recreate.carry(client, found, made)
    recreate.set_restart_policy(client, found["Id"], {"Name": "no"})
    recreate.stop(client, found["Id"])
    recreate.rename(client, found["Id"], f"{payload.name}.before-test")
    recreate.rename(client, made, payload.name)
    recreate.start(client, made)
    recreate.wait_healthy(client, made, SECONDS)
    inspected: dict[str, Any] = api.inspect_container(made)
    return inspected


@contextmanager
def nothing_left(bed: Bed) -> Iterator[None]:
    """Remove, at the end, what got the run's label meanwhile; what was there before stays.

    The newest container goes first: the old one is then the last to know its anonymous volumes, and takes them along.
    """
    before = _labelled(bed)
    try:
        yield
    finally:
        for container in bed.client.containers.list(all=True, filters=_ours(bed), ignore_removed=True):
            if container.id not in before:
                remove(container)
        for thing in [*bed.client.volumes.list(filters=_ours(bed)), *bed.client.networks.list(filters=_ours(bed))]:
            if thing.id not in before:
                remove(thing)


def _ours(bed: Bed) -> dict[str, Any]:
    return {"label": f"{LABEL}={bed.run_id}"}


def _labelled(bed: Bed) -> set[str]:
    client = bed.client
    things = [
        *client.containers.list(all=True, filters=_ours(bed), ignore_removed=True),
        *client.volumes.list(filters=_ours(bed)),
        *client.networks.list(filters=_ours(bed)),
    ]
    return {str(each.id) for each in things}
