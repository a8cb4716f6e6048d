"""Which PostgreSQL clusters lie in Docker volumes, found without a server and without a chance to change anything.

A helper container mounts up to 40 volumes read-only, has no network and one capability: to read what belongs to
other users. A volume that goes, or that cannot be mounted, costs its own place in the list and nobody else's.
It also lists the files that no cluster needs (tasks/containers/other_files.py).
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import docker
import requests.exceptions
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount
from docker.utils.socket import frames_iter

from tasks.containers import other_files
from tasks.containers.cluster_search import PROGRAMS, SCRIPT
from tasks.containers.control_file import ControlFile, parse
from tasks.containers.engine import OUR_LABEL
from tasks.containers.other_files import OtherFiles
from tasks.containers.startable import why_not_started
from tasks.containers.volumes import Volume, list_volumes, remove_unused
from tasks.errors import ControlFileUnreadable, EngineError
from tasks.models import Model

log = logging.getLogger("rollcall")

AT_ONCE = 40
ATTEMPTS = 3
# What the engine says when the helper was removed between its creation and its start.
SWEPT = ("No such container", "marked for removal")

# The engine makes a volume that a container names and that is not there (any more). This tells such a one apart.
CALLED_UP_LABEL = "io.rollcall.called_up"


class ClusterVolume(Model):
    """A cluster in a volume.

    path: PGDATA below the volume's root, "" where the root itself is it; major: as in PG_VERSION, for example `17` or
    `9.6`; bytes: on disk, None where measuring took too long; free_bytes: left on that disk, None where nobody says;
    has_pid_file: a postmaster.pid lies there; others: files in the volume that are no part of a cluster.
    """

    volume: Volume
    path: str
    major: str
    control: ControlFile
    bytes: int | None
    free_bytes: int | None = None
    has_pid_file: bool = False
    others: list[OtherFiles] = []


class _Cut(Exception):
    """A helper ended before its report: swept, or killed."""


class _CannotStart(Exception):
    """The engine refused the helper with these volumes, or it did not end."""


class Looked(NamedTuple):
    """clusters: those that were found; unclear: volumes that may hold more, for they could not be mounted, searched to
    their end, or read; others: by volume, the files that are no part of its clusters; linked: volumes with a cluster
    that has parts outside of its own folder, its log or a tablespace."""

    clusters: list[ClusterVolume]
    unclear: set[str]
    others: dict[str, list[OtherFiles]]
    linked: set[str]


def clusters_in(client: docker.DockerClient, image_id: str, names: Sequence[str], owner: str) -> list[ClusterVolume]:
    """Every cluster in the volumes called `names`, at their root or up to three levels below; mounted read-only.

    image_id: any image with a shell, od, find and du, such as a PostgreSQL image; owner: labels the helper. A volume
    that vanished is left out; one that cannot be mounted or searched is left out with a warning in the log.
    Raise EngineError where no helper can be run at all.
    """
    return look_into(client, image_id, names, owner).clusters


def look_into(client: docker.DockerClient, image_id: str, names: Sequence[str], owner: str) -> Looked:
    """The same, with what could not be looked into: where somebody must know that nothing is in a volume."""
    here = {volume.name: volume for volume in list_volumes(client)}
    wanted = [here[name] for name in dict.fromkeys(names) if name in here]
    found = _joined(_search(client, image_id, batch, owner) for batch in _batches(wanted))
    clusters = [each.model_copy(update={"others": found.others.get(each.volume.name, [])}) for each in found.clusters]
    return Looked(
        sorted(clusters, key=lambda each: (each.volume.name, float(each.major), each.path)),
        found.unclear,
        found.others,
        found.linked,
    )


def _joined(parts: Iterable[Looked]) -> Looked:
    every = list(parts)
    return Looked(
        [one for each in every for one in each.clusters],
        set().union(*(each.unclear for each in every)),
        {name: found for each in every for name, found in each.others.items()},
        set().union(*(each.linked for each in every)),
    )


def _batches(volumes: Sequence[Volume]) -> Iterator[list[Volume]]:
    """Plain volumes together; each that needs a driver or a mount of its own, which may fail or hang, by itself."""
    plain = [each for each in volumes if each.driver == "local" and not each.options]
    for start in range(0, len(plain), AT_ONCE):
        yield plain[start : start + AT_ONCE]
    for each in volumes:
        if each.driver != "local" or each.options:
            yield [each]


def _search(client: docker.DockerClient, image_id: str, volumes: list[Volume], owner: str) -> Looked:
    """The clusters in one batch; where the engine refuses it, in its halves, so that one bad volume costs itself."""
    try:
        return _read(_report(client, image_id, volumes, owner), volumes)
    except _CannotStart as reason:
        if len(volumes) > 1:
            half = len(volumes) // 2
            halves = (volumes[:half], volumes[half:])
            return _joined(_search(client, image_id, part, owner) for part in halves)
        _check_image(client, image_id, owner)
        log.warning("The volume %s cannot be looked into, for it cannot be mounted: %s", volumes[0].name, reason)
        return Looked([], {volumes[0].name}, {}, set())


def _check_image(client: docker.DockerClient, image_id: str, owner: str) -> None:
    """Raise EngineError if a helper of this image does not even start without volumes."""
    try:
        _report(client, image_id, [], owner)
    except _CannotStart as reason:
        why = why_not_started(client, image_id, owner, PROGRAMS) or str(reason).rstrip(".")
        raise EngineError(f"No helper container can be run from the image {image_id}: {why}.") from reason


def _report(client: docker.DockerClient, image_id: str, volumes: list[Volume], owner: str) -> list[str]:
    """The helper's lines. It is tried again where another run of the same owner swept it. Raise _CannotStart, and
    EngineError where it gives no sign of its own."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(_Cut):
            return _run(client, image_id, volumes, owner)
    if reason := why_not_started(client, image_id, owner, PROGRAMS):
        raise EngineError(f"No helper container can look for clusters: {reason}.")
    names = ", ".join(each.name for each in volumes)
    raise EngineError(f"Looking for clusters was ended from outside {ATTEMPTS} times (volumes {names}); try again.")


