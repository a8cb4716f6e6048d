"""From what was accepted to what is expected (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.history.records import CLOCK_TOLERANCE, Acceptance, Baseline, Tallied


def baseline_of(
    tallies: Iterable[Tallied], acceptances: Sequence[Acceptance], now: datetime, window_days: int
) -> Baseline:
    """The last accepted rows of each table, and the highest within `window_days` days before `now`.

    `tallies` are those of accepted observations, and `acceptances`, in the order in which they were put down. An
    acceptance starts the window anew, with the accepted counts, for its table or for all. The last accepted rows never
    age: a loss nobody answers for a year is still judged by what was there before. Tallies dated after `now` count: a
    clock set back must not blind the judge.
    """
    since = now - timedelta(days=window_days)
    last: dict[str, int] = {}
    highest: dict[str, int] = {}
    for event in _in_order(tallies, acceptances, now):
        recent = event.at >= since
        if isinstance(event, Acceptance):
            _accept(last, event)
            _accept(highest, event, recent)
            continue
        last = dict(event.counts)
        if recent:
            for table, rows in event.counts.items():
                if rows > highest.get(table, -1):
                    highest[table] = rows
    return Baseline(last, highest)


def comes_after(at: datetime, number: int, acceptance: Acceptance, now: datetime) -> bool:
    """Whether an observation of `at` with that number saw what came after the acceptance.

    One that was there by then did not, though it be dated later: the clock was ahead when it was made. One that was
    dated before it did not either: a backup may have begun long before it is put down. An acceptance that is dated in
    the future itself is gone by in order alone.
    """
    if acceptance.last_observation is None:
        return at > acceptance.at
    dated_after = at > acceptance.at or acceptance.at > now + CLOCK_TOLERANCE
    return number > acceptance.last_observation and dated_after


def _in_order(
    tallies: Iterable[Tallied], acceptances: Sequence[Acceptance], now: datetime
) -> Iterable[Tallied | Acceptance]:
    """Every tally behind the last acceptance that it comes after."""
    if not acceptances:
        return tallies
    behind: list[list[Tallied | Acceptance]] = [[]]
    behind += [[each] for each in acceptances]
    for tally in tallies:
        after = (place for place, each in enumerate(acceptances, 1) if comes_after(tally.at, tally.number, each, now))
        behind[max(after, default=0)].append(tally)
    return [event for events in behind for event in events]


def _accept(rows: dict[str, int], acceptance: Acceptance, recent: bool = True) -> None:
    """Forget what was known of the accepted tables, and put the accepted counts in its place if `recent`."""
    if acceptance.table is None:
        rows.clear()
        rows.update(acceptance.counts if recent else {})
        return
    rows.pop(acceptance.table, None)
    if recent and acceptance.table in acceptance.counts:
        rows[acceptance.table] = acceptance.counts[acceptance.table]
