"""Re-create a container faithfully: the plan's pure parts under one name, and the engine's calls, one a step.

Each step may be done twice. What the engine refuses becomes one sentence that names the container.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import docker
from docker.errors import APIError, DockerException, NotFound

from tasks.containers.difference import difference
from tasks.containers.engine import inspect_container
from tasks.containers.layer import carry
from tasks.containers.mounts import place, volumes_by_place
from tasks.containers.payload import Payload, names_of, replacement
from tasks.containers.refusals import blockers, lost_files, reports, stop_blockers
from tasks.containers.volumes import find_volume
from tasks.errors import ContainerMissing, EngineError

LEAST_STOP_SECONDS = 60
STOP_PATIENCE = 600.0  # seconds that the engine may take to answer, on top of the container's own time to stop
ASK_EVERY = 0.2
SETTLED = 1.0  # seconds that a container without a healthcheck must run: one that cannot work mostly ends at once
CREATE_SECONDS = 120.0  # for a create of somebody else's, of the same name, that the engine is at work on
EXIT_SECONDS = 60.0  # for a container to be seen ended, after the engine has said that it is
REMOVE_SECONDS = 300.0  # for a removal of somebody else's: a container is only gone once all that it wrote is
LOG_LINES, LOG_CHARACTERS = 12, 600
CONFLICT = 409
UPDATE_SECONDS = 10.0
BETWEEN_TWO = "not found"  # what the engine says of the task of a container that ends or begins at this moment
ALREADY = "already in progress"  # what the engine says of a removal
RESTARTS = 8  # which the engine makes within half a minute, waiting twice as long each time
NEVER = "0001-01-01T00:00:00Z"  # StartedAt of a container that never ran

RestartPolicy = dict[str, Any]


def create(client: docker.DockerClient, payload: Payload, name: str) -> str:
    """Create, and do not start, the container `name`; return its id. It is connected to its first network only.

    One that an interrupted call left is returned, also where the engine is still at work on it: it reserves the name
    first (moby, daemon/create.go). Raise EngineError if a volume or network of the payload is not there
    any more (the engine would silently make an empty volume), if the name is taken, or if the engine refuses.
    """
    _check_volumes(client, payload)
    _check_networks(client, payload)
    given_up = time.monotonic() + CREATE_SECONDS
    while (left := _left_over(client, payload, name)) is None:
        with _refusing(f"The replacement of {payload.name} cannot be created"):
            try:
                made: dict[str, Any] = client.api.create_container_from_config(  # type: ignore[no-untyped-call]
                    payload.body, name, platform=_platform(client, payload)
                )
                return str(made["Id"])
            except APIError as error:
                if error.status_code != CONFLICT or time.monotonic() > given_up:
                    raise
        time.sleep(ASK_EVERY)
    return left


def _check_volumes(client: docker.DockerClient, payload: Payload) -> None:
    for volume in payload.volumes:
        if find_volume(client, volume) is None:
            raise EngineError(f"The volume {volume}, which {payload.name} needs, does not exist.")


def _check_networks(client: docker.DockerClient, payload: Payload) -> None:
    """A network that was removed and made again under the same name is another network."""
    for name, network_id in payload.network_ids.items():
        try:
            found: dict[str, Any] = client.api.inspect_network(name)
        except NotFound as error:
            raise EngineError(f"The network {name} of {payload.name} does not exist any more.") from error
        if found["Id"] != network_id:
            raise EngineError(
                f"The network {name} is not the one that {payload.name} is connected to, it only has its name; connect "
                f"the container to it first: docker network disconnect -f {name} {payload.name}, then connect."
            )


def _left_over(client: docker.DockerClient, payload: Payload, name: str) -> str | None:
    """The id of a container `name` that is this very replacement and never ran; None where the name is free."""
    try:
        found = inspect_container(client, name)
    except ContainerMissing:
        return None
    mounted = {each["Name"] for each in volumes_by_place(found).values()}
    same = found["Config"]["Image"] == payload.body["Image"] and mounted == set(payload.volumes)
    if not same or found["State"]["StartedAt"] != NEVER:
        raise EngineError(f"There is a container {name} already; it is left as it is. Remove or rename it.")
    return str(found["Id"])


def _platform(client: docker.DockerClient, payload: Payload) -> str | None:
    """The image's platform where it is not the engine's own: a tag may name images of several."""
    architecture = payload.platform.partition("/")[2]
    return payload.platform if architecture not in ("", client.version().get("Arch")) else None


def connect_networks(client: docker.DockerClient, payload: Payload, container_id: str) -> None:
    """Connect the container to those networks of the payload that it is not connected to yet."""
    connected = inspect_container(client, container_id)["NetworkSettings"]["Networks"] or {}
    for name, asked in payload.networks.items():
        if name not in connected:
            with _refusing(f"The replacement of {payload.name} cannot be connected to the network {name}"):
                client.api.connect_container_to_network(container_id, name, **_endpoint(asked))


def _endpoint(asked: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint's settings as the library's keyword arguments."""
    addresses = asked.get("IPAMConfig") or {}
    links = [each.partition(":")[::2] for each in asked.get("Links") or []]
    given = {
        "ipv4_address": addresses.get("IPv4Address"),
        "ipv6_address": addresses.get("IPv6Address"),
        "link_local_ips": addresses.get("LinkLocalIPs"),
        "aliases": asked.get("Aliases"),
        "links": links,
        "driver_opt": asked.get("DriverOpts"),
    }
    return {name: value for name, value in given.items() if value}


