"""Which folders must be renamed so that two volumes hold what they are to hold: decided purely, from any state.

A volume of the driver `local` keeps its data in `<volume>/_data`, and PGDATA is that folder or lies below it. Where the
two folders cannot change places in one call, one is first put aside as `<volume>/_data.rollcall-exchange`, followed by
its path below `_data`, so that whoever finds it knows what was going on. A folder is known by its inode, which a rename
does not change (POSIX, rename) and a restart of the machine does not either; the number of its device may be another
one then, and both folders are on one device anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tasks.errors import EngineError

DATA = "_data"
ASIDE = "_data.rollcall-exchange"


class Place(NamedTuple):
    """Where a folder is, below the folder that holds all volumes."""

    volume: str
    folder: str

    def __str__(self) -> str:
        return f"{self.volume}/{self.folder}"


class Move(NamedTuple):
    """One rename; its target is empty before it."""

    source: Place
    target: Place


def data_folder(below: str = "") -> str:
    """The folder that is exchanged: a volume's whole data folder, or the folder `below` in it."""
    return f"{DATA}/{below}" if below else DATA


def aside(data: str) -> str:
    """Where a data folder is put aside: beside the volume's `_data`, wherever in that it was."""
    return ASIDE + data.removeprefix(DATA).replace("/", "-")


def places(volumes: Iterable[str], data: str = DATA) -> list[Place]:
    """Every place where a data folder of these volumes may be, or may have been left by an exchange."""
    return [Place(volume, folder) for volume in volumes for folder in (data, aside(data))]


def moves(found: Mapping[Place, str], wanted: Mapping[str, str], data: str = DATA) -> list[Move]:
    """The renames, in order, after which each volume holds the folder that it is wanted to hold; none if it does.

    found: what is there now, `device:inode` by place; wanted: `device:inode` by volume, two of each. Raise EngineError
    if what is there is not exactly the two wanted folders on one file system: then nobody may move anything.
    """
    _check(found, wanted)
    state, chosen = {place: _inode(each) for place, each in found.items()}, list[Move]()
    while move := _next(state, {volume: _inode(each) for volume, each in wanted.items()}, data):
        state[move.target] = state.pop(move.source)
        chosen.append(move)
    return chosen


def is_whole_exchange(chosen: list[Move]) -> bool:
    """Whether these are the moves of two folders that each lie in the other's place: three, and in no other state."""
    return len(chosen) == 3


def _next(state: Mapping[Place, str], wanted: Mapping[str, str], data: str) -> Move | None:
    """Into an empty place goes what belongs there; where none is empty, one is emptied."""
    where = {inode: place for place, inode in state.items()}
    for volume, inode in wanted.items():
        if Place(volume, data) not in state:
            return Move(where[inode], Place(volume, data))
    for volume, inode in wanted.items():
        if where[inode] != Place(volume, data):
            return Move(Place(volume, data), Place(volume, aside(data)))
    return None


def _check(found: Mapping[Place, str], wanted: Mapping[str, str]) -> None:
    there = ", ".join(f"{place} is {each}" for place, each in sorted(found.items())) or "there is none"
    by_hand = f"Found: {there}. Nothing was moved; look at the volumes by hand."
    inodes = sorted(_inode(each) for each in found.values())
    if len({_device(each) for each in found.values()}) > 1:
        raise EngineError(f"{different_file_systems(*wanted)} {by_hand}")
    if len(wanted) != 2 or inodes != sorted({_inode(each) for each in wanted.values()}):
        expected = " and ".join(f"{each} for {volume}" for volume, each in wanted.items())
        raise EngineError(f"The data folders are not the two that were to be exchanged ({expected}). {by_hand}")


def different_file_systems(one: str, other: str) -> str:
    """The sentence about two volumes whose folders no rename can exchange."""
    return f"The volumes {one} and {other} are on different file systems, so their data cannot be exchanged."


def _device(folder_id: str) -> str:
    return folder_id.partition(":")[0]


def _inode(folder_id: str) -> str:
    return folder_id.rpartition(":")[2]
