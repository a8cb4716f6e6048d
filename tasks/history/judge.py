"""Is this still the database it should be? Pure functions from what was seen and what is expected to
findings.

The rules and the reasons for them are in docs/judging.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from tasks.config import TableRule, Thresholds
from tasks.errors import ConfigError, HistoryError
from tasks.history.baseline import baseline_of
from tasks.history.records import NO_HISTORY, Baseline, Pin
from tasks.history.table_names import resolve_table
from tasks.models import DataOn, Finding, Identity, Severity
from tasks.sections import is_folder

__all__ = [
    "NO_HISTORY",
    "Baseline",
    "baseline_of",
    "is_accepted",
    "judge_counts",
    "judge_identity",
    "judge_not_dumped",
    "judge_schema",
    "resolve_table",
    "where",
]

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


def is_accepted(findings: Iterable[Finding]) -> bool:
    """Whether an observation with these findings may become the baseline: not with anything critical, nor with rows,
    tables or columns missing, however few. A bad value must never become the normal."""
    return not any(
        finding.severity == "critical"
        or finding.code.startswith("rows.")
        or (finding.code == "schema.changed" and finding.severity == "warning")
        for finding in findings
    )


def judge_counts(
    counts: Mapping[str, int], baseline: Baseline, rules: Mapping[str, TableRule], thresholds: Thresholds
) -> list[Finding]:
    """What is wrong with these exact row counts. Only fewer rows than expected alarm; growth never does.

    `rules` is by table name as written in the configuration; a name that cannot be resolved is a finding too.
    """
    ruled, findings = _resolved(rules, [*counts, *(table for table in baseline.last if table not in counts)])
    for name, table, rule in ruled:
        findings += _judge_floor(name, table, rule, counts, baseline)
    missing = {finding.table for finding in findings if finding.code == "table.missing"}
    for table, rows in baseline.last.items():
        if table not in counts and table not in missing:
            findings.append(_gone(table, rows))
    own = {table: rule for _, table, rule in ruled if table is not None}
    for table, rows in counts.items():
        expected = baseline.last.get(table), baseline.highest.get(table)
        if any(reference is not None and rows < reference for reference in expected):
            limits = _limits(own.get(table), thresholds)
            findings += _judge_drop(table, rows, [each for each in expected if each is not None], limits)
    return findings


def _resolved(
    rules: Mapping[str, TableRule], known: Sequence[str]
) -> tuple[list[tuple[str, str | None, TableRule]], list[Finding]]:
    """Each rule with the table it means (None: no such table), and a finding for each name that means none
    clearly."""
    ruled: list[tuple[str, str | None, TableRule]] = []
    findings: list[Finding] = []
    for name, rule in rules.items():
        try:
            ruled.append((name, resolve_table(name, known), rule))
        except ConfigError as error:
            message = f"The rule for a table cannot be applied. {error}"
            findings.append(Finding(code="table.misnamed", severity="warning", message=message, table=name))
    return ruled, findings


def _judge_floor(
    name: str, table: str | None, rule: TableRule, counts: Mapping[str, int], baseline: Baseline
) -> list[Finding]:
    """The floor of one configured table; it holds with or without history."""
    if table is None and rule.min is None:
        message = f"{name} is in the configuration, and there is no such table; check the name."
        return [Finding(code="table.unknown", severity="warning", message=message, table=name)]
    if table is None:
        message = f"{name} does not exist; at least {_rows(rule.min or 0)} must be in it."
        return [Finding(code="table.missing", severity="critical", message=message, table=name)]
    if table not in counts:
        return [_gone(table, baseline.last[table])]
    if rule.min is None or counts[table] >= rule.min:
        return []
    message = f"{table} has {_rows(counts[table])}; at least {rule.min:,} must be there."
    return [Finding(code="rows.below_min", severity="critical", message=message, table=table)]


def _gone(table: str, rows: int) -> Finding:
    message = f"{table} is gone; it had {_rows(rows)} when it was last accepted."
    return Finding(code="table.missing", severity="critical", message=message, table=table)


def _limits(rule: TableRule | None, thresholds: Thresholds) -> Thresholds:
    """The thresholds for one table: its own where it has them, the target's elsewhere."""
    own = rule.model_dump(exclude={"min"}, exclude_none=True) if rule else {}
    return thresholds.model_copy(update=own) if own else thresholds


def _judge_drop(table: str, rows: int, expected: list[int], limits: Thresholds) -> list[Finding]:
    """The worst that the references in `expected` say of `rows`; at most one finding, naming the highest of
    them."""
    judged = [(severity, each) for each in expected if (severity := _severity(rows, each, limits))]
    if not judged:
        return []
    severity, reference = max(judged, key=lambda pair: (pair[0] == "critical", pair[1]))
    verb = "is" if reference == 1 else "are"
    message = f"{table} has {_rows(rows)}; {reference:,} {verb} expected (-{_percent(rows, reference)} %)."
    return [Finding(code="rows.dropped", severity=severity, message=message, table=table)]


