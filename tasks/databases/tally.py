"""The tally: exact counts of everything a database holds, read in one snapshot that a dump can share.

A snapshot alone does not do: TRUNCATE and most DDL ignore it. So every table is locked first (ACCESS SHARE,
which stops nobody from reading or writing), and only then is the snapshot taken: neither SET nor LOCK takes
one in a REPEATABLE READ transaction, the first statement after them does (PostgreSQL documentation, LOCK). No
DDL is held up for longer than it would be by pg_dump, which takes the same locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from psycopg import errors as pg
from psycopg import sql

from tasks.databases import catalog, reprint, schema
from tasks.databases.catalog import MATERIALIZED_VIEW, PARTITIONED, SEQUENCE, TABLE, Relation
from tasks.databases.connect import Connection, Login, abandon, connect, translated, within
from tasks.databases.rows import Progress, count_rows
from tasks.errors import DatabaseError, RowsHidden, TablesLocked
from tasks.models import SequencePosition, Tally

Item = TypeVar("Item")

ATTEMPTS = 10
DEADLINE = 6 * 3600.0
LOCKED_AT_ONCE = 500
READ_AT_ONCE = 200

CHANGED_MEANWHILE = (
    pg.UndefinedTable,
    pg.InvalidSchemaName,
    pg.WrongObjectType,
    pg.ObjectNotInPrerequisiteState,
)


class _Moved(Exception):
    """Tables came, went or were renamed between listing and locking them."""


@dataclass(frozen=True)
class Frozen:
    """One database at one instant, for as long as `frozen` is open.

    snapshot: to be given to `pg_dump --snapshot`; backend_pid: of the session that holds it.
    """

    login: Login
    connection: Connection
    snapshot: str
    backend_pid: int
    relations: Sequence[Relation]

    def tally(self, progress: Progress | None = None) -> Tally:
        """Count everything. `progress` hears (tables done, tables in all, name of the one just counted).

        Sequences and materialised views do not keep to snapshots: a sequence stands where it stood then or
        later, a view that is refreshed meanwhile has its new rows. Raise RowsHidden, TablesLocked,
        DatabaseUnreachable or DatabaseError.
        """
        with translated(f"the tally of {self.login}"), _changing_is_locking(self.login):
            counted = self._counted(progress)
            sequences = self._sequences(self.relations)
            large_objects = self._number("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata")
            definitions = [(name, schema.settled(text)) for name, text in self._definitions()]
            objects = schema.hashed(definitions)
            undumped = catalog.of_extensions(self.connection)
            own_tables = [each for each in undumped if each.kind == TABLE]
            own_rows = self._readable(own_tables)
            own_sequences = self._sequences([each for each in undumped if each.readable])
        return Tally(
            counts=_counts(self.relations, counted),
            materialized_views=_view_counts(self.relations, counted),
            sequences=sequences,
            large_objects=large_objects,
            schema_fingerprint=schema.fingerprint(objects),
            schema_objects=objects,
            definitions=reprint.texts(definitions),
            not_dumped=[each.name for each in own_tables if own_rows.get(each.oid) != 0],
            extension_rows={each.name: own_rows[each.oid] for each in own_tables if own_rows.get(each.oid)},
            extension_sequences=own_sequences,
        )

    def abandon(self) -> None:
        """End whatever another thread waits for here."""
        abandon(self.connection)

    def _counted(self, progress: Progress | None) -> dict[int, int]:
        return count_rows(self.connection, [each for each in self.relations if _is_counted(each)], progress)

    def _sequences(self, relations: Sequence[Relation]) -> dict[str, SequencePosition]:
        found: dict[str, SequencePosition] = {}
        for batch in _batches([each for each in relations if each.kind == SEQUENCE], READ_AT_ONCE):
            with self.connection.transaction(force_rollback=True):
                for name, last_value, is_called in self.connection.execute(_positions_query(batch)):
                    found[name] = SequencePosition(last_value=last_value, is_called=is_called)
        return found

    def _readable(self, relations: Sequence[Relation]) -> dict[int, int]:
        """Rows of the extensions' tables that may be read. They were not locked beforehand: one that somebody else has
        locked for long means to try again."""
        try:
            return count_rows(self.connection, [each for each in relations if each.readable and not each.filtered])
        except pg.LockNotAvailable as error:
            raise TablesLocked(_still_changing(self.login, "an extension's table is locked")) from error

    def _definitions(self) -> Iterator[tuple[str, str]]:
        for name, definition in catalog.definitions(self.connection):
            if definition is None:
                raise TablesLocked(_still_changing(self.login, f"{name} was dropped while it was read"))
            yield name, definition

    def _number(self, query: sql.Composed | str) -> int:
        row = self.connection.execute(query if isinstance(query, sql.Composed) else query.encode()).fetchone()
        if row is None:
            raise DatabaseError(f"A count in {self.login} gave no row; look at the server's log.")
        return int(row[0])


@contextmanager
def frozen(login: Login, *, lock_wait: float, deadline: float = DEADLINE) -> Iterator[Frozen]:
    """Hold one database still: a read-only snapshot with every table locked against TRUNCATE and DDL.

    lock_wait is in seconds, for each lock; after deadline (seconds) the connection is cut, whatever it waits for.
    The transaction ends with the context. Raise DatabaseError after the deadline, TablesLocked where a
    lock is not given in time or tables keep coming and going, RowsHidden where rows could not be seen, and
    what `connect` raises.
    """
    with connect(login) as connection:
        late = DatabaseError(
            f"Reading {login} was not done in {deadline:g} s and was ended; see whether the server hangs, or give it "
            "more time (`check_deadline` for a check, else `deadline`)."
        )
        try:
            with within(connection, deadline, late):
                yield _hold(connection, login, lock_wait)
        finally:
            connection.close()


def _hold(connection: Connection, login: Login, lock_wait: float) -> Frozen:
    with translated(f"holding {login} still"):
        for _ in range(ATTEMPTS):
            try:
                return _attempt(connection, login, lock_wait)
            except (*CHANGED_MEANWHILE, _Moved):
                connection.execute("ROLLBACK")
            except pg.LockNotAvailable as error:
                connection.execute("ROLLBACK")
                raise TablesLocked(_who_locks(connection, login, lock_wait)) from error
    raise TablesLocked(_still_changing(login, f"tables came or went during each of {ATTEMPTS} attempts to lock them"))


def _attempt(connection: Connection, login: Login, lock_wait: float) -> Frozen:
    listed = catalog.relations(connection)
    _refuse_hidden(listed, login)
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute("SET LOCAL row_security = off")
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(max(1, round(lock_wait * 1000))))
    for batch in _batches([each for each in listed if each.kind in {TABLE, PARTITIONED}], LOCKED_AT_ONCE):
        connection.execute(_lock_query(batch))
    row = connection.execute("SELECT pg_export_snapshot(), pg_backend_pid()").fetchone()
    seen = catalog.relations(connection)
    if row is None or not _tables(seen) <= _locked(connection):
        raise _Moved
    _refuse_hidden(seen, login)
    return Frozen(login, connection, snapshot=row[0], backend_pid=row[1], relations=seen)


def _tables(listed: Iterable[Relation]) -> set[int]:
    return {each.oid for each in listed if each.kind in {TABLE, PARTITIONED}}


def _locked(connection: Connection) -> set[int]:
    """The relations that this session has locked.

    LOCK goes by name, and takes the table that bears the name once the lock is given: where a table was dropped and
    created anew since the listing, the new one is locked, and that is as good.
    """
    return {oid for (oid,) in connection.execute(OWN_LOCKS)}


def _refuse_hidden(listed: Iterable[Relation], login: Login) -> None:
    """Say which tables before the server refuses the first of them."""
    unreadable = [each.name for each in listed if not each.readable]
    if unreadable:
        raise RowsHidden(
            f"The role {login.user!r} may not read {_some(unreadable)} in {login}: grant it USAGE on the "
            f"schema and SELECT on the table, GRANT pg_read_all_data TO {login.role}, "
            "or use a superuser as `user`."
        )
    filtered = [each.name for each in listed if each.filtered]
    if filtered:
        raise RowsHidden(
            f"Row-level security would hide rows of {_some(filtered)} from {login.user!r} in {login}: "
            f"ALTER ROLE {login.role} BYPASSRLS, or use a superuser as `user`."
        )


def _lock_query(tables: Sequence[Relation]) -> sql.Composed:
    names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(table.identifier) for table in tables)
    return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names)


def _is_counted(relation: Relation) -> bool:
    return relation.kind == TABLE or (relation.kind == MATERIALIZED_VIEW and relation.populated)


def _positions_query(sequences: Sequence[Relation]) -> sql.Composed:
    one = sql.SQL("SELECT {}, last_value, is_called FROM {}")
    return sql.SQL(" UNION ALL ").join(one.format(sql.Literal(each.name), each.identifier) for each in sequences)


def _counts(relations: Iterable[Relation], counted: dict[int, int]) -> dict[str, int]:
    """Rows by table; a partitioned table has those of all its leaves, and is listed without any, too."""
    rows: Counter[str] = Counter()
    for relation in relations:
        if relation.kind in {TABLE, PARTITIONED}:
            rows[relation.root] += counted.get(relation.oid, 0)
    return dict(sorted(rows.items()))


def _view_counts(relations: Iterable[Relation], counted: dict[int, int]) -> dict[str, int | None]:
    return {each.name: counted.get(each.oid) for each in relations if each.kind == MATERIALIZED_VIEW}


@contextmanager
def _changing_is_locking(login: Login) -> Iterator[None]:
    """What is not locked (sequences, views, functions) may be dropped at any time; trying again helps."""
    try:
        yield
    except (*CHANGED_MEANWHILE, pg.InternalError_) as error:
        raise TablesLocked(_still_changing(login, error.diag.message_primary or "something was dropped")) from error


OWN_LOCKS = """
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND pid = pg_backend_pid() AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# A prepared transaction has no session: by its lock on its own id it is known.
WHO_LOCKS = """
    SELECT l.relation::regclass::text, l.pid, x.gid FROM pg_locks AS l
    LEFT JOIN pg_locks AS own ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
        AND own.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS x ON x.transaction = own.transactionid
    WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.relation >= 16384
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY l.relation LIMIT 1
"""


def _who_locks(connection: Connection, login: Login, lock_wait: float) -> str:
    row = connection.execute(WHO_LOCKS).fetchone()
    if row and row[2] is not None:
        return (
            f"The prepared transaction {row[2]!r} has locked {row[0]} in {login}, and keeps it locked until somebody "
            "runs COMMIT PREPARED or ROLLBACK PREPARED with that name."
        )
    who = f"The session with pid {row[1]} has locked {row[0]}" if row else "Another session had locked a table"
    return f"{who} in {login} for longer than {lock_wait:g} s; wait for its end, end it, or raise `lock_wait`."


def _still_changing(login: Login, what: str) -> str:
    return f"The schema of {login} kept changing ({what}); back up when no migration runs."


def _some(names: Sequence[str], at_most: int = 5) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