def set_restart_policy(client: docker.DockerClient, container: str, policy: RestartPolicy) -> RestartPolicy:
    """Give the container another restart policy and return its previous one, both as in HostConfig.RestartPolicy.

    The engine refuses that at the moment in which a process ends or begins: it is asked again for some seconds.
    """
    found = inspect_container(client, container)
    previous, given_up = policy_of(found), time.monotonic() + UPDATE_SECONDS
    with _refusing(f"The restart policy of {_name(found)} cannot be set"):
        while previous != _whole(policy):
            try:
                client.api.update_container(found["Id"], restart_policy=cast("Any", _whole(policy)))
                break
            except APIError as error:
                if BETWEEN_TWO not in str(error.explanation) or time.monotonic() > given_up:
                    raise
            time.sleep(ASK_EVERY)
    return previous


def policy_of(found: Mapping[str, Any]) -> RestartPolicy:
    """The container's restart policy, from its inspect JSON."""
    return _whole(found["HostConfig"].get("RestartPolicy") or {})


def is_well(found: Mapping[str, Any]) -> bool:
    """Whether it runs, and its healthcheck, where it has one, is green."""
    return found["State"]["Status"] == "running" and _health(found) in ("healthy", "none")


def _whole(policy: Mapping[str, Any]) -> RestartPolicy:
    """An empty name means `no` at create, but `leave it as it is` at update."""
    return {"Name": policy.get("Name") or "no", "MaximumRetryCount": policy.get("MaximumRetryCount") or 0}


def stop(client: docker.DockerClient, container: str, timeout: int | None = None) -> None:
    """Stop the container with its own signal, and return once it does not run; one that does not run is left so.

    Also where a stop that somebody else asked for is still at work, whose client may be dead: both end with the same
    exit, and neither does anything to a process that is started after it. See `at_rest`.

    timeout: seconds until the engine kills it; None for the container's own, but at least 60: a server writes its last
    checkpoint then.
    """
    found = inspect_container(client, container)
    with _refusing(f"The container {_name(found)} cannot be stopped"):
        client.api.stop(found["Id"], timeout=_stop_seconds(found) if timeout is None else timeout)
    given_up = time.monotonic() + EXIT_SECONDS
    while inspect_container(client, found["Id"])["State"]["Running"]:
        if time.monotonic() > given_up:
            raise EngineError(f"The container {_name(found)} still runs {EXIT_SECONDS:g} s after it was stopped.")
        time.sleep(ASK_EVERY)


def _stop_seconds(found: dict[str, Any]) -> int:
    """Below zero means never to kill it: it stays so."""
    own = int(found["Config"].get("StopTimeout") or 0)
    return own if own < 0 else max(own, LEAST_STOP_SECONDS)


def start(client: docker.DockerClient, container: str) -> None:
    """Start the container; one that runs already is left so. Raise EngineError, with the end of its log if it began."""
    found = inspect_container(client, container)
    try:
        client.api.start(found["Id"])
    except APIError as error:
        why, now = str(error.explanation or error).rstrip("."), inspect_container(client, found["Id"])
        # The log of a start before this one says nothing about it.
        began = now["State"]["StartedAt"] != found["State"]["StartedAt"]
        said = said_last(client, now) if began else ""
        raise EngineError(f"The container {_name(found)} cannot be started: {why}. {said}".rstrip()) from None


