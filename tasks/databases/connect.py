"""Connections to PostgreSQL, and psycopg's errors in Rollcall's words.

Every session gets the same settings, so that what it reads does not depend on the server's, the database's or
the role's own ones: no time-outs, ISO dates in UTC, an empty search path (every name that PostgreSQL prints
is qualified). The search path is set after the start, so that RESET gives the one that any other session has.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from tasks.errors import DatabaseError, DatabaseUnreachable, DumpFailed, LoginRefused, RowsHidden, TablesLocked

# It warns, in three lines, of a rollback on a connection that is lost; the error that follows says so in one.
logging.getLogger("psycopg").setLevel(logging.ERROR)

Connection = psycopg.Connection[TupleRow]

SESSION_SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": r"read\ committed",
}

# The time-outs are not known to every supported server, and a start-up option that the server does not know ends the
# connection.
AFTER_THE_START = """
    SELECT pg_catalog.set_config('search_path', '', false);
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('transaction_timeout', 'idle_session_timeout')
"""

# A server that is gone is noticed after 10 + 3 * 5 seconds of silence, or 30 seconds with data not
# acknowledged.
LIVENESS: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True)
class Login:
    """Where a database is and who asks. Its text never shows the password; None lets libpq search for one.

    settings: what a session of it has whatever was set for its database or role.
    """

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def to(self, database: str) -> Login:
        """The same login to another database of the cluster."""
        return replace(self, database=database)

    @property
    def role(self) -> str:
        """The user as it is written in SQL."""
        return quoted(self.user)

    def __str__(self) -> str:
        return f"database {self.database!r} at {self.host}:{self.port} as {self.user!r}"


def quoted(name: str) -> str:
    """A name as it is written in SQL, whatever it holds."""
    return sql.Identifier(name).as_string()


def connect(
    login: Login,
    *,
    application_name: str = "rollcall",
    timeout: float = 10,
    settings: Mapping[str, str] = SESSION_SETTINGS,
) -> Connection:
    """An open connection in autocommit mode; close it, or use it as a context manager.

    timeout is in seconds, of making the connection. Raise LoginRefused for a wrong password, missing role or
    missing database, DatabaseUnreachable where no server answers or it takes no connections now.
    """
    with translated(str(login), login=login):
        connection = psycopg.connect(
            host=login.host,
            port=login.port,
            user=login.user,
            password=login.password,
            dbname=login.database,
            application_name=application_name,
            connect_timeout=max(2, round(timeout)),
            client_encoding="UTF8",
            options=" ".join(f"-c {name}={value}" for name, value in {**settings, **login.settings}.items()),
            autocommit=True,
            prepare_threshold=None,
            **LIVENESS,
        )
        try:
            with within(connection, timeout, _no_answer(login, timeout)):
                connection.execute(AFTER_THE_START)
        except BaseException:
            connection.close()
            raise
    return connection


def _no_answer(login: Login, seconds: float) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"The server of {login} took the connection and gave no answer in {seconds:g} s.")


@contextmanager
def within(connection: Connection, seconds: float, failed: DatabaseError) -> Iterator[None]:
    """Cut the connection when `seconds` have passed, whatever it waits for: a server that is paused, or hangs, still
    keeps its connections alive. Raise `failed` then."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        abandon(connection)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (psycopg.Error, DatabaseError) as error:
        if late.is_set() and not isinstance(error, DumpFailed):
            raise failed from error
        raise
    finally:
        timer.cancel()


def abandon(connection: Connection) -> None:
    """Ask the server to cancel, then cut the line: a network that has gone silent must not keep a run from ending."""
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=3)
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def translated(where: str, *, login: Login | None = None) -> Iterator[None]:
    """Turn psycopg's errors into those of tasks.errors; `where` begins the sentence.

    Raise DatabaseUnreachable and TablesLocked (both transient), LoginRefused, RowsHidden, or DatabaseError.
    """
    try:
        yield
    except psycopg.Error as error:
        raise in_our_words(error, where, login) from error


