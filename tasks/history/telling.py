"""Who tells what: of several processes that find the same at once, one; and nobody waits while it is being sent.

Whether something is to be told is decided, and noted, in one transaction that excludes all others. The sending itself,
which a destination may delay for half a minute, holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, delete, insert, select

from tasks.history import tables
from tasks.history.process import has_ended
from tasks.history.records import Alert, Run, Telling
from tasks.history.store import History

R = TypeVar("R")

ALERT = "alert"
AT_WORK = timedelta(seconds=60)
"""More than sending takes at most (`tasks.alerts.notify`): what is older was left by a process that was killed, which
another machine cannot know any sooner."""


def begin_alert(history: History, telling: Telling, decide: Callable[[Alert | None], R | None]) -> R | None:
    """Ask `decide` whether to tell, given what was told last or is being told now; if so, note that it is being told.

    Return what `decide` did. Raise HistoryError.
    """
    with history.writing() as connection:
        told = [*_alerts(connection, telling.target), *map(_as_if_told, _at_work(connection, telling))]
        reason = decide(max(told, key=lambda each: each.sent_at, default=None))
        if reason is not None:
            _note(connection, telling)
    return reason


def end_alert(history: History, telling: Telling, *, delivered: bool) -> None:
    """Keep how it ended. Raise HistoryError."""
    alert = _as_if_told(telling).model_copy(update={"delivered": delivered})
    with history.writing() as connection:
        _forget(connection, telling)
        connection.execute(insert(tables.alerts).values(alert.model_dump()))


def begin_failure(history: History, telling: Telling, is_news: Callable[[History], bool]) -> bool:
    """The same for a run that failed: False where just this is being told, or `is_news` says no. Raise HistoryError."""
    with history.writing() as connection:
        others = _at_work(connection, telling)
        if any(each.fingerprint == telling.fingerprint for each in others) or not is_news(history):
            return False
        _note(connection, telling)
    return True


def end_failure(history: History, telling: Telling, run: Run | None) -> None:
    """Keep that it was told, with the run where that has not put down its own end. Raise HistoryError."""
    with history.writing() as connection:
        _forget(connection, telling)
        if run is not None:
            connection.execute(insert(tables.runs).values(run.model_dump()))


def told_since(history: History, target: str, since: datetime) -> bool:
    """Whether anything critical was told of the target in the minute from then on, or is being told. Raise
    HistoryError."""
    probe = Telling(target=target, what=ALERT, fingerprint="", since=since)
    with history.reading() as connection:
        told = [*_alerts(connection, target), *map(_as_if_told, _at_work(connection, probe))]
    return any(each.verdict == "critical" and since <= each.sent_at < since + AT_WORK for each in told)


def _alerts(connection: Connection, target: str) -> list[Alert]:
    """The last alert of the target, if there is one: by its number, for a clock may have been set back since."""
    found = tables.alerts
    query = select(found).where(found.c.target == target).order_by(found.c.number.desc())
    return [Alert.model_validate(dict(row._mapping)) for row in connection.execute(query.limit(1))]


def _at_work(connection: Connection, telling: Telling) -> list[Telling]:
    """What others are telling of the target now, the newest last; a clock that was set back makes nothing new."""
    found = tables.being_told
    mine = (found.c.target == telling.target, found.c.what == telling.what)
    rows = connection.execute(select(found).where(*mine).order_by(found.c.since)).all()
    known = [Telling.model_validate(dict(row._mapping)) for row in rows]
    return [each for each in known if abs(telling.since - each.since) < AT_WORK and not has_ended(each.sender)]


def _note(connection: Connection, telling: Telling) -> None:
    """Put it down, in the place of what a killed process left."""
    found = tables.being_told.c
    at_work = [each.id for each in _at_work(connection, telling)]
    left = (found.target == telling.target, found.what == telling.what, found.id.not_in(at_work))
    connection.execute(delete(tables.being_told).where(*left))
    connection.execute(insert(tables.being_told).values(telling.model_dump()))


def _forget(connection: Connection, telling: Telling) -> None:
    connection.execute(delete(tables.being_told).where(tables.being_told.c.id == telling.id))


def _as_if_told(telling: Telling) -> Alert:
    """As long as nobody knows better, it will be delivered."""
    return Alert(
        target=telling.target,
        verdict=telling.verdict,
        fingerprint=telling.fingerprint,
        sent_at=telling.since,
        delivered=True,
    )
