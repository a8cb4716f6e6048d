"""The status as Prometheus metrics: names in base units, and no label that grows without bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from deployments.status_answers import PartState
from tasks.config import Config, Target
from tasks.errors import ConfigError
from tasks.history.standing import Standing
from tasks.history.table_names import resolve_table
from tasks.limits import backup_limit, check_limit, proof_limit
from tasks.models import Verdict

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MOST_TABLES = 500
"""Series of table rows per target: one that keeps a table a customer must not drown its Prometheus."""


def metrics_text(
    config: Config, standings: Mapping[str, Standing], parts: Mapping[str, PartState] | None = None
) -> bytes:
    """All metrics in Prometheus's text format. parts: of `rollcall serve`, by name."""
    registry = CollectorRegistry()
    registry.register(StandingCollector(config, standings, parts or {}))
    return generate_latest(registry)


class StandingCollector(Collector):
    """Gives what the history said, read once before: collecting asks nobody."""

    def __init__(self, config: Config, standings: Mapping[str, Standing], parts: Mapping[str, PartState]) -> None:
        self._config = config
        self._standings = standings
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Every metric family."""
        yield InfoMetricFamily("rollcall_build", "The Rollcall that answers.", {"version": version("rollcall")})
        targets = {name: self._config.targets[name] for name in self._standings}
        yield from _settings(targets)
        yield from _limits(self._config, list(targets))
        yield from _checks(self._standings)
        yield from _tables(targets, self._standings)
        yield from _backups(self._standings)
        yield from _drills(self._standings)
        yield from _running(self._parts)


Samples = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _moments(name: str, words: str, moments: Mapping[str, datetime | None]) -> Metric:
    """A time by target, in seconds since 1970; nothing for a target where it never was."""
    samples = [([target], moment.timestamp()) for target, moment in moments.items() if moment is not None]
    return _gauge(name, words, ["target"], samples)


def _settings(targets: Mapping[str, Target]) -> Iterator[Metric]:
    labels = ["target", "container", "volume", "database"]
    rows = [([name, each.container, each.pinned, each.database], 1) for name, each in targets.items()]
    yield _gauge("rollcall_target_info", "Every target of the configuration, and what it is pinned to.", labels, rows)


def _limits(config: Config, targets: Sequence[str]) -> Iterator[Metric]:
    """Nothing for a target of which nothing is expected."""
    for name, words, limit in LIMITS:
        found = {target: limit(config, target) for target in targets}
        ages = [([target], age.total_seconds()) for target, age in found.items() if age is not None]
        yield _gauge(name, words, ["target"], ages)


LIMITS = (
    (
        "rollcall_check_max_age_seconds",
        "How old the last check may be before it is not believed (api.stale_after_hours, else by the schedules).",
        check_limit,
    ),
    (
        "rollcall_backup_max_age_seconds",
        "How old the newest good backup may be (max_age_hours, else by the schedule).",
        backup_limit,
    ),
    (
        "rollcall_proof_max_age_seconds",
        "How old the last proof of a backup may be (prove_every_days, else by the schedule).",
        proof_limit,
    ),
)


def _checks(standings: Mapping[str, Standing]) -> Iterator[Metric]:
    verdicts = [
        ([name, verdict], float(each.verdict == verdict))
        for name, each in standings.items()
        for verdict in get_args(Verdict)
    ]
    yield _gauge(
        "rollcall_target_verdict",
        "1 for the verdict that a target has now, 0 for the others; never healthy where the last check is too old.",
        ["target", "verdict"],
        verdicts,
    )
    known = [([name], float(each.identity_ok)) for name, each in standings.items() if each.identity_ok is not None]
    yield _gauge(
        "rollcall_target_identity_ok",
        "1 where the pinned volume and cluster are there, 0 where not; absent where the last check is too old or could "
        "not see.",
        ["target"],
        known,
    )
    yield _moments(
        "rollcall_last_check_timestamp_seconds",
        "When the target was checked last.",
        {name: each.checked_at for name, each in standings.items()},
    )
    yield _gauge(
        "rollcall_target_findings",
        "How many findings of this code a target has now; tables are not told apart.",
        ["target", "code", "severity"],
        _findings(standings),
    )


def _findings(standings: Mapping[str, Standing]) -> Samples:
    found: dict[tuple[str, str, str], int] = {}
    for name, each in standings.items():
        for finding in each.findings:
            key = (name, finding.code, finding.severity)
            found[key] = found.get(key, 0) + 1
    return list(found.items())


def _tables(targets: Mapping[str, Target], standings: Mapping[str, Standing]) -> Iterator[Metric]:
    rows = [
        ([name, table], each.counts[table])
        for name, each in standings.items()
        for table in shown_tables(targets[name], each.counts)
    ]
    yield _gauge(
        "rollcall_table_rows",
        f"Exact rows of a table at the last check; of {MOST_TABLES} tables per target, those with a rule first.",
        ["target", "table"],
        rows,
    )
    counted = {name: each for name, each in standings.items() if each.counts}
    yield _gauge(
        "rollcall_target_tables",
        "How many tables were counted at the last check.",
        ["target"],
        [([name], len(each.counts)) for name, each in counted.items()],
    )
    yield _gauge(
        "rollcall_target_rows",
        "Rows of all tables together at the last check.",
        ["target"],
        [([name], sum(each.counts.values())) for name, each in counted.items()],
    )


def shown_tables(rules: Target, counts: Mapping[str, int], most: int = MOST_TABLES) -> list[str]:
    """Which tables get a series: those the configuration names, then the others by name, `most` in all."""
    if len(counts) <= most:
        return sorted(counts)
    named = {table for name in rules.tables if (table := _resolved(name, counts)) is not None}
    return [*sorted(named), *sorted(counts.keys() - named)][:most]


def _resolved(name: str, counts: Mapping[str, int]) -> str | None:
    try:
        return resolve_table(name, counts)
    except ConfigError:
        return None  # Ambiguous or malformed: the check has a finding about it.


def _backups(standings: Mapping[str, Standing]) -> Iterator[Metric]:
    newest = {name: each.last_backup for name, each in standings.items() if each.last_backup is not None}
    yield _moments(
        "rollcall_last_backup_timestamp_seconds",
        "When the newest good backup was taken, as the storages had it at the last look.",
        {name: each.created_at for name, each in newest.items()},
    )
    yield _gauge(
        "rollcall_last_backup_duration_seconds",
        "How long the newest good backup took, reading back included.",
        ["target"],
        [([name], each.seconds) for name, each in newest.items()],
    )
    yield _gauge(
        "rollcall_last_backup_size_bytes",
        "What the newest good backup takes in a storage; absent for one that does not hold it whole.",
        ["target", "storage"],
        [([name, storage], size) for name, each in newest.items() for storage, size in each.stored.items()],
    )
    yield _gauge(
        "rollcall_last_backup_uncompressed_bytes",
        "What the dumps of the newest good backup are before compression.",
        ["target"],
        [([name], each.raw_bytes) for name, each in newest.items()],
    )


def _drills(standings: Mapping[str, Standing]) -> Iterator[Metric]:
    yield _moments(
        "rollcall_last_proven_timestamp_seconds",
        "When a drill or a restore last proved a good backup that is still there.",
        {name: each.last_proven_at for name, each in standings.items()},
    )
    drills = {name: each.last_drill for name, each in standings.items() if each.last_drill is not None}
    yield _gauge(
        "rollcall_last_drill_ok",
        "1 where the last drill proved its backup, 0 where it did not or did not come to its end.",
        ["target"],
        [([name], float(each.outcome == "proven")) for name, each in drills.items()],
    )
    lasted = {name: (each.ended_at - each.started_at).total_seconds() for name, each in drills.items() if each.ended_at}
    yield _gauge(
        "rollcall_last_drill_duration_seconds",
        "How long the last drill took: about how long a restore would.",
        ["target"],
        [([name], seconds) for name, seconds in lasted.items()],
    )


def _running(parts: Mapping[str, PartState]) -> Iterator[Metric]:
    yield _gauge(
        "rollcall_serve_part_up",
        "1 where a part of rollcall serve runs, 0 where it has ended and is being started again.",
        ["part"],
        [([name], float(part.up)) for name, part in parts.items()],
    )
    restarts = CounterMetricFamily(
        "rollcall_serve_part_restarts", "How often a part of rollcall serve was started again.", labels=["part"]
    )
    for name, part in parts.items():
        restarts.add_metric([name], part.restarts)
    yield restarts
