"""From what was accepted to what is expected (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.history.records import Acceptance, Baseline, Tallied


def baseline_of(
    tallies: Iterable[Tallied], acceptances: Sequence[Acceptance], now: datetime, window_days: int
) -> Baseline:
    """The last accepted rows of each table, and the highest within `window_days` days before `now`.

    `tallies` are those of accepted observations, oldest first. An acceptance starts the window anew, with
    the accepted counts, for its table or for all. The last accepted rows never age: a loss nobody answers
    for a year is still judged by what was there before. Tallies dated after `now` count: a clock set back
    must not blind the judge.
    """
    since = now - timedelta(days=window_days)
    last: dict[str, int] = {}
    highest: dict[str, int] = {}
    for event in _in_order(tallies, acceptances):
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


def _in_order(tallies: Iterable[Tallied], acceptances: Sequence[Acceptance]) -> Iterable[Tallied | Acceptance]:
    if not acceptances:
        return tallies
    # Stable: an acceptance answers the observation of the same instant, so it comes behind it.
    return sorted([*tallies, *acceptances], key=lambda event: event.at)


def _accept(rows: dict[str, int], acceptance: Acceptance, recent: bool = True) -> None:
    """Forget what was known of the accepted tables, and put the accepted counts in its place if `recent`."""
    if acceptance.table is None:
        rows.clear()
        rows.update(acceptance.counts if recent else {})
        return
    rows.pop(acceptance.table, None)
    if recent and acceptance.table in acceptance.counts:
        rows[acceptance.table] = acceptance.counts[acceptance.table]