def _severity(rows: int, expected: int, limits: Thresholds) -> Severity | None:
    """How bad it is to find `rows` where `expected` were. A loss of exactly the threshold crosses it."""
    lost = expected - rows
    if lost <= 0:
        return None
    if rows == 0:
        return "critical"
    if expected < limits.small:
        enough = lost >= limits.small_rows and lost >= _exactly(limits.small_drop) * expected
        return "critical" if enough else None
    if lost >= _exactly(limits.critical_drop) * expected:
        return "critical"
    return "warning" if lost >= _exactly(limits.warning_drop) * expected else None


@lru_cache(maxsize=1000)
def _exactly(share: float) -> Decimal:
    """The share as it was written: 0.07 * 300 is 21.000000000000004 in floats, and a loss of 21 would
    pass."""
    return Decimal(str(share))


def _percent(rows: int, expected: int) -> str:
    """The lost share in percent; never rounded up over a threshold, nor to 100 while a row is left."""
    percent = Decimal(100) * (expected - rows) / expected
    if 90 <= percent < Decimal("99.5") or rows == 0:
        return f"{percent:.0f}"
    tenths = int(percent * 10)
    return f"{tenths // 10}.{tenths % 10}".removesuffix(".0")


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def judge_schema(now: Mapping[str, str], before: Mapping[str, str] | None) -> list[Finding]:
    """What changed in the schema since `before` (object -> hash of its definition): at most one finding.

    A table or column that is gone takes data with it: a warning, until the change is accepted. Anything else is a
    notice. None: nothing to compare with.
    """
    if before is None:
        return []
    changes = {
        "added": _tables_first(now.keys() - before.keys()),
        "removed": _tables_first(before.keys() - now.keys()),
        "changed": _tables_first({name for name in now.keys() & before.keys() if now[name] != before[name]}),
    }
    if not any(changes.values()):
        return []
    lost = any(name.startswith(("table ", "column ")) for name in changes["removed"])
    message = f"The schema is not what it was: {_told(changes)}."
    return [Finding(code="schema.changed", severity="warning" if lost else "notice", message=message)]


UNREAD = -1
"""Accepted as the rows of a table that the role may not read."""


def judge_not_dumped(
    tables: Sequence[str], rows: Mapping[str, int] | None = None, accepted: Mapping[str, int] | None = None
) -> list[Finding]:
    """A warning for each table with rows that no backup can hold, but for one with just the rows that were accepted."""
    rows, accepted = rows or {}, accepted or {}
    return [
        _not_dumped(table, rows.get(table), accepted.get(table))
        for table in tables
        if table not in accepted or accepted[table] != rows.get(table, UNREAD)
    ]


def _not_dumped(table: str, rows: int | None, accepted: int | None) -> Finding:
    holds = "holds rows" if rows is None else f"holds {_rows(rows)}"
    before = "" if accepted is None or accepted == UNREAD else f" ({accepted:,} were accepted)"
    return Finding(
        code="table.not_dumped",
        severity="warning",
        message=f"{table} belongs to an extension and {holds}{before}; pg_dump leaves it out, so no backup has them.",
        table=table,
    )


def _tables_first(objects: Iterable[str]) -> list[str]:
    """Sorted with tables in front; the columns of a table that is listed itself say nothing more and are
    left out."""
    tables = sorted(name for name in objects if name.startswith("table "))
    covered = tuple(f"column {table.removeprefix('table ')}." for table in tables)
    others = sorted(name for name in objects if not name.startswith("table ") and not name.startswith(covered))
    return tables + others


def _told(changes: Mapping[str, list[str]], most: int = 5) -> str:
    """At most `most` objects by name, what was removed or changed before what was added; the rest as a
    number."""
    parts = []
    for what in ("removed", "changed", "added"):
        names, left = changes[what][:most], changes[what][most:]
        most -= len(names)
        if names:
            parts.append(f"{what} {', '.join(names)}" + (f" and {len(left):,} more" if left else ""))
        elif left:
            parts.append(f"{len(left):,} {what}")
    return "; ".join(parts)


def judge_identity(now: Identity, pin: Pin | None, last: Identity | None, pinned: str) -> list[Finding]:
    """Is this the cluster, on the volume, that it should be?

    `pin` is None at first sight; then the caller pins `now`, if nothing here is critical. `last` is the identity of
    the last accepted observation; `pinned` is a volume's name or a folder. Raise HistoryError for a checkpoint LSN that
    is none.
    """
    wrong = _judge_volume(now, pin, pinned) + _judge_cluster(now, pin, last)
    if any(finding.severity == "critical" for finding in wrong):
        return wrong
    return wrong + _identity_notices(now, pin, last)


