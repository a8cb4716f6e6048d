"""The backups of a target as its storages list them: are they there, fresh, whole, and what do they teach history?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tasks.config import Config
from tasks.errors import StorageError
from tasks.history.backups import remember_stored
from tasks.history.records import CLOCK_TOLERANCE, StoredBackup
from tasks.history.store import open_history
from tasks.limits import backup_limit, proof_limit
from tasks.models import Finding
from tasks.storage import Storage, open_all, open_storage
from tasks.storage.catalogue import Catalogue, Entry, catalogue

ENDED_BY_A_BACKUP = frozenset({"backup.missing", "backup.stale", "backup.failed"})


def storages_of(config: Config, target: str) -> list[Storage]:
    """The target's storages, opened. Raise StorageError."""
    return [open_storage(name, config.storages[name]) for name in config.target(target).storages]


def shelves(config: Config, target: str) -> Catalogue:
    """The target's backups as its storages list them; unreachable and damaged ones are named in it."""
    storages, closed = open_all(config.storages, config.target(target).storages)
    found = catalogue(storages, target)
    return replace(found, unreachable={**found.unreachable, **{name: str(error) for name, error in closed.items()}})


def remember_backups(config: Config, target: str, found: Catalogue) -> None:
    """Keep in the history which backups the storages hold, for the status API, which asks none. Raise HistoryError."""
    with open_history(config.history) as history:
        remember_stored(history, target, [_stored(each) for each in found.backups], complete=not found.unreachable)


def _stored(entry: Entry) -> StoredBackup:
    manifest = entry.manifest
    sizes = {
        name: sum(each.bytes for each in manifest.objects if each.storage == name) for name in sorted(entry.storages)
    }
    first = next(iter(entry.storages), "")
    return StoredBackup(
        target=manifest.target,
        id=manifest.id,
        created_at=manifest.created_at,
        quarantined=manifest.quarantined,
        stored=sizes,
        raw_bytes=sum(each.raw_bytes for each in manifest.objects if each.storage == first),
        seconds=round(sum(manifest.timings.values()), 3),
        proven_at=entry.proven_at,
    )


def restore_history(config: Config, target: str) -> list[Finding]:
    """Rebuild a history that has accepted nothing of the target yet from the manifests in its storages.

    Without this a lost history file would make tonight's cluster, whichever it is, the one to trust. For the same
    reason what is returned where a storage could not be asked or a manifest not be read is critical, see `unjudged`.
    """
    with open_history(config.history) as history:
        if history.pin(target) is not None or history.last_accepted(target) is not None:
            return []
        found = shelves(config, target)
        history.rebuild(target, [entry.manifest for entry in found.backups])
        if history.pin(target) is not None:
            return []
    return unjudged(target, found)


def unjudged(target: str, found: Catalogue) -> list[Finding]:
    """What is said of a target of which neither the history nor a whole backup that is listed knows anything (pure).

    Nothing where every storage answered and holds nothing: this is the first time. `history.lost` where what is left of
    a backup shows that it is not. `history.unknown` where a storage does not answer: another that is empty may be a new
    disk, or one that is not mounted. That may be a first evening with a mistyped bucket, and is critical all the same:
    a backup at a lesser verdict would be what the next run takes the history from.
    """
    left = [f"{each.id} in {each.storage}" for each in found.damaged]
    meant = f"rollcall accept {target} --reason TEXT"
    if left:
        unread = ", ".join([*found.unreachable, *left])
        message = (
            f"The history knows nothing of {target}, and {unread} cannot be asked what it was: nothing is pinned or "
            f"accepted until that answers, or until: {meant}"
        )
        return [Finding(code="history.lost", severity="critical", message=message)]
    if not found.unreachable:
        return []
    message = (
        f"Nothing is known of {target} yet, and the storage {' and '.join(found.unreachable)} cannot be asked whether "
        f"this is the first time: nothing is pinned or accepted until it answers. Mend its entry in the configuration, "
        f"or bring it back; if you know that this is the right database: {meant}"
    )
    return [Finding(code="history.unknown", severity="critical", message=message)]


