"""Which backups stay and which may go (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.config import Retention


@dataclass(frozen=True)
class Kept:
    """What rotation needs to know of one backup.

    aside: quarantined, or taken before a restore of what was to be replaced; it takes no good one's place. proven: a
    restore of it has brought back exactly its rows; proven_here: from the very copy that rotation would delete.
    """

    id: str
    created_at: datetime
    aside: bool
    proven: bool
    proven_here: bool = False


@dataclass(frozen=True)
class RetentionPlan:
    """Ids with the reason, newest first. `frozen` says why nothing may go, where that is so."""

    keep: list[tuple[str, str]]
    delete: list[tuple[str, str]]
    frozen: str | None


FROZEN = "the verdict is critical: nothing is deleted until it is healthy or accepted"


def plan(
    entries: Sequence[Kept], rule: Retention, now: datetime, frozen: bool, good_elsewhere: bool = False
) -> RetentionPlan:
    """Which of one cluster's `entries` stay by `rule`, and which go. good_elsewhere: there are good ones of another.

    A good backup is displaced only by newer good ones, never by time alone: when backups stop, nothing is
    deleted. Backups dated after `now` stay and take nobody's place: one of the clocks was wrong. Times carry
    a zone; days, weeks (ISO) and months are those of UTC.
    """
    newest_first = sorted(entries, key=lambda entry: (entry.created_at, entry.id), reverse=True)
    if frozen:
        return RetentionPlan([(entry.id, "rotation is frozen") for entry in newest_first], [], FROZEN)
    reasons = _reasons(newest_first, rule, now, good_elsewhere)
    keep = [(entry.id, reasons[entry.id]) for entry in newest_first if entry.id in reasons]
    delete = [(entry.id, _why_it_goes(entry, rule)) for entry in newest_first if entry.id not in reasons]
    return RetentionPlan(keep, delete, None)


def _reasons(newest_first: Sequence[Kept], rule: Retention, now: datetime, good_elsewhere: bool) -> dict[str, str]:
    """Why each backup that stays does; the first reason that applies."""
    reasons: dict[str, str] = {}

    def keep(chosen: Sequence[Kept], reason: str) -> None:
        for entry in chosen:
            reasons.setdefault(entry.id, reason)

    good = [entry for entry in newest_first if not entry.aside]
    past = [entry for entry in good if entry.created_at <= now]
    keep([entry for entry in newest_first if entry.created_at > now], "dated in the future: check the clocks")
    keep(past[:1], "the newest good one")
    for candidates in (past, good, newest_first):
        keep([entry for entry in candidates if entry.proven][:1], "the newest proven one")
        keep([entry for entry in candidates if entry.proven_here][:1], "the newest proven one of this storage's own")
    keep(past[: rule.last], f"one of the last {rule.last}")
    keep(_newest_of_each(past, rule.daily, lambda at: (at.year, at.month, at.day)), "the newest of its day")
    keep(_newest_of_each(past, rule.weekly, lambda at: at.isocalendar()[:2]), "the newest of its week")
    keep(_newest_of_each(past, rule.monthly, lambda at: (at.year, at.month)), "the newest of its month")
    if not good:
        keep(newest_first[:1], "the newest of a cluster that has no good one")
    aside = [entry for entry in newest_first if entry.aside]
    if good or good_elsewhere:  # else they are all there is
        oldest = now - timedelta(days=rule.quarantined_days)
        aside = [entry for entry in aside if entry.created_at >= oldest]
    keep(aside, "quarantined or taken before a restore: kept to look at, never counted")
    return reasons


def _newest_of_each(
    newest_first: Sequence[Kept], periods: int, period_of: Callable[[datetime], tuple[int, ...]]
) -> list[Kept]:
    """The newest backup of each of the latest `periods` periods that have one."""
    newest: dict[tuple[int, ...], Kept] = {}
    for entry in newest_first:
        newest.setdefault(period_of(entry.created_at.astimezone(UTC)), entry)
    return list(newest.values())[:periods]


def _why_it_goes(entry: Kept, rule: Retention) -> str:
    if entry.aside:
        return f"quarantined or taken before a restore, more than {rule.quarantined_days} days ago"
    return "newer backups cover its day, week and month"
