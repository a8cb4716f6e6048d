"""Which observations the history forgets: beyond the window of judging, one a day tells as much as a hundred."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select

from tasks.config import Config
from tasks.errors import HistoryError
from tasks.history.records import Acceptance
from tasks.history.store import History, open_history
from tasks.history.tables import observations

log = logging.getLogger("rollcall")

LEAST_DAYS = 30
MARGIN_DAYS = 2
"""A clock that is set back, or a window that is made a little longer, must not find that what it needs is gone."""
AT_ONCE = 500


class Row(NamedTuple):
    """What is decided by, of one observation. identified: it knew which cluster it saw."""

    number: int
    at: datetime
    kind: str
    accepted: bool
    identified: bool
    backup_id: str | None


def to_forget(rows: Sequence[Row], acceptances: Sequence[Acceptance], now: datetime, window_days: int) -> list[int]:
    """The numbers of those that nothing needs any more (pure). rows: of one database, in the order in which they were
    put down.

    What stays: all of the window, and of what is older the last accepted one of each day (UTC), or the last where none
    was; all of backups; the newest of each kind, the newest accepted, the newest accepted that is identified; and what
    was there when somebody accepted it.
    """
    since = _reckoned(rows, now) - timedelta(days=max(window_days, LEAST_DAYS) + MARGIN_DAYS)
    accepted = [each for each in rows if each.accepted]
    kept = {each.number for each in rows if each.at >= since or each.backup_id is not None}
    days = {each.at.date(): each.number for each in rows} | {each.at.date(): each.number for each in accepted}
    kinds = {each.kind: each.number for each in rows}
    kept |= {*days.values(), *kinds.values()}
    newest = [accepted, [each for each in accepted if each.identified]]
    newest += [[each for each in rows if _was_there(each, acceptance)] for acceptance in acceptances]
    kept |= {found[-1].number for found in newest if found}
    return [each.number for each in rows if each.number not in kept]


def _reckoned(rows: Sequence[Row], now: datetime) -> datetime:
    """By what time the window is reckoned: that of the last one put down that is of a day before.

    Not by the clock of this check alone: one that is far ahead, if only for a day, would leave nothing in the window.
    """
    return next((each.at for each in reversed(rows) if each.at.date() < now.date()), now)


def _was_there(row: Row, acceptance: Acceptance) -> bool:
    by_then = acceptance.last_observation
    return row.at <= acceptance.at if by_then is None else row.number <= by_then


def forget_old(config: Config, target: str, now: datetime) -> int:
    """Forget what nothing needs any more, with the day's first check of the target; return how many that were.

    It costs no check: where the history fails it is logged. now: when the check that calls began.
    """
    try:
        with open_history(config.history) as history:
            if not _is_first_of_its_day(history, target, now):
                return 0
            window = config.target(target).thresholds.window_days
            old = to_forget(_rows(history, target), history.acceptances(target), now, window)
            for start in range(0, len(old), AT_ONCE):
                with history.writing() as connection:
                    these = observations.c.number.in_(old[start : start + AT_ONCE])
                    connection.execute(delete(observations).where(these))
    except HistoryError as error:
        log.warning("What is old in the history could not be forgotten: %s", error)
        return 0
    return len(old)


def _is_first_of_its_day(history: History, target: str, now: datetime) -> bool:
    found = observations.c
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = select(found.number).where(
        found.target == target, found.checked_at >= midnight, found.checked_at < now, found.kind == "verify"
    )
    with history.reading() as connection:
        return connection.execute(today.limit(1)).first() is None


def _rows(history: History, target: str) -> list[Row]:
    found = observations.c
    columns = (found.number, found.checked_at, found.kind, found.accepted, found.identity.is_not(None), found.backup_id)
    query = select(*columns).where(found.target == target).order_by(found.number)
    with history.reading() as connection:
        return [Row(*row) for row in connection.execute(query)]
