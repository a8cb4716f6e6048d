"""Who tells what: of several processes that find the same at once, one; and nobody waits while it is being sent.

Whether something is to be told is decided, and noted, in one transaction that excludes all others. The sending itself,
which a destination may delay for half a minute, holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, delete, insert, select, update

from tasks.history import tables
from tasks.history.process import has_ended
from tasks.history.records import Alert, Run, Telling, ToldFailure
from tasks.history.store import History

R = TypeVar("R")

ALERT = "alert"
AT_WORK = timedelta(seconds=60)
"""More than sending takes at most (`tasks.alerts.notify`): what is older was left by a process that was killed, which
another machine cannot know any sooner."""


def begin_alert(
    history: History,
    telling: Telling,
    decide: Callable[[Alert | None], R | None],
    again: Callable[[R], bool] = lambda _: False,
) -> tuple[R, Telling] | None:
    """Ask `decide` whether to tell, given what was told last or is being told now; if so, note that it is being told.

    again: whether what `decide` said only sends the last alert to those it missed; then it stays that alert, and its
    cool-down goes on. Alerts are kept in the order in which they were decided, whenever their sending ends. Return what
    `decide` did, and what `end_alert` is to be given; None where it is not to be told. Raise HistoryError.
    """
    with history.writing() as connection:
        reason = decide(_last(connection, telling))
        if reason is None:
            return None
        last = _last_row(connection, telling.target) if again(reason) else None
        number = last.number if last else _insert(connection, telling)
        begun = telling.model_copy(update={"alert": number})
        _note(connection, begun)
    return reason, begun


def _insert(connection: Connection, telling: Telling) -> int | None:
    """Whoever is killed while sending leaves an alert that was not delivered: the next check tries again."""
    alert = Alert(
        **telling.model_dump(include={"target", "verdict", "fingerprint"}), sent_at=telling.since, delivered=False
    )
    added = connection.execute(insert(tables.alerts).values(alert.model_dump()))
    (number,) = added.inserted_primary_key or (None,)
    return number


def end_alert(history: History, begun: Telling, *, delivered: bool, missed: Sequence[str] = ()) -> None:
    """Keep how it ended. missed: whom it did not reach, where others were reached. Raise HistoryError."""
    found = tables.alerts
    with history.writing() as connection:
        _forget(connection, begun)
        connection.execute(
            update(found).where(found.c.number == begun.alert).values(delivered=delivered, missed=list(missed) or None)
        )


def begin_failure(
    history: History, telling: Telling, decide: Callable[[History, ToldFailure | None], R | None]
) -> R | None:
    """The same for a run that failed, given when just this was told last: None also where it is being told. Raise
    HistoryError."""
    with history.writing() as connection:
        others = _at_work(connection, telling)
        if any(each.fingerprint == telling.fingerprint for each in others):
            return None
        reason = decide(history, _told_failure(connection, telling))
        if reason is not None:
            _note(connection, telling)
    return reason


def end_failure(history: History, telling: Telling, run: Run | None, told: ToldFailure | None) -> None:
    """Keep what was told (None: nobody heard it), in the place of what was told before, and the run where that has not
    put down its own end. Raise HistoryError."""
    found = tables.failures_told
    with history.writing() as connection:
        _forget(connection, telling)
        if run is not None:
            connection.execute(insert(tables.runs).values(run.model_dump()))
        if told is not None:
            same = (found.c.target == told.target, found.c.what == told.what, found.c.fingerprint == told.fingerprint)
            connection.execute(delete(found).where(*same))
            connection.execute(insert(found).values(told.model_dump()))


def _told_failure(connection: Connection, telling: Telling) -> ToldFailure | None:
    found = tables.failures_told
    same = (found.c.target == telling.target, found.c.what == telling.what, found.c.fingerprint == telling.fingerprint)
    columns = [each for each in found.c if each.name != "number"]
    row = connection.execute(select(*columns).where(*same).order_by(found.c.number.desc()).limit(1)).first()
    return ToldFailure.model_validate(dict(row._mapping)) if row else None


def told_since(history: History, target: str, since: datetime) -> bool:
    """Whether something critical was told of the target last, or is being told, and was decided in the minute from then
    on. Raise HistoryError."""
    probe = Telling(target=target, what=ALERT, fingerprint="", since=since)
    with history.reading() as connection:
        last, begun = _last_row(connection, target), _begun(connection, probe)
    if last is None or last.verdict != "critical" or not since <= last.sent_at < since + AT_WORK:
        return False
    return last.number not in [each.alert for each in begun if not _is_at_work(each, since)]


def _last(connection: Connection, telling: Telling) -> Alert | None:
    """The last alert of the target; as long as it is being told, it will be delivered."""
    row = _last_row(connection, telling.target)
    if row is None:
        return None
    alert = Alert.model_validate(dict(row._mapping))
    at_work = row.number in [each.alert for each in _at_work(connection, telling)]
    return alert.model_copy(update={"delivered": True}) if at_work else alert


def _last_row(connection: Connection, target: str) -> Row[Any] | None:
    """By its number, for a clock may have been set back since."""
    found = tables.alerts
    query = select(found).where(found.c.target == target).order_by(found.c.number.desc())
    return connection.execute(query.limit(1)).first()


def _at_work(connection: Connection, telling: Telling) -> list[Telling]:
    """What others are telling of the target now."""
    return [each for each in _begun(connection, telling) if _is_at_work(each, telling.since)]


def _begun(connection: Connection, telling: Telling) -> list[Telling]:
    """What others began to tell of the target, and did not end."""
    found = tables.being_told
    rows = connection.execute(select(found).where(found.c.target == telling.target, found.c.what == telling.what)).all()
    return [Telling.model_validate(dict(row._mapping)) for row in rows]


def _is_at_work(begun: Telling, now: datetime) -> bool:
    """A clock that was set back makes nothing new."""
    return abs(now - begun.since) < AT_WORK and not has_ended(begun.sender)


def _note(connection: Connection, telling: Telling) -> None:
    """Put it down, in the place of what a killed process left."""
    found = tables.being_told.c
    at_work = [each.id for each in _at_work(connection, telling)]
    left = (found.target == telling.target, found.what == telling.what, found.id.not_in(at_work))
    connection.execute(delete(tables.being_told).where(*left))
    connection.execute(insert(tables.being_told).values(telling.model_dump()))


def _forget(connection: Connection, telling: Telling) -> None:
    connection.execute(delete(tables.being_told).where(tables.being_told.c.id == telling.id))
