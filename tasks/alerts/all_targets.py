"""The state of all targets on one page, as Prefect's UI shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.alerts.artifacts import MARK, MOST, escape, findings_list, moment, size, table
from tasks.alerts.message import next_step
from tasks.history.standing import Standing
from tasks.models import WORST_FIRST

_HEADS = ("target", "state", "rows", "checked", "last good backup", "comes back")
_FINDINGS = 3
_TOLD = 20
"""Targets of which the page says what is wrong; the table has them all."""


def targets_report(standings: Sequence[Standing], now: datetime, most: int = MOST) -> str:
    """One row a target, worst first, then what is wrong with each and what to do about it. Ages are those of `now`,
    which the page names. most: rows at most."""
    ordered = sorted(standings, key=lambda each: (_badness(each), each.target))
    wrong = [each for each in ordered if not each.healthy]
    left, untold = len(ordered) - most, len(wrong) - min(_TOLD, most)
    parts = [
        f"# {_headline(ordered)}",
        f"As of {moment(now)}, from the history alone; every run writes this page anew.",
        table(_HEADS, [_row(each, now) for each in ordered[:most]], numbers=(2,)),
        *([f"and {left:,} more targets, which are left out here."] if left > 0 else []),
        *(_told(each) for each in wrong[: min(_TOLD, most)]),
        *([f"What is wrong with {untold:,} more targets is in the reports of their checks."] if untold > 0 else []),
    ]
    return "\n\n".join(parts) + "\n"


def _told(standing: Standing) -> str:
    step = f"\n\n**Next:** {escape(next_step(standing.findings, standing.target))}" if standing.findings else ""
    return f"## {escape(standing.target)}\n\n{findings_list(standing.findings, _FINDINGS)}{step}"


def _badness(standing: Standing) -> int:
    places: dict[str, int] = {severity: place for place, severity in enumerate(WORST_FIRST)}
    return places.get(standing.verdict, len(places))


def _headline(standings: Sequence[Standing]) -> str:
    wrong = sum(not each.healthy for each in standings)
    if not wrong:
        return "✔ The target is healthy" if len(standings) == 1 else f"✔ All {len(standings)} targets are healthy"
    return f"⚠ {wrong} of {len(standings)} target{'' if len(standings) == 1 else 's'} not healthy"


def _row(standing: Standing, now: datetime) -> list[str]:
    return [
        escape(standing.target),
        MARK[standing.verdict],
        f"{sum(standing.counts.values()):,}" if standing.counts else "?",
        ago(now - standing.checked_at) if standing.checked_at else "⚠ never",
        _backup(standing, now),
        _proof(standing, now),
    ]


def _backup(standing: Standing, now: datetime) -> str:
    """`2 h ago, 856 MB × 2`: the age, and the size of each copy."""
    backup = standing.last_backup
    if backup is None:
        return "⚠ none"
    copies = f" × {len(backup.stored)}" if len(backup.stored) > 1 else ""
    return f"{ago(now - backup.created_at)}, {size(max(backup.stored.values(), default=0))}{copies}"


def _proof(standing: Standing, now: datetime) -> str:
    """`3 days ago, in 41.0 s`: when a backup was proven last, and how long a drill took to bring it back."""
    drill = standing.last_drill
    if drill is not None and drill.outcome == "rows proven":
        return "⚠ rows proven, definitions differ"
    if drill is not None and drill.outcome != "proven":
        return "⚠ the last drill failed"
    if standing.last_proven_at is None:
        return "not proven yet"
    took = f", in {_seconds(drill.message)}" if drill else ""
    return f"{ago(now - standing.last_proven_at)}{took}"


def _seconds(message: str) -> str:
    """The time in a drill's message, `ID in 12.3 s`."""
    return message.rpartition(" in ")[2]


def ago(age: timedelta) -> str:
    """An age for people: `12 min ago`, in the largest unit of which there are two."""
    seconds = max(0.0, age.total_seconds())
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
