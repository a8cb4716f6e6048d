"""Whether the next dump has room where the last one lies, and a restore where it fetches it to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tasks.alerts.artifacts import size
from tasks.checks.shelves import shelves
from tasks.config import Config, LocalStorage
from tasks.doctor.diagnosis import Diagnosis, tried
from tasks.errors import StorageFull
from tasks.storage.catalogue import Catalogue

GROWTH = 1.2  # the next dump may be so much bigger than the last one


def shelf_diagnoses(config: Config, target: str) -> Iterator[Diagnosis]:
    """One for each local storage that holds a backup (others do not say how much room they have), and one for the
    state folder."""
    found = shelves(config, target)
    for name in config.target(target).storages:
        storage = config.storages[name]
        if not isinstance(storage, LocalStorage) or not _is_folder(storage.path):
            continue  # Whether it can be used is told already.
        if last := last_bytes(found, name):
            yield tried(f"{target}: room in {name}", partial(_room, storage.path, name, last))
    if needed := fetched_bytes(found):
        yield tried(f"{target}: room in the state folder", partial(_room_to_fetch, config.state, needed))


def last_bytes(found: Catalogue, storage: str) -> int:
    """What the newest backup takes in that storage; 0 where it has none (pure)."""
    newest = next((each.manifest for each in found.backups if storage in each.storages), None)
    return sum(each.bytes for each in newest.objects if each.storage == storage) if newest else 0


def fetched_bytes(found: Catalogue) -> int:
    """What a restore of the newest backup puts into the state folder at most: every object once, and the largest dump
    unpacked beside them; 0 where there is no backup (pure)."""
    newest = next((each.manifest for each in found.backups), None)
    if newest is None:
        return 0
    objects = {each.key: each for each in newest.objects}.values()
    return sum(each.bytes for each in objects) + max((each.raw_bytes for each in objects), default=0)


def _room_to_fetch(state: Path, needed: int) -> str:
    free = shutil.disk_usage(_existing(state)).free
    if free < needed * GROWTH:
        raise StorageFull(
            f"A restore or drill of the last backup puts {size(needed)} into {state}, and {size(free)} are left there: "
            "make room, or set `state` to a larger disk."
        )
    return f"A restore or drill of the last backup puts {size(needed)} there; {size(free)} are left."


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if _is_folder(each))


def _is_folder(path: Path) -> bool:
    """Whether this user finds a folder there: what lies in one that may not be entered is not found."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _room(path: Path, name: str, last: int) -> str:
    free = shutil.disk_usage(path).free
    if free < last * GROWTH:
        raise StorageFull(
            f"The last backup takes {size(last)} in {name}, and {path} has {size(free)} left: the next one does not "
            "fit. Make room, or lower `retention`."
        )
    return f"The last backup takes {size(last)}; {size(free)} are left, for about {free // max(last, 1):,} more."