def in_our_words(error: psycopg.Error, where: str, login: Login | None = None) -> DatabaseError:
    """The error of tasks.errors that says the same as psycopg's."""
    where = where[0].upper() + where[1:]
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return _connection_error(error, where, login)
    return _statement_error(error, where)


# libpq gives no SQLSTATE for a connection that was never made: only the text is left to tell the cases apart.
REFUSALS: list[tuple[str, Callable[[Login], str]]] = [
    (
        # PgBouncer takes none of a session's settings (its documentation, ignore_startup_parameters), and says so.
        r"unsupported startup parameter|pgbouncer|odyssey|pgcat",
        lambda login: (
            "what answers there is a pooler, which passes no session's settings on; let `host` and `port` lead to the "
            "PostgreSQL server itself"
        ),
    ),
    (
        r'role ".*" does not exist',
        lambda login: f"the role {login.user!r} does not exist there; create it, or correct `user`",
    ),
    (
        r'database ".*" does not exist',
        lambda login: f"the database {login.database!r} does not exist there; correct `database`",
    ),
    (
        r"is not permitted to log in",
        lambda login: f"the role {login.user!r} may not log in; ALTER ROLE {login.role} LOGIN, or use another `user`",
    ),
    (
        r"permission denied for database",
        lambda login: (
            f"the role {login.user!r} may not connect to it; GRANT CONNECT ON DATABASE {quoted(login.database)} TO "
            f"{login.role}"
        ),
    ),
    (
        r"not currently accepting connections",
        lambda login: (
            f"the database {login.database!r} allows no connections; ALTER DATABASE {quoted(login.database)} "
            "ALLOW_CONNECTIONS true"
        ),
    ),
    (
        r"pg_hba\.conf",
        lambda login: f"pg_hba.conf does not let {login.user!r} in from here; add a line for it and reload the server",
    ),
    (
        r"no password supplied",
        lambda login: f"the server asks {login.user!r} for a password and none is configured; set `password`",
    ),
    (
        r"authentication failed",
        lambda login: (
            f"the password for {login.user!r} is wrong, or there is no such role (PostgreSQL tells no more); "
            "correct `password` or `user`"
        ),
    ),
]


def _connection_error(error: psycopg.OperationalError, where: str, login: Login | None) -> DatabaseError:
    said = _one_line(str(error))
    if login is not None:
        for pattern, reason in REFUSALS:
            if re.search(pattern, said):
                return LoginRefused(f"{where} refused the login: {reason(login)}.")
    return DatabaseUnreachable(
        f"{where} does not answer, or takes no connections now ({said}); see that the server runs and is reachable."
    )


def _statement_error(error: psycopg.Error, where: str) -> DatabaseError:
    said = _one_line(error.diag.message_primary or str(error) or type(error).__name__)
    state = error.sqlstate or ""
    if state.startswith("08") or isinstance(error, GONE):
        return DatabaseUnreachable(f"{where}: the server ended or refused the connection ({said}); see its log.")
    if isinstance(error, LOCKED):
        return TablesLocked(f"{where}: another session is in the way ({said}); wait for its end, or end it.")
    if isinstance(error, pg.InsufficientPrivilege):
        return RowsHidden(
            f"{where}: not everything can be read ({said}); use a superuser or the tables' owner as `user`, "
            "or grant pg_read_all_data, and BYPASSRLS where tables have row-level security policies."
        )
    if isinstance(error, pg.OutOfMemory) and "memory" in said:
        return DatabaseError(
            f"{where}: {said}; with very many tables raise max_locks_per_transaction and restart the server."
        )
    return DatabaseError(f"{where}: {said} (SQLSTATE {state or 'unknown'}).")


GONE = (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow, pg.TooManyConnections, pg.DatabaseDropped)
LOCKED = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)


def _one_line(text: str) -> str:
    return " ".join(text.split())
