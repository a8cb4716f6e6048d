"""Opening the history database: SQLite by default, PostgreSQL by URL; every failure in one sentence."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from tasks.errors import HistoryError
from tasks.history.tables import SCHEMA_VERSION, metadata, version

# Any number: only the Rollcalls that write to the same database must agree on it.
_WRITE_LOCK = 7_201_514

_SQLITE_IN_WORDS = (
    ("locked", "another process keeps it locked; try again, or end the one that hangs"),
    ("busy", "another process keeps it locked; try again, or end the one that hangs"),
    ("readonly", "it is read-only; give this user the right to write to the file and its folder"),
    (
        "not a database",
        "the file is damaged or no SQLite database; move it away, then rebuild the history from the backups",
    ),
    ("malformed", "the file is damaged; move it away, then rebuild the history from the backups"),
    ("unable to open", "the file cannot be opened; check the path and the rights on its folder"),
    ("disk is full", "the disk is full; make room"),
    (
        "disk I/O error",
        "the disk failed to read or write it; see whether it is full, and check the rights on its folder",
    ),
)


def open_engine(url: str, busy_seconds: float) -> Engine:
    """A connected engine whose tables exist. Raise HistoryError; the URL's password is never in it."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _make_private(parsed)
    with speaking_plainly(parsed):
        try:
            engine = create_engine(parsed, **_options(parsed, busy_seconds))
        except ModuleNotFoundError as error:
            raise HistoryError(
                f"The history at {told(parsed)} needs the Python package {error.name}; install it, or use "
                "sqlite:/// or postgresql+psycopg://."
            ) from error
        _listen(engine, busy_seconds)
        try:
            _set_up(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine


def told(url: URL) -> str:
    """Where the history is, without anything secret: no password, and no query, which may hold one."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    port = f":{url.port}" if url.port else ""
    return f"{url.drivername}://{url.host or ''}{port}/{url.database or ''}"


@contextmanager
def speaking_plainly(url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy raises into HistoryError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise HistoryError(f"The history at {told(url)} cannot be used: {_reason(url, error)}.") from error


def _reason(url: URL, error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    message = str(cause).strip() or type(cause).__name__
    if url.get_backend_name() == "sqlite":
        for words, reason in _SQLITE_IN_WORDS:
            if words in message:
                return reason
    for secret in (url.password, *(value for value in url.query.values() if isinstance(value, str))):
        if secret:
            message = message.replace(str(secret), "***")
    return message.splitlines()[0].rstrip(".")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except ModuleNotFoundError:
        return parsed
    except (ArgumentError, ValueError, SQLAlchemyError) as error:
        raise HistoryError(
            "The history's URL is none that can be used; write sqlite:///PATH or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        ) from error
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _options(url: URL, busy_seconds: float) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": busy_seconds}}
    if url.drivername == "postgresql+psycopg":
        # A server that is gone must be told from one that is slow: the default waits for minutes.
        seconds = max(2, int(busy_seconds))
        patience = {"connect_timeout": seconds, "options": f"-c lock_timeout={seconds}s"}
        return {
            "pool_pre_ping": True,
            "connect_args": {key: value for key, value in patience.items() if key not in url.query},
        }
    return {"pool_pre_ping": True}


def _make_private(url: URL) -> None:
    """Create the file and its folder so that only this user can read them: counts tell much about a
    business."""
    path = url.database
    if not path or path == ":memory:" or path.startswith("file:"):
        return
    try:
        folder = Path(path).absolute().parent
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        # The write-ahead log and its index take over the rights of the file.
        if not Path(path).exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except PermissionError as error:
        raise HistoryError(
            f"The history at {path} cannot be used: its folder allows no writing; give this user the right "
            "to write to the file and its folder."
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HistoryError(f"The history at {path} cannot be opened: {reason}; check the path.") from error


def _listen(engine: Engine, busy_seconds: float) -> None:
    """One writer at a time, waiting its turn from the start, and readers beside it."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _begin_postgresql)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", functools.partial(_configure_sqlite, busy_seconds))
        event.listen(engine, "begin", _begin_sqlite)


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _configure_sqlite(busy_seconds: float, connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late: a reader that becomes a writer fails without waiting.
    connection.isolation_level = None
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA foreign_keys=ON")
            _patient(busy_seconds)(cursor.execute, "PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        # A read-only file can still be read.
        if "readonly" not in str(error):
            connection.close()
            raise


def _patient(busy_seconds: float) -> Retrying:
    """Tries again while the file is locked: two that open a new history at once both want to change its journal, and
    SQLite fails one of them at once, whatever its busy timeout (SQLite documentation, sqlite3_busy_handler)."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, sqlite3.Error) and "locked" in str(error)),
        stop=stop_after_delay(busy_seconds),
        wait=wait_random(0.005, 0.05),
        reraise=True,
    )


def _set_up(engine: Engine) -> None:
    """Create what is missing, once, whoever comes first; refuse what a newer Rollcall wrote."""
    with engine.connect() as connection:
        known = _version(connection)
    if known is None or known < SCHEMA_VERSION:
        with engine.execution_options(writes=True).begin() as connection:
            known = _upgrade(connection)
    if known > SCHEMA_VERSION:
        raise HistoryError(
            f"The history at {told(engine.url)} was written by a newer Rollcall (schema {known}, this one "
            f"knows {SCHEMA_VERSION}); upgrade Rollcall."
        )


def _upgrade(connection: Connection) -> int:
    """Create the tables, columns and indexes that are not there: so far, no version has changed one, and every column
    that was added may be empty. Return the version it is then."""
    metadata.create_all(connection)
    known = _version(connection)
    if known is not None and known < SCHEMA_VERSION:
        _add_to_tables(connection)
    if known is None:
        connection.execute(insert(version).values(version=SCHEMA_VERSION))
    elif known < SCHEMA_VERSION:
        connection.execute(update(version).values(version=SCHEMA_VERSION))
    return max(known or 0, SCHEMA_VERSION)


def _add_to_tables(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        there = {each["name"] for each in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _version(connection: Connection) -> int | None:
    if not connection.dialect.has_table(connection, version.name):
        return None
    found: int | None = connection.execute(select(version.c.version)).scalar()
    return found
