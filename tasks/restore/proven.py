"""Note, beside a backup, that it came back exactly as it was taken: only beside a copy whose every byte was read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.backups.proof import read_objects
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.errors import ObjectDamaged, ObjectMissing, RollcallError, StorageError
from tasks.models import Difference, Manifest
from tasks.restore.hands import Hands
from tasks.restore.source import entry_called
from tasks.storage import open_storage
from tasks.storage.catalogue import Proof, drop_proofs, read_manifest, write_proof

log = logging.getLogger("rollcall")


def note_proof(config: Config, target: str, backup: str, storages: Sequence[str], proof: Proof) -> list[str]:
    """Write the proof to these storages, whose own copies are proven; return those that took it, and log the others."""
    noted = []
    for name in storages:
        try:
            storage = open_storage(name, config.storages[name])
            read_manifest(storage, target, backup)  # Rotation may have removed the backup meanwhile.
            write_proof(storage, target, backup, proof)
            noted.append(name)
        except StorageError as error:
            log.warning("The proof of %s could not be noted: %s", backup, error)
    return noted


def whole_copies(config: Config, manifest: Manifest, storages: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Read all that these storages hold of a backup; return those that hold what the manifest says, and what is damaged
    in the others. One that cannot be asked is in neither, and logged. A damaged copy loses the proof that it has."""
    whole, damaged = [], {}
    for name in storages:
        try:
            read_objects(config, name, manifest.objects)
            whole.append(name)
        except (ObjectDamaged, ObjectMissing) as error:
            damaged[name] = str(error)
            _unprove(config, manifest, name)
        except StorageError as error:
            log.warning("The copy of %s in %s could not be read, and is not proven: %s", manifest.id, name, error)
    return whole, damaged


def _unprove(config: Config, manifest: Manifest, name: str) -> None:
    try:
        drop_proofs(open_storage(name, config.storages[name]), manifest.target, manifest.id)
    except StorageError as error:
        log.warning("The proof of the damaged copy of %s stays: %s", manifest.id, error)


def note_restored(hands: Hands) -> list[str]:
    """A newest good backup that was restored is proven as a drill would have proven it, where it came from.

    Not an older one: the newest proven backup is the default of later restores; whoever chose an old one tonight did
    not choose it for every other night. The restore is done: what cannot be noted is only logged.
    """
    config, plan = hands.config, hands.plan
    if plan.source is None or plan.source.kind != "backup":
        return []
    try:
        if entry_called(shelves(config, plan.target), plan.target, "latest").manifest.id != plan.source.name:
            return []
    except RollcallError as error:
        log.warning("The proof of %s could not be noted: %s", plan.source.name, error)
        return []
    rebuilt = hands.journal.facts.get("rebuilt", {})
    # Whatever differs was accepted, or the restore had not gone on.
    differences = [Difference.model_validate(each) for each in rebuilt.get("differences", [])]
    if any(each.blocking for each in differences):
        return []
    proof = Proof(proven_at=datetime.now(UTC), differences=differences)
    return note_proof(config, plan.target, plan.source.name, rebuilt.get("storages", []), proof)
