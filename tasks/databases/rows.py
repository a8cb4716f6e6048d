"""How many rows a relation holds, whatever else belongs to it.

PostgreSQL plans even `SELECT count(*)`, and for that reads the table's index expressions, index predicates and extended
statistics. SQL functions in them are inlined, and constants are computed. Such a function may name things without a
schema, so it needs a search path; or it may fail with every one. So there are several ways to count; the last, COPY,
plans nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg
from psycopg import sql

from tasks.databases.catalog import MATERIALIZED_VIEW, Relation
from tasks.databases.connect import Connection

Progress = Callable[[int, int, str], None]

COUNTED_AT_ONCE = 100

# SQLSTATE classes that say nothing about the statement: connection, rollback, resources, other sessions, operator.
NOT_THE_STATEMENT = ("08", "40", "53", "55", "57")

# The path that the database and the role give to a session.
OWN_PATH = "SET LOCAL search_path TO DEFAULT"
# And after it every other schema.
WIDE_PATH = r"""
    SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ',
        nullif(pg_catalog.current_setting('search_path'), ''),
        (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(nspname), ', ' ORDER BY nspname)
         FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\_%')), true)
"""

# A column of fixed length needs no detoasting. COPY refuses to name a generated one.
NARROWEST = """
    SELECT attname, pg_catalog.current_setting('server_encoding') FROM pg_catalog.pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ORDER BY attlen <= 0, attnum LIMIT 1
"""


def count_rows(
    connection: Connection, relations: Sequence[Relation], progress: Progress | None = None
) -> dict[int, int]:
    """Exact rows by oid, of tables and populated materialised views; of a table without its children.

    A materialised view that no statement can read is left out. Needs an open transaction; gives back after each batch
    the locks that a count takes on indexes. Raise psycopg.Error.
    """
    found: dict[int, int] = {}
    for start in range(0, len(relations), COUNTED_AT_ONCE):
        batch = relations[start : start + COUNTED_AT_ONCE]
        for done, (relation, rows) in enumerate(_batch(connection, batch), start + 1):
            if rows is not None:
                found[relation.oid] = rows
            if progress is not None:
                progress(done, len(relations), relation.name)
    return found


def _batch(connection: Connection, batch: Sequence[Relation]) -> Iterator[tuple[Relation, int | None]]:
    """All in one go, and what is left when one of them fails each by itself."""
    done = 0
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(OWN_PATH)
            for relation in batch:
                rows = _counted(connection, relation)
                done += 1
                yield relation, rows
    except psycopg.Error as error:
        if not _is_the_statement(error):
            raise
    for relation in batch[done:]:
        yield relation, _alone(connection, relation)


def _alone(connection: Connection, relation: Relation) -> int | None:
    """One relation, in every way until one works; None for a view that has none. Raise the last way's error."""
    ways = (_with_own_path, _with_wide_path, _copied)
    for way in ways:
        try:
            with connection.transaction(force_rollback=True):
                return way(connection, relation)
        except psycopg.Error as error:
            last = error
            if not _is_the_statement(error):
                raise
    if relation.kind == MATERIALIZED_VIEW and not _is_dropped(connection, relation):
        return None
    raise last


def _is_the_statement(error: psycopg.Error) -> bool:
    return error.sqlstate is not None and not error.sqlstate.startswith(NOT_THE_STATEMENT)


def _with_own_path(connection: Connection, relation: Relation) -> int:
    connection.execute(OWN_PATH)
    return _counted(connection, relation)


def _with_wide_path(connection: Connection, relation: Relation) -> int:
    connection.execute(OWN_PATH)
    connection.execute(WIDE_PATH)
    return _counted(connection, relation)


def _counted(connection: Connection, relation: Relation) -> int:
    """ONLY: the rows of children and partitions are counted with these themselves."""
    only = sql.SQL("" if relation.kind == MATERIALIZED_VIEW else "ONLY ")
    query = sql.SQL("SELECT pg_catalog.count(*) FROM {}{}").format(only, relation.identifier)
    (rows,) = connection.execute(query).fetchone() or (0,)
    return int(rows)


def _copied(connection: Connection, relation: Relation) -> int:
    """The rows as COPY gives them, which is without the children's, a line each: line breaks in values are escaped."""
    column, encoding = connection.execute(NARROWEST, [relation.oid]).fetchone() or (None, "UTF8")
    columns = sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL("")
    query = sql.SQL("COPY {}{} TO STDOUT (ENCODING {})").format(relation.identifier, columns, sql.Literal(encoding))
    with connection.cursor() as cursor, cursor.copy(query) as lines:
        return sum(bytes(each).count(b"\n") for each in lines)


def _is_dropped(connection: Connection, relation: Relation) -> bool:
    query = "SELECT pg_catalog.has_table_privilege(%s::pg_catalog.oid, 'SELECT') IS NULL"
    (dropped,) = connection.execute(query, [relation.oid]).fetchone() or (True,)
    return bool(dropped)
