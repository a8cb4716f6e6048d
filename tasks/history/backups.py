"""What the history remembers of stored backups: how large, how long they took, when they were proven.

It is a picture of the storages as they were seen last, for whoever must not ask them: the status API. What is backed
up, restored or rotated is decided by the storages themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from tasks.history import tables
from tasks.history.records import CLOCK_TOLERANCE, StoredBackup
from tasks.history.store import History

_OLDEST_FIRST = (tables.backups.c.created_at, tables.backups.c.id)


def remember_stored(history: History, target: str, found: Sequence[StoredBackup], *, complete: bool) -> None:
    """Make `found` what is known of the target's backups. Nothing is written where nothing has changed.

    complete: every storage was asked, so a backup that is not in `found` is gone. Otherwise what a storage that did
    not answer is known to hold stays known. Raise HistoryError.
    """
    before = {each.id: each for each in stored_backups(history, target)}
    after = {each.id: each for each in found}
    if not complete:
        after = before | {each.id: _joined(before.get(each.id), each) for each in found}
    if before == after:
        return
    with history.writing() as connection:
        connection.execute(delete(tables.backups).where(tables.backups.c.target == target))
        if after:
            connection.execute(insert(tables.backups), [each.model_dump() for each in after.values()])


def _joined(before: StoredBackup | None, now: StoredBackup) -> StoredBackup:
    """What is seen now, and what was seen before in a storage that did not answer now."""
    if before is None:
        return now
    proofs = [each.proven_at for each in (before, now) if each.proven_at is not None]
    return now.model_copy(update={"stored": before.stored | now.stored, "proven_at": max(proofs, default=None)})


def remember_proof(history: History, target: str, backup_id: str, proven_at: datetime) -> None:
    """Note that a drill has proven a backup; one that is not known will be by the next look at the storages."""
    found = tables.backups.c
    with history.writing() as connection:
        proven = update(tables.backups).where(found.target == target, found.id == backup_id)
        connection.execute(proven.values(proven_at=proven_at))


def stored_backups(history: History, target: str) -> list[StoredBackup]:
    """The backups that the target's storages held when they were looked at last, oldest first. Raise HistoryError."""
    query = select(tables.backups).where(tables.backups.c.target == target)
    with history.reading() as connection:
        return _records(connection, query.order_by(*_OLDEST_FIRST))


def newest_good_of(history: History, target: str, now: datetime) -> StoredBackup | None:
    """The target's newest backup that is not quarantined, as far as it is known. Raise HistoryError."""
    with history.reading() as connection:
        return newest_good(connection, now).get(target)


def newest_good(connection: Connection, now: datetime) -> dict[str, StoredBackup]:
    """Of every target, the newest backup that is not quarantined; one that is dated in the future is none: until then
    it would hide that there is no newer one."""
    found = tables.backups.c
    newest = (
        select(found.target, func.max(found.created_at).label("at"))
        .where(~found.quarantined, found.created_at <= now + CLOCK_TOLERANCE)
        .group_by(found.target)
        .subquery()
    )
    same = (found.target == newest.c.target) & (found.created_at == newest.c.at) & ~found.quarantined
    query = select(tables.backups).join(newest, same).order_by(*_OLDEST_FIRST)
    return {each.target: each for each in _records(connection, query)}


def last_proofs(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Of every target, when a drill last proved a backup that is still there and not quarantined; not in the future."""
    found = tables.backups.c
    proven = ~found.quarantined & (found.proven_at <= now + CLOCK_TOLERANCE)
    query = select(found.target, func.max(found.proven_at).label("at")).where(proven).group_by(found.target)
    return {row.target: row.at for row in connection.execute(query)}


def _records(connection: Connection, query: Select[Any]) -> list[StoredBackup]:
    return [StoredBackup.model_validate(dict(row._mapping)) for row in connection.execute(query)]
