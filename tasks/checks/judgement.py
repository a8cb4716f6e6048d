"""Judge what was seen of a target by what history knows of it, and remember it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tasks.config import Config
from tasks.containers.observe import Container
from tasks.errors import ContainerMissing, ContainerStopped, RollcallError, StorageError
from tasks.history.judge import is_accepted, judge_counts, judge_identity, judge_schema
from tasks.history.records import Observation, Pin
from tasks.history.store import open_history
from tasks.history.table_names import resolve_table
from tasks.models import WORST_FIRST, Finding, Identity, Manifest, Model, Tally, Verdict, verdict_of
from tasks.storage import Storage, open_storage
from tasks.storage.catalogue import Catalogue, catalogue

ABSENCES = {ContainerMissing: "container.missing", ContainerStopped: "container.stopped"}


# A wrong volume explains missing rows, never the other way round.
SUBJECTS = ("volume", "cluster", "container", "database", "table", "rows", "schema", "storage", "backup")


def causes_first(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first, and among equals what may explain the others."""

    def rank(finding: Finding) -> tuple[int, int]:
        subject = finding.code.partition(".")[0]
        return WORST_FIRST.index(finding.severity), SUBJECTS.index(subject) if subject in SUBJECTS else len(SUBJECTS)

    return sorted(findings, key=rank)


class Judgement(Model):
    """Findings and verdict, and the rows that were expected by table."""

    findings: list[Finding]
    verdict: Verdict
    expected: dict[str, int]

    def with_findings(self, more: Sequence[Finding]) -> Judgement:
        """The same with further findings, and the verdict that follows."""
        findings = causes_first([*self.findings, *more])
        verdict = verdict_of(findings)
        if verdict == "critical":
            # Nothing is pinned then (see `remember`), so nothing may say that it was.
            findings = [each for each in findings if each.code != "cluster.pinned"]
        return self.model_copy(update={"findings": findings, "verdict": verdict})


def judge_cluster(config: Config, target: str, identity: Identity) -> list[Finding]:
    """What the identity alone says: volume, cluster, container."""
    with open_history(config.history) as history:
        pin, last = history.pin(target), history.last_identity(target)
    return judge_identity(identity, pin, last, config.target(target).volume)


def judge_absence(config: Config, target: str, container: Container | None, error: RollcallError) -> Judgement:
    """What can be said of a target whose database could not be asked: why not, and whether even the volume is wrong."""
    code = next((code for kind, code in ABSENCES.items() if isinstance(error, kind)), "database.unreachable")
    findings = [Finding(code=code, severity="critical", message=str(error))]
    pinned = config.target(target).volume
    if container and container.volume != pinned:
        message = f"Container {container.name} mounts volume {container.volume} where {pinned} is pinned."
        findings.append(Finding(code="volume.mismatch", severity="critical", message=message))
    with open_history(config.history) as history:
        last = history.baseline(target, datetime.now(UTC), config.target(target).thresholds.window_days).last
    return Judgement(findings=findings, verdict="critical", expected=expected_rows(config, target, {}, last))


def judge_tally(config: Config, target: str, tally: Tally, now: datetime) -> Judgement:
    """What counts and schema say against floors and baseline."""
    rules = config.target(target)
    with open_history(config.history) as history:
        baseline = history.baseline(target, now, rules.thresholds.window_days)
        schema = history.last_schema(target)
    findings = [
        *judge_counts(tally.counts, baseline, rules.tables, rules.thresholds),
        *judge_schema(tally.schema_objects, schema),
    ]
    return Judgement(
        findings=findings,
        verdict=verdict_of(findings),
        expected=expected_rows(config, target, tally.counts, baseline.last),
    )


def expected_rows(config: Config, target: str, counts: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """Rows by table: the last accepted ones, and the floor where there are none."""
    expected = dict(last)
    for name, rule in config.target(target).tables.items():
        table = resolve_table(name, [*counts, *last]) or name
        if rule.min is not None:
            expected.setdefault(table, rule.min)
    return expected


def remember(
    config: Config,
    target: str,
    kind: str,
    now: datetime,
    judgement: Judgement,
    tally: Tally,
    identity: Identity | None,
    backup_id: str | None = None,
) -> None:
    """Record the observation; on the first sight of a target with nothing critical, pin its cluster."""
    observation = Observation.model_validate(
        {
            "target": target,
            "checked_at": now,
            "kind": kind,
            "verdict": judgement.verdict,
            "findings": judgement.findings,
            "counts": tally.counts,
            "schema_objects": tally.schema_objects,
            "schema_fingerprint": tally.schema_fingerprint,
            "identity": identity,
            "accepted": is_accepted(judgement.findings),
            "backup_id": backup_id,
        }
    )
    with open_history(config.history) as history:
        history.record(observation)
        if identity and history.pin(target) is None and judgement.verdict != "critical":
            reason = "first sight, nothing critical"
            pin = Pin(
                target=target,
                system_identifier=identity.system_identifier,
                volume=identity.volume,
                pinned_at=now,
                reason=reason,
            )
            history.set_pin(pin)


def storages_of(config: Config, target: str) -> list[Storage]:
    """The target's storages, opened. Raise SecretError, StorageError."""
    return [open_storage(name, config.storages[name]) for name in config.target(target).storages]


def shelves(config: Config, target: str) -> Catalogue:
    """The target's backups as its storages list them; unreachable and damaged ones are named in it."""
    return catalogue(storages_of(config, target), target)


def restore_history(config: Config, target: str) -> int:
    """Rebuild a history that knows nothing of the target from the manifests in its storages; return how many.

    Without this a lost history file would make tonight's cluster, whichever it is, the one to trust.
    """
    with open_history(config.history) as history:
        if history.latest(target) is not None:
            return 0
        manifests: list[Manifest] = [entry.manifest for entry in shelves(config, target).backups]
        return history.rebuild(target, manifests) if manifests else 0


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


def freshness_findings(config: Config, target: str, found: Catalogue, now: datetime | None = None) -> list[Finding]:
    """`backup.missing` and `backup.stale`: is there a good backup, and is it young enough?"""
    findings = storage_findings(found.unreachable)
    findings += [
        Finding(
            code="backup.damaged",
            severity="warning",
            message=f"Backup {each.id} in {each.storage} is damaged: {each.reason}",
        )
        for each in found.damaged
    ]
    good = [entry.manifest.created_at for entry in found.backups if not entry.manifest.quarantined]
    if not good and set(found.unreachable) >= set(config.target(target).storages):
        return findings
    if not good:
        message = f"{target} has no good backup. Make one now: rollcall backup {target}"
        return [*findings, Finding(code="backup.missing", severity="warning", message=message)]
    findings += _failure_since(config, target, max(good))
    age = (now or datetime.now(UTC)) - max(good)
    if age > timedelta(hours=config.target(target).max_age_hours):
        hours = age.total_seconds() / 3600
        message = (
            f"The newest good backup of {target} is {hours:,.0f} hours old; make one now: rollcall backup {target}"
        )
        findings.append(Finding(code="backup.stale", severity="warning", message=message))
    return findings
