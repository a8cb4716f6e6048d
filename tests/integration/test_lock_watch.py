"""The watch sees a dump that waits for a session that waits for us, and sees nothing where nothing waits."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tasks.databases.connect import Login
from tasks.databases.lock_watch import lock_watch
from tasks.errors import TablesLocked

WAITER = "rollcall test-dump"


@pytest.fixture
def login(postgres17: Any, fresh_database: Any) -> Login:
    server = fresh_database(postgres17)
    with server.connect() as connection:
        connection.execute("CREATE TABLE held (id int)")
    return Login(server.host, server.port, server.user, server.password, server.database)


def session(login: Login, name: str) -> psycopg.Connection:
    return psycopg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        dbname=login.database,
        application_name=name,
    )


def test_a_dump_that_waits_behind_ddl_that_waits_for_us_is_stopped(login: Login) -> None:
    told: list[TablesLocked] = []
    heard = threading.Event()
    with session(login, "holder") as holder, session(login, "ddl") as ddl, session(login, WAITER) as waiter:
        holder.execute("LOCK TABLE held IN ACCESS SHARE MODE")

        def stuck(reason: TablesLocked) -> None:
            told.append(reason)
            waiter.cancel_safe()
            ddl.cancel_safe()
            heard.set()

        def fail(connection: psycopg.Connection, statement: str) -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(statement)

        altering = threading.Thread(target=fail, args=(ddl, "ALTER TABLE held ADD COLUMN more int"))
        with lock_watch(login, WAITER, holder.info.backend_pid, stuck, every=0.1):
            altering.start()
            while not blocked(login, "ddl"):
                pass
            dumping = threading.Thread(target=fail, args=(waiter, "SELECT count(*) FROM held"))
            dumping.start()
            assert heard.wait(120)
        altering.join(120)
        dumping.join(120)
        for each in (ddl, waiter):
            each.rollback()
    assert len(told) == 1
    assert "waits for tables" in str(told[0])


def blocked(login: Login, name: str) -> bool:
    with session(login, "looking") as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
        row = connection.execute(query, (name,)).fetchone()
        return bool(row and row[0])


def test_a_dump_that_waits_for_nobody_is_left_alone(login: Login) -> None:
    told: list[TablesLocked] = []
    with session(login, "holder") as holder, session(login, WAITER) as waiter:
        holder.execute("LOCK TABLE held IN ACCESS SHARE MODE")
        with lock_watch(login, WAITER, holder.info.backend_pid, told.append, every=0.05):
            waiter.execute("SELECT pg_sleep(1)")
    assert told == []
