"""Counting while others write, truncate, create, drop and lock."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tasks.databases.connect import Login
from tasks.databases.tally import frozen
from tasks.errors import DatabaseError, TablesLocked
from tasks.models import Tally
from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until
from tests.bed.proxy import TcpProxy

Databases = Callable[[PostgresServer], PostgresServer]


def login_to(server: PostgresServer) -> Login:
    return Login(server.host, server.port, server.user, server.password, server.database)


def tally_of(server: PostgresServer, lock_wait: float = 10) -> Tally:
    with frozen(login_to(server), lock_wait=lock_wait) as held:
        return held.tally()


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest, fresh_database: Databases) -> PostgresServer:
    return fresh_database(request.getfixturevalue(f"postgres{request.param}"))


@contextmanager
def repeating(server: PostgresServer, *statements: str) -> Iterator[Callable[[], None]]:
    """Run the statements in one transaction again and again meanwhile; yield what waits until that was done once more,
    for nobody promises the writer a turn."""
    ended, turned = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            with server.connect(autocommit=True) as connection:
                while not ended.is_set():
                    with connection.transaction():
                        for statement in statements:
                            connection.execute(statement.encode())
                    turned.set()
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)

    def another_round() -> None:
        turned.clear()
        assert turned.wait(120), failures

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield another_round
    finally:
        ended.set()
        writer.join(timeout=120)
    assert not failures
    assert not writer.is_alive()


def test_truncate_and_insert_in_one_transaction_are_never_seen_apart(server: PostgresServer) -> None:
    server.execute("CREATE TABLE a AS SELECT generate_series(1, 100) AS i", "CREATE TABLE b AS TABLE a")
    refill = "INSERT INTO {} SELECT generate_series(1, 100)"
    with repeating(server, "TRUNCATE a, b", refill.format("a"), refill.format("b")) as another_round:
        for _ in range(50):
            with frozen(login_to(server), lock_wait=60) as held:
                assert held.tally().counts == {"public.a": 100, "public.b": 100}
            another_round()


def test_rows_written_meanwhile_are_counted_in_all_tables_or_in_none(server: PostgresServer) -> None:
    server.execute("CREATE TABLE a (i int)", "CREATE TABLE z (i int)")
    with repeating(server, "INSERT INTO a VALUES (1)", "INSERT INTO z VALUES (1)") as another_round:
        for _ in range(30):
            counts = tally_of(server).counts
            assert counts["public.a"] == counts["public.z"]
            another_round()
        assert tally_of(server).counts["public.a"] > 0


def test_truncate_waits_until_the_snapshot_is_given_up(server: PostgresServer) -> None:
    server.execute("CREATE TABLE t AS SELECT 1 AS i")
    with frozen(login_to(server), lock_wait=5) as held:
        with server.connect() as other, pytest.raises(Exception, match="lock timeout"):
            other.execute("SET lock_timeout = '200ms'")
            other.execute("TRUNCATE t")
        assert held.tally().counts == {"public.t": 1}
    server.execute("TRUNCATE t")


def test_tables_that_come_and_go_are_in_the_tally_whole_or_not_at_all(server: PostgresServer) -> None:
    server.execute("CREATE TABLE stays AS SELECT 1 AS i")
    create = "CREATE TABLE {0} (i int); INSERT INTO {0} SELECT generate_series(1, 7)"
    turn = ["DROP TABLE IF EXISTS x, y", create.format("x"), create.format("y"), "SELECT pg_sleep(0.02)"]
    seen = list[dict[str, int]]()

    def tallied() -> bool:
        try:
            seen.append(tally_of(server).counts)
        except TablesLocked:  # They came and went faster than it could lock them.
            return False
        assert seen[-1] in ({"public.stays": 1}, {"public.stays": 1, "public.x": 7, "public.y": 7})
        return True

    with repeating(server, *turn) as another_round:
        while len(seen) < 10:
            wait_until(tallied, 300, "a tally")
            another_round()


def test_table_locked_for_too_long_is_named_with_the_session_that_holds_it(server: PostgresServer) -> None:
    server.execute('CREATE TABLE "Busy" (i int)', "CREATE TABLE idle (i int)")
    with server.connect() as other:
        other.execute('LOCK TABLE "Busy"')
        pid = other.info.backend_pid
        started = time.monotonic()
        with pytest.raises(TablesLocked, match=rf'pid {pid} has locked public\."Busy"'):
            tally_of(server, lock_wait=0.3)
        assert 0.2 < time.monotonic() - started < 60
    assert set(tally_of(server).counts) == {'public."Busy"', "public.idle"}


def test_lock_that_is_given_back_in_time_is_waited_for(server: PostgresServer) -> None:
    server.execute("CREATE TABLE t (i int)")
    with server.connect() as other:
        other.execute("LOCK TABLE t")
        other.execute("INSERT INTO t VALUES (1)")
        release = threading.Timer(0.4, other.commit)
        release.start()
        assert tally_of(server, lock_wait=20).counts == {"public.t": 1}
        release.join()


@contextmanager
def committed_once_waited_for(server: PostgresServer, *statements: str) -> Iterator[None]:
    """The statements in a transaction that is committed as soon as another session waits for one of its locks."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with server.connect() as other:
        for statement in statements:
            other.execute(statement.encode())

        def commit() -> None:
            wait_until(lambda: server.value(waiting) > 0, 60, "who waits for a lock")
            other.commit()

        thread = threading.Thread(target=commit)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def test_table_created_between_listing_and_locking_is_locked_too(server: PostgresServer) -> None:
    """The first attempt waits behind the creator's lock, and has listed the tables by then."""
    server.execute("CREATE TABLE first (i int)")
    created = ("LOCK TABLE first", "CREATE TABLE second AS SELECT 1 AS i")
    with committed_once_waited_for(server, *created), frozen(login_to(server), lock_wait=120) as held:
        own = f"FROM pg_locks WHERE pid = {held.backend_pid} AND relation = 'second'::regclass"
        assert server.value(f"SELECT count(*) {own}") == 1
        assert held.tally().counts == {"public.first": 0, "public.second": 1}


def test_table_that_is_created_anew_each_time_is_taken_as_it_is_once_its_lock_is_given(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that rebuilds a table in a loop must not make every backup fail: one attempt must do."""
    monkeypatch.setattr("tasks.databases.tally.ATTEMPTS", 1)
    server.execute("CREATE TABLE built AS SELECT 1 AS i")
    rebuilt = ("DROP TABLE built", "CREATE TABLE built AS SELECT generate_series(1, 7) AS i")
    with committed_once_waited_for(server, *rebuilt), frozen(login_to(server), lock_wait=120) as held:
        assert held.tally().counts == {"public.built": 7}


def test_a_count_that_the_network_swallowed_ends_at_its_deadline(
    postgres17: PostgresServer, fresh_database: Databases, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    server = fresh_database(postgres17)
    server.execute("CREATE TABLE slow AS SELECT generate_series(1, 10) AS id")
    proxy = tcp_proxy(server.host, server.port)
    login = replace(login_to(server), host=proxy.host, port=proxy.port)
    started = time.monotonic()
    ended = pytest.raises(DatabaseError, match="was not done in 2 s")
    with ended as caught, frozen(login, lock_wait=5, deadline=2) as held:
        proxy.stall()
        held.tally()
    assert time.monotonic() - started < 60
    assert not caught.value.transient, "once more would hang for as long again"
