"""The state of all targets on one page, as Prefect's UI shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.alerts.artifacts import escape, findings_list, moment, size, table
from tasks.history.standing import Standing
from tasks.models import WORST_FIRST, Verdict

_MARK: dict[Verdict, str] = {"healthy": "✔ healthy", "warning": "⚠ warning", "critical": "⚠ **CRITICAL**"}
_HEADS = ("target", "state", "rows", "checked", "last good backup", "proven", "restore takes")


def targets_report(standings: Sequence[Standing], now: datetime) -> str:
    """One row a target, worst first, then what is wrong with each. Ages are those of `now`, which the page names."""
    ordered = sorted(standings, key=lambda each: (_badness(each), each.target))
    wrong = [each for each in ordered if not each.healthy]
    parts = [
        f"# {_headline(ordered)}",
        f"As of {moment(now)}, from the history alone; every run writes this page anew.",
        table(_HEADS, [_row(each, now) for each in ordered], numbers=(2,)),
        *(f"## {escape(each.target)}\n\n{findings_list(each.findings)}" for each in wrong),
    ]
    return "\n\n".join(parts) + "\n"


def _badness(standing: Standing) -> int:
    places: dict[str, int] = {severity: place for place, severity in enumerate(WORST_FIRST)}
    return places.get(standing.verdict, len(places))


def _headline(standings: Sequence[Standing]) -> str:
    wrong = sum(not each.healthy for each in standings)
    if not wrong:
        return "✔ The target is healthy" if len(standings) == 1 else f"✔ All {len(standings)} targets are healthy"
    return f"⚠ {wrong} of {len(standings)} target{'' if len(standings) == 1 else 's'} not healthy"


def _row(standing: Standing, now: datetime) -> list[str]:
    backup, drill = standing.last_backup, standing.last_drill
    kept = f"{ago(now - backup.created_at)}, {size(max(backup.stored.values(), default=0))}" if backup else "⚠ none"
    copies = f" in {len(backup.stored)} storages" if backup and len(backup.stored) > 1 else ""
    return [
        escape(standing.target),
        _MARK[standing.verdict],
        f"{sum(standing.counts.values()):,}" if standing.counts else "?",
        ago(now - standing.checked_at) if standing.checked_at else "⚠ never",
        kept + copies,
        ago(now - standing.last_proven_at) if standing.last_proven_at else "not yet",
        _seconds(drill.message) if drill and drill.outcome == "proven" else "",
    ]


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