def _judge_volume(now: Identity, pin: Pin | None, pinned: str) -> list[Finding]:
    findings = []
    lost_with = {"memory": "stopping", "container": "removing"}.get(now.data_on or "", "")
    if (now.volume is not None and _ANONYMOUS.fullmatch(now.volume)) or now.place is None:
        lost_with = lost_with or "removing"
    if now.place != pinned:
        message = (
            f"Container {now.container} keeps its data {where(now.data_on, now.place)}; it must be "
            f"{where(None, pinned)}: {_advice(now, pin, pinned)}."
        )
        findings.append(Finding(code="volume.mismatch", severity="critical", message=message))
    if lost_with:
        message = (
            f"Container {now.container} keeps its data on no named volume; {lost_with} the container can lose it: "
            "move it to a named volume (docs/add-a-target.md)."
        )
        findings.append(Finding(code="volume.not_pinned", severity="warning", message=message))
    return findings


def where(data_on: DataOn | None, place: str | None) -> str:
    """In words where the data is; data_on: None where `place` alone is known. Pure."""
    if place is not None:
        return f"in the host's folder {place}" if is_folder(place) else f"on volume {place}"
    return {"memory": "in memory (a tmpfs)", "container": "in the container itself"}.get(
        data_on or "", "on no Docker volume"
    )


def _advice(now: Identity, pin: Pin | None, pinned: str) -> str:
    """What to do about data in another place. Only where another cluster answers than the one that is known was the
    container surely started on the wrong one: else a mistyped name, which a start would make anew and empty, is as
    likely."""
    key = "folder" if is_folder(pinned) else "volume"
    if now.place is None:
        return "back it up now, then move it there (docs/add-a-target.md)"
    if pin is not None and now.system_identifier != pin.system_identifier:
        return f"it was started with the wrong {key}, start it on {pinned} again"
    theirs = "folder" if is_folder(now.place) else "volume"
    right = f"if that is right, write `{theirs}: {now.place}` instead of `{key}: {pinned}` in the configuration"
    return f"{right}; if not, see that {pinned} exists before the container is started on it again"


def _judge_cluster(now: Identity, pin: Pin | None, last: Identity | None) -> list[Finding]:
    if pin is not None and now.system_identifier != pin.system_identifier:
        message = (
            f"Container {now.container} runs the cluster {now.system_identifier}; it must be "
            f"{pin.system_identifier}: put the right one back, "
            f"or after a planned upgrade run `rollcall accept {pin.target} --reason TEXT`."
        )
        return [Finding(code="cluster.changed", severity="critical", message=message)]
    if last is None or last.system_identifier != now.system_identifier:
        return []
    behind = now.timeline < last.timeline or lsn(now.checkpoint_lsn) < lsn(last.checkpoint_lsn)
    if not behind:
        return []
    message = (
        f"The cluster {now.system_identifier} is older than when it was last seen (timeline {now.timeline}, "
        f"checkpoint {now.checkpoint_lsn}; it was at {last.timeline}, {last.checkpoint_lsn}): this is an old "
        f"copy; restore the right one, or if it was wound back on purpose run `rollcall accept "
        f"{pin.target if pin else 'TARGET'} --reason TEXT`."
    )
    return [Finding(code="cluster.rewound", severity="critical", message=message)]


def _identity_notices(now: Identity, pin: Pin | None, last: Identity | None) -> list[Finding]:
    """What is worth knowing of a cluster that is the right one."""
    told: list[tuple[str, str]] = []
    if pin is None:
        told.append(("cluster.pinned", f"First sight: the cluster {now.system_identifier} is pinned."))
    if last is None:
        last = now
    if now.container != last.container:
        told.append(("container.renamed", f"The container is {now.container}; it was {last.container}."))
    if now.compose_project != last.compose_project:
        project, before = now.compose_project or "none", last.compose_project or "none"
        message = f"The compose project is {project}; it was {before}."
        told.append(("project.changed", message))
    if now.server_version != last.server_version:
        message = f"The server is PostgreSQL {now.server_version}; it was {last.server_version}."
        told.append(("server.upgraded", message))
    return [Finding(code=code, severity="notice", message=message) for code, message in told]


def lsn(text: str) -> int:
    """The position in the write-ahead log that PostgreSQL writes as `X/Y`, in bytes. Raise HistoryError."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if match is None:
        raise HistoryError(f"{text!r} is no log position; PostgreSQL writes one as 16/B374D848.")
    return (int(match[1], 16) << 32) + int(match[2], 16)
