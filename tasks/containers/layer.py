"""What lies in a container's own layer and on no volume: which of it a replacement gets, and the copying.

Compose writes secrets from the environment and configs with a text into the container that it has made (as `docker cp`
does); they are no mounts, and the server may need them to start. Contents go from container to container, and nowhere
else.
"""

from __future__ import annotations

import io
import logging
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import docker
from docker.errors import APIError, NotFound

from tasks.errors import EngineError

log = logging.getLogger("rollcall")

# Written anew by the engine and by the server at each start.
MADE_BY_THE_ENGINE = ("/.dockerenv", "/sbin/docker-init", "/usr/sbin/docker-init")
NEVER_KEPT = (
    *("/run", "/var/run", "/tmp", "/dev", "/proc", "/sys"),  # noqa: S108 - only compared with
    *("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", *MADE_BY_THE_ENGINE),
)
RUN = ("/run", "/var/run")
OF_A_PROCESS = ("postgresql", "lock", "utmp", ".containerenv")  # in /run
SIGN_OF_LIFE = re.compile(r".*\.(?:pid|lock|sock)|\.s\.PGSQL\..*")
NOT_FOR_ANOTHER = re.compile(r"/var/(?:log|cache|spool)/.*|/var/lib/apt/lists/.*|.*\.log|.*/\.[a-z_]*(?:history|hst)")
CHANGED, ADDED, DELETED = 0, 1, 2  # Docker Engine API, ContainerChanges
MOST_CARRIED, MOST_NAMED = 1000, 5
MOST_BYTES = 1 << 28  # of one file
FOLDER, NO_FILE = 1 << 31, 0b111 << 24 | 1 << 21  # Go's FileMode: directory; device, pipe, socket, character device


class Layer(NamedTuple):
    """carried: paths that a replacement gets; lost: those that stay in the old container alone, sorted."""

    carried: list[str]
    lost: list[str]


def layer_of(found: dict[str, Any], diff: Sequence[dict[str, Any]]) -> Layer:
    """The changes in the layer, without what each start writes and what is on volumes (pure).

    diff: the engine's list of changes (Docker Engine API, ContainerChanges).
    """
    kinds = {path: each["Kind"] for each in diff if not _elsewhere(path := each["Path"], found)}
    parents = {str(parent) for path in kinds for parent in PurePosixPath(path).parents}
    own = [
        path
        for path, kind in sorted(kinds.items())
        if not (kind == CHANGED and path in parents)
        and not SIGN_OF_LIFE.fullmatch(PurePosixPath(path).name)
        and (not is_in(path, NEVER_KEPT) or (kind == ADDED and _copied_into_run(path, path in parents)))
    ]
    carried = [each for each in own if kinds[each] != DELETED and not NOT_FOR_ANOTHER.fullmatch(each)]
    if len(carried) > MOST_CARRIED:
        carried = [each for each in carried if is_in(each, RUN)]
    return Layer(carried, [each for each in own if each not in carried])


def _elsewhere(path: str, found: dict[str, Any]) -> bool:
    """Whether it is on a mount, or the way to one."""
    mounted = [each["Destination"] for each in found["Mounts"]] + list(found["HostConfig"].get("Tmpfs") or {})
    return is_in(path, mounted) or any(PurePosixPath(each).is_relative_to(path) for each in mounted)


def _copied_into_run(path: str, is_folder: bool) -> bool:
    """Whether it lies where secrets do, or right in /run as a config may; processes have folders of their own there."""
    base = next((each for each in RUN if PurePosixPath(path).is_relative_to(each)), None)
    below = PurePosixPath(path).relative_to(base).parts if base else ()
    return below[:1] == ("secrets",) or (len(below) == 1 and not is_folder and below[0] not in OF_A_PROCESS)


def is_in(path: str, folders: Sequence[str]) -> bool:
    """Whether the path is one of the folders, or below one."""
    return any(PurePosixPath(path).is_relative_to(each) for each in folders)


def some(paths: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return f"{', '.join(paths[:MOST_NAMED])}{more}"


def carry(client: docker.DockerClient, found: dict[str, Any], replacement: str) -> None:
    """Copy what is to be carried from the container into the replacement, which was created and did not start yet, with
    mode and owner, and a file's time. May be done twice. Raise EngineError."""
    try:
        for path in layer_of(found, client.api.diff(found["Id"]) or []).carried:
            _copy(client, found["Id"], replacement, path)
    except APIError as error:
        name = str(found["Name"]).lstrip("/")
        raise EngineError(
            f"What the container {name} keeps in its own layer cannot be copied: {error.explanation or error}."
        ) from None


def _copy(client: docker.DockerClient, old: str, new: str, path: str) -> None:
    """One file, link or folder (that alone, without what is in it); a socket, or what is gone by now, is left."""
    try:
        stream, stat = client.api.get_archive(old, path)
    except NotFound:
        return
    if stat["mode"] & FOLDER:
        client.api.put_archive(new, "/", _folder_alone(stream, path))
    elif stat["size"] > MOST_BYTES:
        stream.close()
        log.warning("%s (%d MB) is not copied: it stays in the old container, which is kept.", path, stat["size"] >> 20)
    elif not stat["mode"] & NO_FILE:
        client.api.put_archive(new, str(PurePosixPath(path).parent), stream)


def _folder_alone(stream: Iterator[bytes], path: str) -> bytes:
    """A tar archive of the folder itself, from the one of all that is in it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=_Reader(stream), mode="r|") as archive, tarfile.open(fileobj=made, mode="w") as only:
        header = archive.next()
        if header is not None:
            header.name = path.lstrip("/")
            only.addfile(header)
    return made.getvalue()


class _Reader(io.RawIOBase):
    """The engine's chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks, self.rest = chunks, b""

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, fewer at the end alone."""
        while len(self.rest) < size and (chunk := next(self.chunks, b"")):
            self.rest += chunk
        found, self.rest = self.rest[:size], self.rest[size:]
        return found
