"""File a backup: manifest last, then rotation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from tasks.backups.ledger import Ledger
from tasks.checks.judgement import Judgement, shelves
from tasks.checks.look import Seen
from tasks.config import Config
from tasks.errors import StorageError
from tasks.models import Manifest, Model
from tasks.storage import open_storage
from tasks.storage.catalogue import Catalogue, delete_backup, unfinished, write_manifest
from tasks.storage.retention import Kept, RetentionPlan, plan

log = logging.getLogger("rollcall")


class Rotation(Model):
    """What rotation did: ids deleted, why it was frozen, storages that could not be tidied, the newest good backup."""

    deleted: list[str]
    kept: int
    frozen: str | None = None
    failed: dict[str, str] = {}
    newest_good: str | None = None


def compose_manifest(
    config: Config, target: str, now: datetime, seen: Seen, ledger: Ledger, judgement: Judgement
) -> Manifest:
    """The manifest of what was taken: pure; nothing is stored yet."""
    rules = config.target(target)
    others = [name for name in seen.databases if name != rules.database]
    omitted = [f"file {path}: it does not exist" for part in ledger.parts for path in part.missing]
    if not rules.roles:
        omitted.append("roles: left out by the configuration")
    if rules.databases is not None:
        omitted.append(f"databases: narrowed by the configuration to {', '.join(seen.databases)}")
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
        databases={name: ledger.tally_of(name) for name in others},
        identity=seen.identity,
        findings=judgement.findings,
        cluster=seen.cluster,
        omitted=omitted,
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


def plan_rotation(config: Config, target: str, found: Catalogue, now: datetime, *, critical: bool) -> RetentionPlan:
    """What rotation would delete now. A backup that is proven in any storage counts as proven everywhere."""
    entries = [
        Kept(
            entry.manifest.id,
            entry.manifest.created_at,
            entry.manifest.quarantined,
            entry.proven_at is not None,
        )
        for entry in found.backups
    ]
    return plan(entries, config.target(target).retention, now, critical)


def rotate(config: Config, target: str, *, critical: bool) -> Rotation:
    """Delete what retention no longer keeps, after the plan is logged; frozen while the verdict is critical.

    Nothing at all is deleted while a storage cannot be asked: what cannot be seen cannot be weighed.
    """
    found = shelves(config, target)
    planned = plan_rotation(config, target, found, datetime.now(UTC), critical=critical)
    frozen = planned.frozen
    if found.unreachable and not frozen:
        frozen = f"not every storage could be asked ({', '.join(found.unreachable)})"
    if frozen:
        log.warning("Rotation is frozen: %s.", frozen.rstrip("."))
        return Rotation(
            deleted=[],
            kept=len(found.backups),
            frozen=frozen,
            failed=found.unreachable,
            newest_good=found.newest_good,
        )
    for backup_id, reason in planned.delete:
        log.info("Rotation deletes %s: %s.", backup_id, reason)
    deleted = [backup_id for backup_id, _ in planned.delete]
    failed = _delete(config, target, deleted)
    return Rotation(deleted=deleted, kept=len(planned.keep), failed=failed, newest_good=found.newest_good)


def _delete(config: Config, target: str, ids: Sequence[str]) -> dict[str, str]:
    """Delete these backups, and what killed runs left, from every storage; return what failed, by storage."""
    failed: dict[str, str] = {}
    for name in config.target(target).storages:
        try:
            storage = open_storage(name, config.storages[name])
            for backup_id in ids:
                delete_backup(storage, target, backup_id)
            for key in unfinished(storage, target, datetime.now(UTC)):
                log.info("Removing %s from %s: its backup was begun days ago and never finished.", key, name)
                storage.delete(key)
        except StorageError as error:
            failed[name] = str(error)
    return failed
