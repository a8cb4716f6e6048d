"""Judge what was seen of a target by what history knows of it, and remember it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.config import Config
from tasks.containers.observe import Container, kept_at
from tasks.errors import ContainerMissing, ContainerStopped, DatabaseError, RollcallError
from tasks.history.judge import is_accepted, judge_counts, judge_identity, judge_not_dumped, judge_schema, where
from tasks.history.manifests import other, undumped
from tasks.history.records import Observation, Pin
from tasks.history.store import open_history
from tasks.history.table_names import resolve_table
from tasks.models import WORST_FIRST, Finding, Identity, Manifest, Model, Tally, Verdict, verdict_of

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
    return judge_identity(identity, pin, last, config.target(target).pinned)


def judge_absence(config: Config, target: str, container: Container | None, error: RollcallError) -> Judgement:
    """What can be said of a target whose database could not be asked: why not, and whether even the volume is wrong."""
    code = next((code for kind, code in ABSENCES.items() if isinstance(error, kind)), "database.unreachable")
    findings = [Finding(code=code, severity="critical", message=str(error))]
    rules = config.target(target)
    if container and (place := kept_at(container, rules.pinned)) != rules.pinned:
        kept = where(container.data_on, place)
        message = f"Container {container.name} keeps its data {kept} where {rules.pinned} is pinned."
        findings.append(Finding(code="volume.mismatch", severity="critical", message=message))
    with open_history(config.history) as history:
        last = history.baseline(target, datetime.now(UTC), config.target(target).thresholds.window_days).last
    return Judgement(findings=findings, verdict="critical", expected=expected_rows(config, target, {}, last))


def judge_tally(config: Config, target: str, tally: Tally | None, now: datetime) -> Judgement:
    """What counts and schema say against floors and baseline; nothing where there is no tally."""
    rules = config.target(target)
    with open_history(config.history) as history:
        baseline = history.baseline(target, now, rules.thresholds.window_days)
        schema = history.last_schema(target)
        accepted = history.baseline(undumped(target), now, rules.thresholds.window_days).last
    if tally is None:
        return Judgement(
            findings=[], verdict="healthy", expected=expected_rows(config, target, baseline.last, baseline.last)
        )
    findings = [
        *judge_counts(tally.counts, baseline, rules.tables, rules.thresholds),
        *judge_schema(tally.schema_objects, schema),
        *judge_not_dumped(tally.not_dumped, tally.extension_rows, accepted),
    ]
    return Judgement(
        findings=findings,
        verdict=verdict_of(findings),
        expected=expected_rows(config, target, tally.counts, baseline.last),
    )


def lost_findings(lost: Mapping[str, DatabaseError]) -> list[Finding]:
    """`database.not_dumped` for each database that could not be taken, though the others could."""
    return [
        Finding(
            code="database.not_dumped",
            severity="critical",
            message=f"The database {name} could not be backed up, and this backup is without it. {error}",
        )
        for name, error in lost.items()
    ]


def judge_others(
    config: Config, target: str, present: Sequence[str], tallies: Mapping[str, Tally], now: datetime
) -> list[Finding]:
    """What the cluster's other databases say: `database.missing` for one that is gone with its tables, and what the
    counts of those in `tallies` say against their own baselines."""
    rules = config.target(target)
    findings: list[Finding] = []
    with open_history(config.history) as history:
        for name in history.others(target):
            last = history.baseline(other(target, name), now, rules.thresholds.window_days).last
            if last and name not in present and rules.databases is None:
                message = f"The database {name} is gone; it had {sum(last.values()):,} rows in {len(last):,} tables."
                findings.append(Finding(code="database.missing", severity="critical", message=message))
        for name, tally in tallies.items():
            baseline = history.baseline(other(target, name), now, rules.thresholds.window_days)
            accepted = history.baseline(undumped(other(target, name)), now, rules.thresholds.window_days).last
            findings += [
                each.model_copy(update={"message": f"In database {name}: {each.message}", "table": None})
                for each in [
                    *judge_counts(tally.counts, baseline, {}, rules.thresholds),
                    *judge_not_dumped(tally.not_dumped, tally.extension_rows, accepted),
                ]
            ]
    return findings


def remember_others(
    config: Config, target: str, now: datetime, judgement: Judgement, tallies: Mapping[str, Tally], manifest: Manifest
) -> None:
    """Record what the other databases hold, accepted or not as the whole was."""
    with open_history(config.history) as history:
        for name, tally in tallies.items():
            observation = {
                "target": other(target, name),
                "checked_at": now,
                "kind": "backup",
                "verdict": judgement.verdict,
                "findings": [],
                "counts": tally.counts,
                "identity": manifest.identity,
                "accepted": is_accepted(judgement.findings),
                "backup_id": manifest.id,
            }
            history.record(Observation.model_validate(observation))


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
                volume=identity.place,
                pinned_at=now,
                reason=reason,
            )
            history.set_pin(pin)
