"""File a backup: manifest last, then rotation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from tasks.backups.ledger import Ledger
from tasks.backups.omitted import omissions
from tasks.checks.judgement import Judgement
from tasks.checks.look import Seen
from tasks.checks.shelves import shelves
from tasks.config import Config, Retention
from tasks.errors import StorageError
from tasks.models import Manifest, Model
from tasks.storage import Storage, open_all, open_storage
from tasks.storage.catalogue import Catalogue, Entry, delete_backup, write_manifest
from tasks.storage.left_over import tidy
from tasks.storage.retention import FROZEN, Kept, plan

log = logging.getLogger("rollcall")


class Rotation(Model):
    """What rotation did: ids deleted, why it was frozen, storages that could not be tidied, the newest good backup."""

    deleted: list[str]
    kept: int
    frozen: str | None = None
    failed: dict[str, str] = {}
    newest_good: str | None = None


def compose_manifest(
    config: Config, target: str, now: datetime, seen: Seen, ledger: Ledger, judgement: Judgement, occasion: str = ""
) -> Manifest:
    """The manifest of what was taken: pure; nothing is stored yet."""
    rules = config.target(target)
    taken = [name for name in seen.databases if name not in ledger.lost]
    missing = [path for part in ledger.parts for path in part.missing]
    return Manifest(
        id=ledger.id,
        target=target,
        created_at=now,
        verdict=judgement.verdict,
        quarantined=judgement.verdict == "critical",
        method="dump",
        server_version=seen.identity.server_version,
        database=rules.database,
        objects=ledger.objects,
        tally=ledger.tally_of(rules.database),
        databases={name: ledger.tally_of(name) for name in taken if name != rules.database},
        identity=seen.identity,
        findings=judgement.findings,
        cluster={**seen.cluster, "files": seen.files},
        omitted=omissions(rules, seen, missing, {name: ledger.tally_of(name) for name in taken}, ledger.lost),
        occasion=occasion,
        timings=ledger.timings,
        rollcall_version=version("rollcall"),
    )


def write_manifests(config: Config, manifest: Manifest) -> dict[str, str]:
    """Write the manifest into every storage that holds all objects; return what failed, by storage.

    Raise StorageError if no storage took it: then there is no backup.
    """
    failed: dict[str, str] = {}
    names = sorted({each.storage for each in manifest.objects})
    for name in names:
        try:
            write_manifest(open_storage(name, config.storages[name]), manifest)
        except StorageError as error:
            failed[name] = str(error)
            last = error
    if len(failed) == len(names):
        raise last
    return failed


def plan_rotation(found: Catalogue, storage: str, rule: Retention, now: datetime) -> dict[str, str]:
    """What rotation would delete from `storage` now, and why, by id: pure.

    Each storage is planned by what it holds whole itself, and each cluster by its own backups: so each keeps its own
    newest good and newest proven one, whatever the others hold. A proof counts wherever it was made, and displaces none
    of the storage's own copies.
    """
    held = [entry for entry in found.backups if storage in entry.storages]
    with_good = {_cluster(entry) for entry in held if entry.is_default}
    deleted: dict[str, str] = {}
    for cluster in sorted({_cluster(entry) for entry in held}):
        own = [_kept(entry, storage) for entry in held if _cluster(entry) == cluster]
        deleted.update(plan(own, rule, now, frozen=False, good_elsewhere=bool(with_good - {cluster})).delete)
    return deleted


def _cluster(entry: Entry) -> str:
    return entry.manifest.identity.system_identifier


def _kept(entry: Entry, storage: str) -> Kept:
    manifest, proven = entry.manifest, entry.proven_at is not None
    return Kept(manifest.id, manifest.created_at, not entry.is_default, proven, storage in entry.proven_in)


def rotate(config: Config, target: str, *, critical: bool, occasion: str = "") -> Rotation:
    """Delete what retention no longer keeps, after the plan is logged; frozen while the verdict is critical, and on an
    `occasion`: what a restore is about to read must not go."""
    found = shelves(config, target)
    frozen = FROZEN if critical else f"this backup was taken {occasion}: nothing is deleted now" if occasion else None
    if frozen:
        log.warning("Rotation is frozen: %s.", frozen)
        return Rotation(deleted=[], kept=len(found.backups), frozen=frozen, newest_good=found.newest_good)
    now, deleted, failed = datetime.now(UTC), set[str](), dict[str, str]()
    for name in config.target(target).storages:
        planned = plan_rotation(found, name, config.target(target).retention, now)
        for backup_id, reason in planned.items():
            log.info("Rotation deletes %s from %s: %s.", backup_id, name, reason)
        try:
            _delete(open_storage(name, config.storages[name]), target, list(planned))
            _tidy(config, target, name, now)
        except StorageError as error:
            failed[name] = str(error)
        deleted.update(planned)
    kept = len(found.backups) - len(deleted)
    return Rotation(deleted=sorted(deleted), kept=kept, failed=failed, newest_good=found.newest_good)


def _delete(storage: Storage, target: str, ids: Sequence[str]) -> None:
    for backup_id in ids:
        delete_backup(storage, target, backup_id)


def _tidy(config: Config, target: str, name: str, now: datetime) -> None:
    """Look after what lies in one storage without a manifest; what the others know of it counts."""
    others, closed = open_all(config.storages, [each for each in config.target(target).storages if each != name])
    tidy(open_storage(name, config.storages[name]), others, target, now, all_open=not closed)
