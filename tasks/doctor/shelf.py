"""Whether the next dump has room where the last one lies."""

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
    """One for each local storage that holds a backup: others do not say how much room they have."""
    found: Catalogue | None = None
    for name in config.target(target).storages:
        storage = config.storages[name]
        if not isinstance(storage, LocalStorage) or not storage.path.is_dir():
            continue
        found = found or shelves(config, target)
        if last := last_bytes(found, name):
            yield tried(f"{target}: room in {name}", partial(_room, storage.path, name, last))


def last_bytes(found: Catalogue, storage: str) -> int:
    """What the newest backup takes in that storage; 0 where it has none (pure)."""
    newest = next((each.manifest for each in found.backups if storage in each.storages), None)
    return sum(each.bytes for each in newest.objects if each.storage == storage) if newest else 0


def _room(path: Path, name: str, last: int) -> str:
    free = shutil.disk_usage(path).free
    if free < last * GROWTH:
        raise StorageFull(
            f"The last backup takes {size(last)} in {name}, and {path} has {size(free)} left: the next one does not "
            "fit. Make room, or lower `retention`."
        )
    return f"The last backup takes {size(last)}; {size(free)} are left, for about {free // max(last, 1):,} more."