def said_by_storages(findings: Sequence[Finding], *, taken_since: bool) -> list[Finding]:
    """Those of an earlier check's findings that the storages were asked for. taken_since: there is a good backup by
    now that is younger than that check."""
    asked = [each for each in findings if each.code.partition(".")[0] in ("storage", "backup", "clock")]
    return [each for each in asked if not (taken_since and each.code in ENDED_BY_A_BACKUP)]


def storage_findings(failed: Mapping[str, StorageError | str]) -> list[Finding]:
    """`storage.unreachable` for each storage that did not answer or did not take what it was given."""
    return [
        Finding(
            code="storage.unreachable",
            severity="warning",
            message=f"The storage {name} got no copy or did not answer: {error}",
        )
        for name, error in failed.items()
    ]


def _failure_since(config: Config, target: str, good: datetime) -> list[Finding]:
    """`backup.failed` if a backup was tried after the newest good one and did not come to its end."""
    with open_history(config.history) as history:
        failures = [each for each in history.runs(target, "backup") if each.started_at > good]
    if not failures:
        return []
    last = failures[-1]
    message = f"The last backup, at {last.started_at:%Y-%m-%d %H:%M} UTC, failed: {last.message}"
    return [Finding(code="backup.failed", severity="warning", message=message)]


def _unproven(config: Config, target: str, found: Catalogue, first: datetime, now: datetime) -> list[Finding]:
    """`backup.unproven` where backups are old enough to have been drilled and no proof is young enough; one that is
    dated in the future proves nothing."""
    limit = proof_limit(config, target)
    if limit is None:
        return []
    since = now - limit
    good = [each for each in found.backups if not each.manifest.quarantined]
    until = now + CLOCK_TOLERANCE
    proofs = [each.proven_at for each in good if each.proven_at is not None and each.proven_at <= until]
    if first > since or any(each > since for each in proofs):
        return []
    last = f"the last proof is of {max(proofs):%Y-%m-%d}" if proofs else "none was ever proven"
    rows = [each for each in good if each.rows_proven_at is not None and since < each.rows_proven_at <= until]
    if rows:
        number = len(rows[0].differences)
        last = f"the rows of {rows[0].manifest.id} are, and {number} of its definitions differ{'s' * (number == 1)}"
    message = f"No backup of {target} was proven by a drill in {limit.days} days ({last}); run: rollcall drill {target}"
    return [Finding(code="backup.unproven", severity="warning", message=message)]


def freshness_findings(config: Config, target: str, found: Catalogue, now: datetime | None = None) -> list[Finding]:
    """`backup.missing` and `backup.stale`: is there a good backup, and is it young enough?

    Neither where none is expected (`backup: never` and no `max_age_hours`): of those only one that failed is told.
    """
    findings = storage_findings(found.unreachable)
    findings += [
        Finding(
            code="backup.damaged",
            severity="warning",
            message=f"Backup {each.id} in {each.storage} is damaged: {each.reason}",
        )
        for each in found.damaged
    ]
    now = now or datetime.now(UTC)
    findings += [
        Finding(code="clock.wrong", severity="warning", message=f"Backup {each.manifest.id} is dated in the future.")
        for each in found.backups
        if each.manifest.created_at > now + CLOCK_TOLERANCE
    ]
    taken = [entry.manifest for entry in found.backups if entry.manifest.created_at <= now + CLOCK_TOLERANCE]
    good = [manifest.created_at for manifest in taken if not manifest.quarantined]
    if not good and set(found.unreachable) >= set(config.target(target).storages):
        return findings
    limit = backup_limit(config, target)
    if not good and limit is None:
        return findings + _failure_since(config, target, datetime.min.replace(tzinfo=UTC))
    if not good:
        message = f"{target} has no good backup. Make one now: rollcall backup {target}"
        return [*findings, Finding(code="backup.missing", severity="warning", message=message)]
    findings += _failure_since(config, target, max(good)) + _unproven(config, target, found, min(good), now)
    age = now - max(good)
    if limit is not None and age > limit:
        hours = age.total_seconds() / 3600
        message = (
            f"The newest good backup of {target} is {hours:,.0f} hours old; make one now: rollcall backup {target}"
        )
        findings.append(Finding(code="backup.stale", severity="warning", message=message))
    return findings