def _run(client: docker.DockerClient, image_id: str, volumes: list[Volume], owner: str) -> list[str]:
    token = secrets.token_hex(8)
    helper: str | None = None
    try:
        helper = client.api.create_container(**_helper(client, image_id, volumes, owner, token))["Id"]
        lines = _listen(client, helper, deadline=60.0 * (len(volumes) + 1))
    except APIError as error:
        said = str(error.explanation or error)
        raise _Cut if helper and any(each in said for each in SWEPT) else _CannotStart(said) from error
    except requests.exceptions.Timeout as error:
        raise _CannotStart("the engine does not answer in time") from error
    finally:
        _remove(client, helper)
        _remove_called_up(client, token)
    if "end" not in lines:
        raise _Cut
    return lines


def _helper(
    client: docker.DockerClient, image_id: str, volumes: list[Volume], owner: str, token: str
) -> dict[str, Any]:
    """A container that can read everything in its volumes and change nothing anywhere."""
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    config: dict[str, Any] = client.api.create_host_config(
        mounts=[_mount(number, volume, token) for number, volume in enumerate(volumes)],
        tmpfs=dict.fromkeys(image["Config"].get("Volumes") or {}, "size=1m"),
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        cap_add=["DAC_READ_SEARCH"],
        security_opt=["no-new-privileges"],
        log_config=LogConfig(type="none"),
        auto_remove=True,
    )
    return {
        "image": image_id,
        "command": ["-c", SCRIPT, "sh", *map(str, range(len(volumes)))],
        "entrypoint": ["sh"],
        "user": "0:0",
        "labels": {OUR_LABEL: owner},
        "host_config": config,
    }


def _mount(number: int, volume: Volume, token: str) -> Mount:
    """Read-only, and without nocopy the engine would fill an empty volume with what the image has in that place."""
    return Mount(
        target=f"/volumes/{number}",
        source=volume.name,
        type="volume",
        read_only=True,
        no_copy=True,
        labels={CALLED_UP_LABEL: token},
    )


