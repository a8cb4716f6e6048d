"""Exchange the data of two volumes: their `_data` folders change places, no byte is copied, both names stay.

Where PGDATA lies below the volume's root, its folder alone is exchanged: what lies beside it stays where it is.

The engine notices nothing, for it looks for a volume's folder by its path whenever a container starts; while the folder
is missing it refuses to start one. Where this process may, it makes the exchange itself by one atomic call; else a
helper container does, by three renames that may be interrupted between any two and be taken up again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import docker

from tasks.containers.engine import shares_this_kernel
from tasks.containers.exchange_by_helper import FoldersByHelper
from tasks.containers.exchange_here import FoldersHere
from tasks.containers.exchange_moves import DATA, Move, Place, data_folder, different_file_systems, moves
from tasks.containers.shared_folders import path_on_engine
from tasks.containers.volumes import Volume, find_volume
from tasks.errors import EngineError


class Folders(Protocol):
    """The data folders of two volumes, by whichever way they can be reached."""

    def arrange(self, chosen: Sequence[Move] = ()) -> dict[Place, str]:
        """Make the moves durably and return what is where: `device:inode` by place. Raise EngineError."""


def can_exchange(one: Volume, other: Volume, ids: Sequence[str] = ()) -> str | None:
    """Why the two volumes' data cannot be exchanged, in one sentence; None if it can.

    ids: their data folders' `device:inode`, where they are known: no rename leads from one device to another.
    """
    if one.name == other.name:
        return f"The volume {one.name} cannot be exchanged with itself."
    reasons = [reason for each in (one, other) if (reason := _unfit(each) or _in_use(each))]
    if reasons:
        return reasons[0]
    roots = {PurePosixPath(each.mountpoint).parents[1] for each in (one, other)}
    if len(roots) > 1 or len({each.partition(":")[0] for each in ids}) > 1:
        return different_file_systems(one.name, other.name)
    return None


def folder_id(client: docker.DockerClient, volume: str, image_id: str, owner: str) -> str:
    """`device:inode` of the volume's data folder: what a journal notes to know later which data is where.

    Raise EngineError. image_id, owner: of the helper container, where one is needed.
    """
    return folder_ids(client, [volume], image_id, owner)[volume]


def folder_ids(
    client: docker.DockerClient, volumes: Sequence[str], image_id: str, owner: str, below: str = ""
) -> dict[str, str]:
    """`device:inode` of the data folders of one or two volumes, or of the folders `below` in those, by volume.

    Raise EngineError. Also where an exchange that was interrupted has left a data folder elsewhere: nobody knows then
    what is to be where.
    """
    data = data_folder(below)
    return _in_place(_folders(client, volumes, image_id, owner, data).arrange(), volumes, data)


def _in_place(found: Mapping[Place, str], volumes: Sequence[str], data: str = DATA) -> dict[str, str]:
    """What each volume holds. Raise EngineError where an interrupted exchange left a folder in between."""
    if sorted(found) != sorted(Place(volume, data) for volume in volumes):
        there = ", ".join(map(str, sorted(found))) or "none"
        raise EngineError(
            f"An exchange of the data of {' and '.join(volumes)} was interrupted (folders found: {there}); "
            "finish or undo it with rollcall recover."
        )
    return {place.volume: each for place, each in found.items()}


def exchange(client: docker.DockerClient, one: str, other: str, image_id: str, owner: str) -> None:
    """Exchange the data of two volumes that no running container mounts. It is on the disk when this returns.

    Raise EngineError: nothing was moved, or `settle` finishes or undoes what was.
    """
    folders = _folders(client, [one, other], image_id, owner)
    found = folders.arrange()
    ids = _in_place(found, [one, other])
    _bring(client, folders, found, {one: ids[other], other: ids[one]})


def settle(
    client: docker.DockerClient, one: str, other: str, wanted: Mapping[str, str], image_id: str, owner: str,
    below: str = "",
) -> None:  # fmt: skip
    """Bring two volumes to hold exactly the folders that are wanted, from any state an interrupted exchange left.

    wanted: `device:inode` by volume, as `folder_ids` told of `below` before the exchange. Doing it twice does no harm.
    The caller sees to it that nobody else is at work on the two. Raise EngineError.
    """
    data = data_folder(below)
    folders = _folders(client, [one, other], image_id, owner, data)
    _bring(client, folders, folders.arrange(), wanted, data)


def _bring(
    client: docker.DockerClient, folders: Folders, found: Mapping[Place, str], wanted: Mapping[str, str],
    data: str = DATA,
) -> None:  # fmt: skip
    """Move what is not where it is wanted, if no container has come in the way."""
    chosen = moves(found, wanted, data)
    if not chosen:
        return
    one, other = _fit(client, list(wanted))
    reason = can_exchange(one, other, list(found.values()))
    if reason:
        raise EngineError(reason)
    if moves(folders.arrange(chosen), wanted, data):
        raise EngineError(
            f"The data of {' and '.join(wanted)} is not where it was just put: somebody else is at work there."
        )


def _fit(client: docker.DockerClient, names: Sequence[str]) -> list[Volume]:
    """The volumes, whose data folders are of the kind that can be renamed. Raise EngineError."""
    found = []
    for name in names:
        volume = find_volume(client, name)
        reason = f"There is no volume {name} on this Docker engine." if volume is None else _unfit(volume)
        if volume is None or reason:
            raise EngineError(str(reason))
        found.append(volume)
    return found


def _unfit(volume: Volume) -> str | None:
    """Why a volume's data can never be exchanged. Its options' values are not told: they may hold a password."""
    if volume.driver != "local":
        return f"The volume {volume.name} is of the driver {volume.driver}; only data of `local` can be exchanged."
    if volume.options:
        options = ", ".join(sorted(volume.options))
        return (
            f"The volume {volume.name} has driver options ({options}): its data is mounted from elsewhere, so it "
            "cannot be exchanged."
        )
    path = PurePosixPath(volume.mountpoint)
    if (path.name, path.parent.name) != (DATA, volume.name):
        return f"The data of the volume {volume.name} is in {path}, not where the driver `local` keeps data."
    return None


def _in_use(volume: Volume) -> str | None:
    users = [each.container for each in volume.users if each.running]
    return f"The volume {volume.name} is in use by {', '.join(users)}; stop that first." if users else None


def _folders(client: docker.DockerClient, names: Sequence[str], image_id: str, owner: str, data: str = DATA) -> Folders:
    """The way to the volumes' folders: this process where it sees them and may write there, else a helper container.

    Raise EngineError where one is missing or is no folder that can be moved.
    """
    roots = {PurePosixPath(each.mountpoint).parents[1] for each in _fit(client, names)}
    if len(roots) > 1:
        raise EngineError(different_file_systems(*names))
    root = roots.pop()
    here = FoldersHere(Path(root), names, data)
    if shares_this_kernel(client) and path_on_engine(client, Path(root)) == str(root) and here.usable():
        return here
    return FoldersByHelper(client, str(root), names, image_id, owner, data)