def said_last(client: docker.DockerClient, found: Mapping[str, Any]) -> str:
    """The end of the container's own log, as a sentence; where it has none, or one that cannot be read, where to look.

    What it said before the second of its last start is left out. Empty for one that never ran.
    """
    if found["State"]["StartedAt"] == NEVER:
        return ""
    name = str(found["Name"]).lstrip("/")
    try:
        log: bytes = client.api.logs(found["Id"], tail=LOG_LINES, since=_second(found["State"]["StartedAt"]))
    except (APIError, DockerException):
        log = b""
    words = " ".join(log.decode(errors="replace").split())[-LOG_CHARACTERS:]
    return f"The end of its log: {words}" if words else f"Its log says nothing; see docker logs {name}."


def _second(moment: str) -> int:
    """The second that a time of the engine's lies in (RFC 3339, in UTC, with nanoseconds)."""
    return int(datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp())


def remove(client: docker.DockerClient, container: str, *, force: bool = False) -> None:
    """Remove the container, none of its volumes, and return once it is gone; one that is gone is fine.

    Also where a removal that somebody else asked for is still at work. force: one that runs is ended.

    Raise EngineError.
    """
    given_up = time.monotonic() + REMOVE_SECONDS
    while True:
        with _refusing(f"The container {container} cannot be removed"):
            try:
                client.api.remove_container(container, v=False, force=force)
            except NotFound:
                return
            except APIError as error:
                passing = error.status_code == CONFLICT and ALREADY in str(error.explanation)
                if not passing or time.monotonic() > given_up:
                    raise
            else:
                return
        time.sleep(ASK_EVERY)


def rename(client: docker.DockerClient, container_id: str, name: str) -> None:
    """Call the container `name`, whatever it is called now."""
    found = inspect_container(client, container_id)
    if _name(found) == name:
        return
    with _refusing(f"The container {_name(found)} cannot be renamed to {name}"):
        client.api.rename(found["Id"], name)


def remove_created(client: docker.DockerClient, container: str) -> None:
    """Remove a container that never ran, none of its volumes; one that is gone is fine.

    Raise EngineError for one that ever ran: it may be the only one that knows its anonymous volumes.
    """
    try:
        found = inspect_container(client, container)
    except ContainerMissing:
        return
    if found["State"]["StartedAt"] != NEVER:
        raise EngineError(f"The container {_name(found)} has run; it is not removed.")
    with _refusing(f"The container {_name(found)} cannot be removed"):
        try:
            client.api.remove_container(found["Id"], v=False)
        except NotFound:
            return


def wait_healthy(client: docker.DockerClient, container: str, deadline: float) -> None:
    """Return once the container's healthcheck is green; where it has none, once it has run for a second on end.

    Raise EngineError if it ends, again and again where it is restarted, or if that takes more than `deadline` seconds.
    """
    given_up = time.monotonic() + deadline
    start, seen, starts = "", 0.0, 0
    while True:
        found = inspect_container(client, container)
        state = found["State"]
        if state["StartedAt"] != start:
            start, seen, starts = state["StartedAt"], time.monotonic(), starts + 1
        settled = time.monotonic() - seen >= SETTLED
        if state["Status"] == "running" and (_health(found) == "healthy" or (_health(found) == "none" and settled)):
            return
        if state["Status"] in ("exited", "dead") or (state["Status"] == "restarting" and starts > RESTARTS):
            raise EngineError(
                f"The container {_name(found)} ended with exit code {state['ExitCode']}. {said_last(client, found)}"
            )
        if time.monotonic() > given_up:
            now = " and ".join(each for each in (state["Status"], _health(found)) if each != "none")
            still = f"The container {_name(found)} is still {now} {deadline:g} s after its start."
            raise EngineError(f"{still} {said_last(client, found)}")
        time.sleep(ASK_EVERY)


def _health(found: Mapping[str, Any]) -> str:
    """What its healthcheck says; `none` where it has none."""
    return (found["State"].get("Health") or {}).get("Status") or "none"


def _name(found: dict[str, Any]) -> str:
    return str(found["Name"]).lstrip("/")


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn the engine's refusal into a sentence. The request stays out of it: it may hold secrets."""
    try:
        yield
    except APIError as error:
        raise EngineError(f"{what}: {str(error.explanation or error).rstrip('.')}.") from None


__all__ = [
    "STOP_PATIENCE",
    "Payload",
    "blockers",
    "carry",
    "connect_networks",
    "create",
    "difference",
    "is_well",
    "lost_files",
    "names_of",
    "place",
    "policy_of",
    "remove",
    "remove_created",
    "rename",
    "replacement",
    "reports",
    "said_last",
    "set_restart_policy",
    "start",
    "stop",
    "stop_blockers",
    "wait_healthy",
]
