"""By which path the engine's host knows a folder of ours: our own, unless this program itself runs in a container.

What a container is to be shown of our folders, the engine mounts by its host's path. Where they are the same folder, a
FIFO or a socket in it connects the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import docker

from tasks.containers.engine import own_container, shares_this_kernel
from tasks.containers.observe import Mount, mount_behind, read
from tasks.errors import EngineError


def path_on_engine(client: docker.DockerClient, folder: Path) -> str | None:
    """The path of `folder` on the engine's host; None where the engine cannot show it to a container."""
    if not shares_this_kernel(client):
        return None
    ours = own_container(client)
    return str(folder) if ours is None else outside(folder, read(ours).mounts)


def why_not_shown(client: docker.DockerClient, folder: Path) -> str:
    """Why a container cannot be shown the folder, in a sentence; empty where it can."""
    if path_on_engine(client, folder) is not None:
        return ""
    return (
        f"The folder {folder} is not on the Docker engine's host, so no container can be shown it: mount it into the "
        "container that this runs in, or run this on the host, with the same state folder."
    )


def shown(client: docker.DockerClient, folder: Path) -> str:
    """By which path a container is shown the folder. Raise EngineError where the engine cannot."""
    path = path_on_engine(client, folder)
    if path is None:
        raise EngineError(why_not_shown(client, folder))
    return path


def outside(folder: Path, mounts: Sequence[Mount]) -> str | None:
    """The folder's path outside of the container that has these mounts; None for one that lies in none. Pure."""
    mount = mount_behind(str(folder), list(mounts))
    if mount is None or not mount.source:  # A tmpfs is nowhere on the host.
        return None
    return str(PurePosixPath(mount.source) / folder.relative_to(mount.destination))
