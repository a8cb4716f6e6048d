"""Why a container cannot be re-created faithfully, and what a re-creation loses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tasks.containers.engine import OUR_LABEL
from tasks.containers.layer import RUN, Layer, is_in, layer_of, some
from tasks.containers.mounts import place, structures_of, volumes_by_place
from tasks.containers.networks import alone
from tasks.containers.observe import Container, read
from tasks.containers.volumes import ALIVE

ORCHESTRATORS = {
    "com.docker.swarm.": "a Docker Swarm service; change the mount of the service instead (docker service update)",
    "io.kubernetes.": "a Kubernetes pod; change the volume of the pod instead",
}
NAMESPACES = {"NetworkMode": "network", "PidMode": "process", "IpcMode": "memory"}


def blockers(
    found: dict[str, Any], everybody: Iterable[dict[str, Any]], pinned: str = "", pgdata: str | None = None
) -> list[str]:
    """Every reason not to re-create the container, a sentence each with what to do about it; none if there is none.

    everybody: the inspect JSON of all containers, this one too. pinned: the volume that it is to get. pgdata: where its
    data is known to be; None: where it declares.
    """
    others = [each for each in everybody if each["Id"] != found["Id"] and not _is_ours(each)]
    return [
        *_about_itself(found),
        *_about_data(found, read(found, pgdata=pgdata), others),
        *(sentence for other in others for sentence in _about_other(found, other, pinned)),
    ]


def stop_blockers(found: dict[str, Any], everybody: Iterable[dict[str, Any]], pgdata: str | None = None) -> list[str]:
    """Every reason not to stop the container, change what is in its data volume and start it again, a sentence each."""
    others = [each for each in everybody if each["Id"] != found["Id"] and not _is_ours(each)]
    return [*_about_itself(found), *_about_data(found, read(found, pgdata=pgdata), others)]


def _is_ours(other: dict[str, Any]) -> bool:
    return OUR_LABEL in _labels(other)


def _labels(found: dict[str, Any]) -> dict[str, str]:
    return found["Config"].get("Labels") or {}


def _name(found: dict[str, Any]) -> str:
    return str(found["Name"]).lstrip("/")


def _about_itself(found: dict[str, Any]) -> Iterator[str]:
    name, state = _name(found), found["State"]["Status"]
    if state in ("paused", "restarting", "removing", "dead"):
        yield f"The container {name} is {state}; docker unpause, stop or start it first."
    if found["HostConfig"].get("AutoRemove"):
        yield (
            f"The container {name} was started with --rm: a stop deletes it and its anonymous volumes. Make it without "
            "--rm first."
        )
    for prefix, whose in ORCHESTRATORS.items():
        if any(label.startswith(prefix) for label in _labels(found)):
            yield f"The container {name} belongs to {whose}."
    if not alone(found["HostConfig"].get("NetworkMode") or "") and not found["NetworkSettings"].get("Networks"):
        yield f"The container {name} is connected to no network any more; connect it first (docker network connect)."


def _about_data(found: dict[str, Any], container: Container, others: Sequence[dict[str, Any]]) -> Iterator[str]:
    """PGDATA must be on a volume of the container's own, and on the whole of it."""
    mount = container.data_mount
    if mount is None or mount.volume is None:
        memory = is_in(container.pgdata, list(found["HostConfig"].get("Tmpfs") or {}))
        kinds = {"bind": "a folder of the host", "tmpfs": "memory"}
        kind = "memory" if memory else kinds.get(mount.kind if mount else "", "its own layer")
        yield (
            f"The data of {container.name} ({container.pgdata}) is on no Docker volume ({kind}); move it to a volume "
            "first, then pin that (docs/add-a-target.md)."
        )
        return
    at = place(mount.destination)
    for each in structures_of(found):
        if place(each["Target"]) == at and (each.get("VolumeOptions") or {}).get("Subpath"):
            yield (
                f"The container {container.name} mounts one folder of the volume {mount.volume} (volume-subpath), not "
                "all of it; change that mount by hand."
            )
    for other in others:
        if _lends_to(other, found) and volumes_by_place(other).get(at, {}).get("Name") == mount.volume:
            yield (
                f"The container {container.name} has its data volume from {_name(other)} (--volumes-from); change the "
                "mount there."
            )


def _about_other(found: dict[str, Any], other: dict[str, Any], pinned: str) -> Iterator[str]:
    name, others = _name(found), _name(other)
    for mode, namespace in NAMESPACES.items():
        kind, _, whose = (other["HostConfig"].get(mode) or "").partition(":")
        if kind == "container" and _is(whose, found):
            yield (
                f"The container {others} shares the {namespace} namespace of {name}, which ends with it; remove "
                f"{others}, and make it again afterwards."
            )
    if _lends_to(found, other):
        yield (
            f"The container {others} has its volumes from {name} (--volumes-from), the wrong one too; remove "
            f"{others}, and make it again afterwards."
        )
    for link in other["HostConfig"].get("Links") or []:
        if link.partition(":")[0] == found["Name"]:
            yield (
                f"The container {others} is linked to {name} (--link), and a link stays with the old container; put "
                "both on a network of your own instead."
            )
    if pinned and other["State"]["Status"] in ALIVE and _mounts(other, pinned):
        yield f"The volume {pinned} is in use by {others}; stop that first."


def _lends_to(lender: dict[str, Any], borrower: dict[str, Any]) -> bool:
    return any(_is(each.partition(":")[0], lender) for each in borrower["HostConfig"].get("VolumesFrom") or [])


def _is(name: str, found: dict[str, Any]) -> bool:
    """Whether `name`, which may be an id or the beginning of one, means the container."""
    return name.lstrip("/") == _name(found) or (len(name) >= 12 and str(found["Id"]).startswith(name))


def _mounts(found: dict[str, Any], volume: str) -> bool:
    return any(each["Name"] == volume for each in volumes_by_place(found).values())


def reports(found: dict[str, Any], diff: Sequence[dict[str, Any]]) -> list[str]:
    """What a re-creation loses or may change, a sentence each, to be read before it is approved.

    diff: the engine's list of changes in the container's own layer (Docker Engine API, ContainerChanges).
    """
    layer = layer_of(found, diff)
    return [*_carried(layer), *_lost(found, layer), *_other_ports(found)]


def lost_files(found: dict[str, Any], diff: Sequence[dict[str, Any]]) -> list[str]:
    """What was written inside the container and on no volume, by path, without what lies in /run."""
    return [each for part in layer_of(found, diff) for each in part if not is_in(each, RUN)]


def _carried(layer: Layer) -> Iterator[str]:
    if layer.carried:
        yield f"In the container itself, on no volume, and copied into the new one: {some(layer.carried)}."


def _lost(found: dict[str, Any], layer: Layer) -> Iterator[str]:
    if layer.lost:
        yield (
            f"Changed inside the container {_name(found)} itself, on no volume, and not in the new one: "
            f"{some(layer.lost)}; they stay in the old container, which is kept."
        )


def _other_ports(found: dict[str, Any]) -> Iterator[str]:
    """Ports that were published without saying which one of the host."""
    asked = found["HostConfig"].get("PortBindings") or {}
    free = [
        port for port, bindings in asked.items() for each in bindings or [] if each.get("HostPort") in ("", "0", None)
    ]
    if found["HostConfig"].get("PublishAllPorts"):
        free += [port for port in found["Config"].get("ExposedPorts") or {} if port not in asked]
    if free:
        yield f"The host's port for {', '.join(free)} is chosen at each start: it may be another one afterwards."