def _listen(client: docker.DockerClient, helper: str, deadline: float) -> list[str]:
    """Start the helper; return all that it printed. Raise _CannotStart if it has not ended after `deadline` seconds."""
    ends = time.monotonic() + deadline
    stream = client.api.attach_socket(helper, params={"stdout": 1, "stream": 1})
    line = getattr(stream, "_sock", stream)
    late = threading.Timer(deadline, _hang_up, [line])
    late.daemon = True
    late.start()
    try:
        client.api.start(helper)
        output = b"".join(_chunks(stream))
    finally:
        late.cancel()
        stream.close()
        line.close()
    if time.monotonic() > ends:
        raise _CannotStart(f"looking into it took longer than {deadline:g} s")
    return output.decode("ascii", errors="replace").splitlines()


def _chunks(stream: Any) -> Iterator[bytes]:
    """What comes, until the helper ends or the line breaks."""
    with contextlib.suppress(OSError):
        for _, chunk in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]
            yield chunk


def _hang_up(line: Any) -> None:
    """End the wait for a helper that has gone quiet."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _remove(client: docker.DockerClient, helper: str | None) -> None:
    """Remove the helper, which removes itself when it ends, and wait until it is gone."""
    if helper is None:
        return
    with contextlib.suppress(NotFound, APIError, requests.exceptions.RequestException):
        client.api.remove_container(helper, force=True)
    with contextlib.suppress(NotFound, APIError, requests.exceptions.RequestException):
        client.api.wait(helper, timeout=30, condition="removed")


def _remove_called_up(client: docker.DockerClient, token: str) -> None:
    """Take away the empty volumes that the engine made because ours were removed between listing and mounting.

    Another run's helper may look into one just now, and is waited for.
    """
    for each in client.api.volumes(filters={"label": f"{CALLED_UP_LABEL}={token}"}).get("Volumes") or []:
        with contextlib.suppress(EngineError, APIError):
            remove_unused(client, each["Name"])


def _read(lines: Sequence[str], volumes: Sequence[Volume]) -> Looked:
    """The clusters that a helper's report names; what cannot be read is left out with a warning."""
    found: list[ClusterVolume] = []
    unclear: set[str] = set()
    others: dict[str, list[OtherFiles]] = {}
    linked: set[str] = set()
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "unclear":
            number, said = rest.split(" ")
            why = bytes.fromhex(said[1:]).decode(errors="backslashreplace")
            unclear.add(volumes[int(number)].name)
            log.warning("%s cannot be searched to its end (%s); it may hold more.", volumes[int(number)].name, why)
        elif kind == "cluster":
            number, *fields = rest.split(" ")
            cluster = read_cluster(fields, volumes[int(number)])
            if cluster is None:
                unclear.add(volumes[int(number)].name)
            else:
                found.append(cluster)
        elif kind == "other":
            number, *fields = rest.split(" ")
            others.setdefault(volumes[int(number)].name, []).append(other_files.read(fields))
        elif kind == "linked":
            linked.add(volumes[int(rest)].name)
    return Looked(found, unclear, others, linked)


def read_cluster(fields: Sequence[str], volume: Volume) -> ClusterVolume | None:
    """One cluster from the fields of its line: path, PG_VERSION and control file (hexadecimal behind an x), KiB taken
    and free, pid file. None, with a warning, where it is none that can be read."""
    path, version, content = (bytes.fromhex(each[1:]) for each in fields[:3])
    name = path.decode(errors="backslashreplace").lstrip("/")
    major = version.split(b"\n")[0].decode("ascii", errors="replace").strip()
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", major):
        log.warning("What looks like a cluster in volume %s (%r) has a PG_VERSION that is none.", volume.name, name)
        return None
    try:
        control = parse(content)
    except ControlFileUnreadable as error:
        log.warning("The cluster in volume %s (%r, PostgreSQL %s) cannot be read: %s", volume.name, name, major, error)
        return None
    taken, free, pid = fields[3:6]
    return ClusterVolume(
        volume=volume,
        path=name,
        major=major,
        control=control,
        bytes=_bytes(taken),
        free_bytes=_bytes(free),
        has_pid_file=pid == "yes",
    )


def _bytes(kibibytes: str) -> int | None:
    return int(kibibytes) * 1024 if kibibytes.isdigit() else None
