"""The one door to the Docker engine: a client for as long as a task needs it, its errors in our words."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, NotFound

from tasks.errors import ContainerMissing, EngineError, EngineUnreachable

OUR_LABEL = "io.rollcall.helper"

# Files that the engine makes for every container, in its own folder, whatever the network and the hostname are.
OWN_FILE = re.compile(r"/containers/([0-9a-f]{64})/[a-z.]+ /etc/(?:hostname|hosts|resolv\.conf) ")


@contextmanager
def engine(timeout: float = 60.0) -> Iterator[docker.DockerClient]:
    """A client of the engine that DOCKER_HOST or the default socket names; `timeout` in seconds for one call.

    Raise EngineUnreachable if none answers, EngineError for any call inside the block that the engine refuses.
    """
    try:
        client = docker.from_env(timeout=int(timeout))
    except (DockerException, OSError, ValueError) as error:
        raise _unreachable() from error
    try:
        yield client
    except NotFound as error:
        raise EngineError(f"The Docker engine does not know it any more: {error.explanation}.") from error
    except APIError as error:
        raise EngineError(f"The Docker engine refused: {error.explanation or error}.") from error
    except requests.exceptions.RequestException as error:
        raise _unreachable() from error
    finally:
        client.close()


def _unreachable() -> EngineUnreachable:
    return EngineUnreachable(
        "No Docker engine answers. Start it, or point DOCKER_HOST at it; this user must be allowed to use its socket."
    )


def inspect_container(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """The engine's JSON about the container. Raise ContainerMissing if there is none of that name."""
    try:
        found: dict[str, Any] = client.api.inspect_container(name)
    except NotFound as error:
        raise ContainerMissing(f"There is no container {name!r} on this Docker engine.") from error
    return found


def everybody(client: docker.DockerClient) -> list[dict[str, Any]]:
    """The engine's JSON about every container, stopped ones too; one that goes meanwhile is left out."""
    found = []
    for each in client.api.containers(all=True):
        try:
            found.append(inspect_container(client, each["Id"]))
        except ContainerMissing:
            continue
    return found


def host_of(client: docker.DockerClient, environ: Mapping[str, str] = os.environ) -> str | None:
    """The host of an engine that is not reached through a socket of this machine; None for one that is.

    Where it is not None, neither a container's address nor this machine's loopback leads to the engine's containers:
    they may lead to another server.
    """
    address = urlsplit(client.api.base_url)
    if address.scheme != "http+docker":
        return address.hostname
    # The library calls every engine behind ssh by the name `ssh`.
    return (urlsplit(environ.get("DOCKER_HOST", "")).hostname or "ssh") if address.hostname == "ssh" else None


def shares_this_kernel(client: docker.DockerClient) -> bool:
    """True where the engine seems to run on this very kernel, so that a FIFO of ours can be opened inside a container:
    on this host or, for a program in one of its containers, below it.

    Not so with Docker Desktop (a virtual machine) seen from outside of it, or a remote engine.
    """
    if platform.system() != "Linux" or not client.api.base_url.startswith("http+docker"):
        return False
    if own_container(client) is not None:
        return True
    info = client.info()
    return bool(info.get("Name") == socket.gethostname() and info.get("KernelVersion") == platform.release())


def own_container(client: docker.DockerClient) -> dict[str, Any] | None:
    """The engine's JSON about the container that this program runs in; None if it runs in none of this engine's."""
    try:
        identity = own_id(Path("/proc/self/mountinfo").read_text(errors="replace"))
    except OSError:
        return None
    if identity is None:
        return None
    try:
        return inspect_container(client, identity)
    except ContainerMissing:
        return None


def own_id(mountinfo: str) -> str | None:
    """The id of the container whose mounts these are (proc_pid_mountinfo(5)); None for a host's. Pure."""
    found = OWN_FILE.search(mountinfo)
    return found[1] if found else None
