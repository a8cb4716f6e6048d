"""Which of a container's processes are PostgreSQL servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import docker
from docker.errors import APIError

SERVERS = frozenset({"postgres", "postmaster", "initdb"})
ENTRY_POINT = "docker-entrypoint.sh"


def servers_of(client: docker.DockerClient, found: Mapping[str, Any]) -> list[list[str]]:
    """The command lines of a container's PostgreSQL servers, from its inspect JSON. Where the engine lists no
    processes, as of a container between two starts, what it was told to run counts."""
    try:
        listed = client.api.top(found["Id"])["Processes"] or []
        commands = [each[-1].split() for each in listed]
    except APIError:
        commands = [[found["Path"], *(found.get("Args") or [])]]
    return [each for each in commands if is_server(each)]


def is_server(command: Sequence[str]) -> bool:
    """Whether this command line is a PostgreSQL server's, or one that becomes one: initdb, the image's entry point.
    Its other processes (`postgres: checkpointer`) do not count: they name no data directory. Pure."""
    names = [PurePosixPath(each).name for each in command]
    if ENTRY_POINT in names:
        names = names[names.index(ENTRY_POINT) + 1 :]
    return bool(names) and names[0] in SERVERS
