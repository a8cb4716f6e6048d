"""Logging in, and being refused, by real servers."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import psycopg
import pytest

from tasks.databases.connect import Login, connect, translated, within
from tasks.errors import DatabaseError, DatabaseUnreachable, LoginRefused, RowsHidden, TablesLocked
from tests.bed.labels import Bed
from tests.bed.pooler import pgbouncer
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.proxy import TcpProxy


def login_to(server: PostgresServer) -> Login:
    return Login(server.host, server.port, server.user, server.password, server.database)


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest) -> PostgresServer:
    shared: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return shared


def refusal(login: Login) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        connect(login)
    return caught.value


def test_session_settings_do_not_depend_on_those_of_role_or_database(
    server: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(server)
    settings = (
        "search_path = public",
        "statement_timeout = 1",
        "DateStyle = 'German'",
        "quote_all_identifiers = on",
        "TimeZone = 'Asia/Tokyo'",
        "idle_in_transaction_session_timeout = 1000",
        "default_transaction_isolation = serializable",
    )
    # In one session, for which they do not hold yet: the next would have one millisecond.
    server.execute(*(f"ALTER DATABASE {server.database} SET {setting}" for setting in settings))
    shown = (
        "search_path",
        "statement_timeout",
        "DateStyle",
        "quote_all_identifiers",
        "TimeZone",
        "client_encoding",
    )
    with connect(login_to(server)) as connection:
        values = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in shown]
    assert values == [("",), ("0",), ("ISO, MDY",), ("off",), ("UTC",), ("UTF8",)]


def test_transaction_timeout_of_the_database_does_not_end_a_long_snapshot(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(postgres17)
    server.execute(f"ALTER DATABASE {server.database} SET transaction_timeout = '1s'")
    with connect(login_to(server)) as connection:
        assert connection.execute("SHOW transaction_timeout").fetchone() == ("0",)


def test_wrong_password_is_refused_and_shown_nowhere(server: PostgresServer) -> None:
    login = replace(login_to(server), password="a-very-secret-word")
    error = refusal(login)
    assert "password" in str(error)
    assert "'admin'" in str(error)
    told = [str(error), repr(error), repr(error.args), repr(login), str(login)]
    told += traceback.format_exception(error)
    assert not [text for text in told if "a-very-secret-word" in text]


def test_missing_role_is_refused(server: PostgresServer) -> None:
    error = refusal(replace(login_to(server), user="nobody-there"))
    assert "no such role" in str(error) or "does not exist" in str(error)
    assert "nobody-there" in str(error)


def test_missing_database_is_refused_and_named(server: PostgresServer) -> None:
    assert "'not_there' does not exist" in str(refusal(login_to(server).to("not_there")))


def test_role_that_may_not_log_in_or_connect_is_told_what_to_grant(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(postgres17)
    server.execute(
        "DROP ROLE IF EXISTS resting",
        "CREATE ROLE resting NOLOGIN PASSWORD 'x'",
        f"REVOKE CONNECT ON DATABASE {server.database} FROM PUBLIC",
    )
    login = replace(login_to(server), user="resting", password="x")
    assert "LOGIN" in str(refusal(login))
    server.execute("ALTER ROLE resting LOGIN")
    assert "GRANT CONNECT" in str(refusal(login))
    server.execute("DROP ROLE resting")


def test_closed_port_is_unreachable_and_worth_another_try(postgres17: PostgresServer) -> None:
    with pytest.raises(DatabaseUnreachable, match="does not answer") as caught:
        connect(replace(login_to(postgres17), port=9))
    assert caught.value.transient


def test_address_that_swallows_everything_ends_at_the_timeout(
    postgres17: PostgresServer, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    proxy = tcp_proxy(postgres17.host, postgres17.port)
    proxy.stall()
    with pytest.raises(DatabaseUnreachable):
        connect(replace(login_to(postgres17), host=proxy.host, port=proxy.port), timeout=2)


@pytest.mark.parametrize("in_the_way", ["a statement that takes long", "a server that hangs"])
def test_what_takes_too_long_is_ended_and_fails_with_the_words_it_was_given(
    in_the_way: str, postgres17: PostgresServer, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    """A server that is paused keeps its connections alive: no other time-out would ever end the wait."""
    proxy = tcp_proxy(postgres17.host, postgres17.port)
    into = replace(login_to(postgres17), host=proxy.host, port=proxy.port)
    late = DatabaseError("It took too long.")
    with connect(into) as connection, pytest.raises(DatabaseError, match="It took too long"):
        if in_the_way == "a server that hangs":
            proxy.stall()
        with within(connection, 0.5, late), translated("the tally"):
            connection.execute("SELECT pg_sleep(300)")
    proxy.resume()


def test_what_fails_in_time_keeps_its_own_words(postgres17: PostgresServer) -> None:
    late = DatabaseError("It took too long.")
    with connect(login_to(postgres17)) as connection:
        with pytest.raises(DatabaseError, match="division by zero"), within(connection, 30, late), translated("x"):
            connection.execute("SELECT 1 / 0")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_stopped_server_is_unreachable_for_old_and_new_connections(
    engine: docker.DockerClient, bed: Bed, postgres: PostgresServers
) -> None:
    # In a network of its own: on the common one the next container of any test may be given its address.
    server = postgres(version=15, command=["-c", "fsync=off"], network=bed.network())
    with connect(login_to(server)) as connection:
        engine.containers.get(server.container).kill("SIGQUIT")
        with pytest.raises(DatabaseUnreachable), translated("the tally"):
            connection.execute("SELECT pg_sleep(300)")
    engine.containers.get(server.container).wait(timeout=120)
    with pytest.raises(DatabaseUnreachable):
        connect(login_to(server), timeout=2)


def test_too_many_connections_are_worth_another_try(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(postgres17)
    server.execute("DROP ROLE IF EXISTS narrow", "CREATE ROLE narrow LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
    login = replace(login_to(server), user="narrow", password="x")
    with connect(login), pytest.raises(DatabaseUnreachable):
        connect(login)
    server.execute("DROP ROLE narrow")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$", TablesLocked),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", TablesLocked),
        (
            "DO $$ BEGIN RAISE SQLSTATE '42501' USING MESSAGE = 'permission denied for table x'; END $$",
            RowsHidden,
        ),
        ("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", DatabaseUnreachable),
        ("DO $$ BEGIN RAISE SQLSTATE '08006'; END $$", DatabaseUnreachable),
        ("SELECT 1/0", DatabaseError),
        ("SELECT pg_terminate_backend(pg_backend_pid())", DatabaseUnreachable),
    ],
)
def test_errors_of_statements_become_ours(
    postgres17: PostgresServer, statement: str, expected: type[DatabaseError]
) -> None:
    with (
        connect(login_to(postgres17)) as connection,
        pytest.raises(expected) as caught,
        translated("the tally"),
    ):
        connection.execute(statement.encode())
    assert type(caught.value) is expected
    assert str(caught.value).startswith("The tally: ")
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_a_pooler_is_called_one(server: PostgresServer, tmp_path: Path) -> None:
    with pgbouncer(server, tmp_path) as port:
        said = str(refusal(replace(login_to(server), host="127.0.0.1", port=port)))
    assert "pooler" in said and "PostgreSQL server itself" in said
