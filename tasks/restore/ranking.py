"""Which cluster most likely holds a target's data, and why, in words (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.config import Target
from tasks.containers.clusters import ClusterVolume
from tasks.errors import ConfigError
from tasks.history.judge import judge_counts
from tasks.history.records import NO_HISTORY, Baseline
from tasks.history.table_names import resolve_table
from tasks.models import Model

Rows = Literal["near", "unknown", "far"]

_TIERS: dict[Rows, int] = {"near": 2, "unknown": 1, "far": 0}
TOLD_TABLES = 3


@dataclass(frozen=True)
class Expected:
    """What a target's data is known by: its rules, the pinned system identifier (None before first sight), its rows."""

    target: str
    rules: Target
    system_identifier: str | None = None
    baseline: Baseline = NO_HISTORY


class Evidence(Model):
    """What speaks for a cluster being the target's.

    same_cluster: whether its system identifier is the pinned one, None where none is pinned; rows: whether its tables
    hold what is expected, unknown where nothing was counted or nothing is expected; share: of the expected rows, 0 to
    1, the average over the tables; pinned_volume: whether the volume has the pinned name. speaks_for and
    speaks_against say the same in words.
    """

    target: str
    same_cluster: bool | None
    rows: Rows
    share: float
    pinned_volume: bool
    speaks_for: list[str]
    speaks_against: list[str]

    @property
    def convinces(self) -> bool:
        """Whether a person may be told that the data is here: a name or a date alone is how the wrong one is taken."""
        return self.rows == "near" or (self.same_cluster is True and self.rows != "far")


def weigh(cluster: ClusterVolume, counts: dict[str, int] | None, expected: Expected) -> Evidence:
    """What speaks for `cluster`, in which `counts` rows were found (None: not counted), being the target's."""
    references = _references(expected, counts or {})
    same = _is_pinned(cluster, expected)
    rows = _rows(counts, references, expected)
    named = cluster.volume.name == expected.rules.pinned
    speaks_for = ["its system identifier is the pinned one"] if same else []
    speaks_for += [_of_rows(counts, references)] if rows == "near" else []
    speaks_for += ["its name is the pinned one"] if named else []
    speaks_against = [_of_another(cluster, expected)] if same is False else []
    speaks_against += [_of_rows(counts, references)] if rows == "far" else []
    return Evidence(
        target=expected.target,
        same_cluster=same,
        rows=rows,
        share=_share(counts or {}, references),
        pinned_volume=named,
        speaks_for=speaks_for,
        speaks_against=speaks_against,
    )


def _is_pinned(cluster: ClusterVolume, expected: Expected) -> bool | None:
    if expected.system_identifier is None:
        return None
    return cluster.control.system_identifier == expected.system_identifier


def _of_another(cluster: ClusterVolume, expected: Expected) -> str:
    return f"its system identifier is {cluster.control.system_identifier}, and {expected.system_identifier} is pinned"


@dataclass(frozen=True)
class _Reference:
    """How many rows a table should hold; at_least: by a floor, for lack of history."""

    table: str
    rows: int
    at_least: bool = False

    def share(self, counts: dict[str, int]) -> float:
        return 1.0 if not self.rows else min(1.0, counts.get(self.table, 0) / self.rows)


def _references(expected: Expected, counts: dict[str, int]) -> list[_Reference]:
    """What each table should hold, the configured tables first, then the biggest: as last accepted, else its floor."""
    last = expected.baseline.last
    ruled = {_resolved(name, [*counts, *last]): rule.min for name, rule in expected.rules.tables.items()}
    floors = [_Reference(name, least, at_least=True) for name, least in ruled.items() if least is not None]
    if not last:
        return floors
    configured = [name for name in ruled if name in last]
    others = sorted(last.keys() - set(configured), key=lambda name: (-last[name], name))
    return [_Reference(name, last[name]) for name in [*configured, *others]]


def _resolved(name: str, known: Iterable[str]) -> str:
    """The table that a name in the configuration means; the name itself where it means none clearly."""
    try:
        return resolve_table(name, known) or name
    except ConfigError:
        return name


def _rows(counts: dict[str, int] | None, references: Sequence[_Reference], expected: Expected) -> Rows:
    if counts is None or not references:
        return "unknown"
    rules = expected.rules
    findings = judge_counts(counts, expected.baseline, rules.tables, rules.thresholds)
    return "far" if any(each.severity == "critical" for each in findings) else "near"


def _share(counts: dict[str, int], references: Sequence[_Reference]) -> float:
    if not references:
        return 0.0
    return sum(each.share(counts) for each in references) / len(references)


def _of_rows(counts: dict[str, int] | None, references: Sequence[_Reference]) -> str:
    """`it holds 85 of 85 experts and 26,337 of 26,337 knowledge_nodes`."""
    found = counts or {}
    if not any(each.table in found for each in references):
        return "it holds none of the expected tables"
    parts = [_of_table(found.get(each.table), each) for each in references[:TOLD_TABLES]]
    rest = references[TOLD_TABLES:]
    if rest:
        rows, wanted = sum(found.get(each.table, 0) for each in rest), sum(each.rows for each in rest)
        parts.append(f"{rows:,} of {wanted:,} rows in {len(rest)} more {'table' if len(rest) == 1 else 'tables'}")
    return f"it holds {joined(parts)}"


def _of_table(rows: int | None, reference: _Reference) -> str:
    name = reference.table.removeprefix("public.")
    if rows is None:
        return f"no table {name}"
    if reference.at_least:
        return f"{rows:,} {name} (at least {reference.rows:,} expected)"
    return f"{rows:,} of {reference.rows:,} {name}"


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


Key = tuple[bool, int, float, bool, float, int]


def key(cluster: ClusterVolume, evidence: Evidence) -> Key:
    """Sort by it, the greatest first: the pinned cluster, rows near the expected, the pinned volume's name, the newest
    checkpoint, size. How far the rows are tells apart only those that are far."""
    control = cluster.control
    return (
        evidence.same_cluster is True,
        _TIERS[evidence.rows],
        evidence.share if evidence.rows == "far" else 0.0,
        evidence.pinned_volume,
        (control.checkpoint_at or control.changed_at).timestamp(),
        cluster.bytes or 0,
    )
