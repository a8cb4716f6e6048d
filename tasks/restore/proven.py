"""Note, beside a backup, that it came back exactly as it was taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.errors import RollcallError, StorageError
from tasks.restore.plan import Plan
from tasks.restore.source import entry_called
from tasks.storage import open_storage
from tasks.storage.catalogue import read_manifest, write_proof

log = logging.getLogger("rollcall")


def note_proof(config: Config, target: str, backup: str, storages: Sequence[str], now: datetime) -> list[str]:
    """Write the proof to every storage that has the backup; return those that took it, and log the others."""
    noted = []
    for name in storages:
        try:
            storage = open_storage(name, config.storages[name])
            read_manifest(storage, target, backup)  # Rotation may have removed the backup meanwhile.
            write_proof(storage, target, backup, now)
            noted.append(name)
        except StorageError as error:
            log.warning("The proof of %s could not be noted: %s", backup, error)
    return noted


def note_restored(config: Config, plan: Plan) -> list[str]:
    """A newest good backup that was restored is proven as a drill would have proven it.

    Not an older one: the newest proven backup is the default of later restores; whoever chose an old one tonight did
    not choose it for every other night. The restore is done: what cannot be noted is only logged.
    """
    if plan.source is None or plan.source.kind != "backup":
        return []
    try:
        if entry_called(shelves(config, plan.target), plan.target, "latest").manifest.id != plan.source.name:
            return []
    except RollcallError as error:
        log.warning("The proof of %s could not be noted: %s", plan.source.name, error)
        return []
    return note_proof(config, plan.target, plan.source.name, plan.source.storages, datetime.now(UTC))
