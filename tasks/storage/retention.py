"""Which backups stay and which may go (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.config import Retention


@dataclass(frozen=True)
class Kept:
    """What rotation needs to know of one backup. `proven`: a restore of it has brought back exactly its
    rows."""

    id: str
    created_at: datetime
    quarantined: bool
    proven: bool


@dataclass(frozen=True)
class RetentionPlan:
    """Ids with the reason, newest first. `frozen` says why nothing may go, where that is so."""

    keep: list[tuple[str, str]]
    delete: list[tuple[str, str]]
    frozen: str | None


FROZEN = "the verdict is critical: nothing is deleted until it is healthy or accepted"


def plan(entries: Sequence[Kept], rule: Retention, now: datetime, frozen: bool) -> RetentionPlan:
    """Which of `entries` stay by `rule`, and which go.

    A good backup is displaced only by newer good ones, never by time alone: when backups stop, nothing is
    deleted. Backups dated after `now` stay and take nobody's place: one of the clocks was wrong. Times carry
    a zone; days, weeks (ISO) and months are those of UTC.
    """
    newest_first = sorted(entries, key=lambda entry: (entry.created_at, entry.id), reverse=True)
    if frozen:
        return RetentionPlan([(entry.id, "rotation is frozen") for entry in newest_first], [], FROZEN)
    reasons = _reasons(newest_first, rule, now)
    keep = [(entry.id, reasons[entry.id]) for entry in newest_first if entry.id in reasons]
    delete = [(entry.id, _why_it_goes(entry, rule)) for entry in newest_first if entry.id not in reasons]
    return RetentionPlan(keep, delete, None)


def _reasons(newest_first: Sequence[Kept], rule: Retention, now: datetime) -> dict[str, str]:
    """Why each backup that stays does; the first reason that applies."""
    reasons: dict[str, str] = {}

    def keep(chosen: Sequence[Kept], reason: str) -> None:
        for entry in chosen:
            reasons.setdefault(entry.id, reason)

    good = [entry for entry in newest_first if not entry.quarantined]
    past = [entry for entry in good if entry.created_at <= now]
    keep([entry for entry in newest_first if entry.created_at > now], "dated in the future: check the clocks")
    keep(past[:1], "the newest good one")
    for candidates in (past, good, newest_first):
        keep([entry for entry in candidates if entry.proven][:1], "the newest proven one")
    keep(past[: rule.last], f"one of the last {rule.last}")
    keep(_newest_of_each(past, rule.daily, lambda at: (at.year, at.month, at.day)), "the newest of its day")
    keep(_newest_of_each(past, rule.weekly, lambda at: at.isocalendar()[:2]), "the newest of its week")
    keep(_newest_of_each(past, rule.monthly, lambda at: (at.year, at.month)), "the newest of its month")
    keep(_quarantined_that_stay(newest_first, good, rule, now), "quarantined: kept to look at, never counted")
    return reasons


def _newest_of_each(
    newest_first: Sequence[Kept], periods: int, period_of: Callable[[datetime], tuple[int, ...]]
) -> list[Kept]:
    """The newest backup of each of the latest `periods` periods that have one."""
    newest: dict[tuple[int, ...], Kept] = {}
    for entry in newest_first:
        newest.setdefault(period_of(entry.created_at.astimezone(UTC)), entry)
    return list(newest.values())[:periods]


def _quarantined_that_stay(
    newest_first: Sequence[Kept], good: Sequence[Kept], rule: Retention, now: datetime
) -> list[Kept]:
    """Quarantined backups until they expire; all of them while there is nothing else."""
    quarantined = [entry for entry in newest_first if entry.quarantined]
    if not good:
        return quarantined
    oldest = now - timedelta(days=rule.quarantined_days)
    return [entry for entry in quarantined if entry.created_at >= oldest]


def _why_it_goes(entry: Kept, rule: Retention) -> str:
    if entry.quarantined:
        return f"quarantined more than {rule.quarantined_days} days ago"
    return "newer backups cover its day, week and month"
