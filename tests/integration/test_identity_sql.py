"""What a cluster says of itself, against what its own tools say."""

import re
from collections.abc import Callable
from dataclasses import replace

import docker
import pytest

from tasks.databases.connect import Login, connect
from tasks.databases.identity import databases, read_cluster, read_identity
from tasks.errors import DatabaseError
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import wait_until
from tests.bed.stock import in_container


def login_to(server: PostgresServer) -> Login:
    return Login(server.host, server.port, server.user, server.password, server.database)


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest) -> PostgresServer:
    shared: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return shared


def control_data(engine: docker.DockerClient, server: PostgresServer, directory: str) -> dict[str, str]:
    output = engine.containers.get(server.container).exec_run(["pg_controldata", directory]).output.decode()
    return dict(re.findall(r"^([^:]+):\s+(.*)$", output, re.MULTILINE))


def test_identity_is_what_pg_controldata_prints(engine: docker.DockerClient, server: PostgresServer) -> None:
    with connect(login_to(server)) as connection:
        connection.execute("CHECKPOINT")
        identity = read_identity(connection)
    printed = control_data(engine, server, identity.data_directory)
    assert identity.system_identifier == printed["Database system identifier"]
    assert identity.timeline == int(printed["Latest checkpoint's TimeLineID"])
    assert identity.checkpoint_lsn == printed["Latest checkpoint location"]
    assert identity.server_version.startswith(str(server.version))
    assert identity.config_file == f"{identity.data_directory}/postgresql.conf"
    assert identity.hba_file.endswith("pg_hba.conf")
    assert identity.ident_file.endswith("pg_ident.conf")


def test_role_without_rights_is_told_the_grant_and_can_read_after_it(
    server: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(server)
    server.execute("DROP ROLE IF EXISTS watcher", "CREATE ROLE watcher LOGIN PASSWORD 'x'")
    login = replace(login_to(server), user="watcher", password="x")
    with connect(login) as connection:
        with pytest.raises(DatabaseError, match='GRANT pg_read_all_settings TO "watcher"'):
            read_identity(connection)
        server.execute("GRANT pg_read_all_settings TO watcher")
        assert read_identity(connection).data_directory
        assert read_cluster(connection)["bootstrap_user"] == server.user
    server.execute("DROP ROLE watcher")


def test_cluster_facts_are_those_of_initdb(engine: docker.DockerClient, postgres: PostgresServers) -> None:
    server = postgres(
        version=18,
        command=["-c", "fsync=off"],
        env={"POSTGRES_INITDB_ARGS": "--locale=C --encoding=UTF8 --data-checksums --wal-segsize=32"},
    )
    with connect(login_to(server)) as connection:
        cluster = read_cluster(connection)
        directory = read_identity(connection).data_directory
    printed = control_data(engine, server, directory)
    assert cluster["wal_segment_size"] == int(printed["Bytes per WAL segment"]) == 32 * 1024 * 1024
    assert cluster["block_size"] == int(printed["Database block size"])
    assert cluster["data_checksums"] is True
    assert cluster["server_version_num"] // 10000 == 18
    assert (cluster["encoding"], cluster["collate"], cluster["ctype"]) == ("UTF8", "C", "C")
    assert cluster["locale_provider"] == "libc"
    assert cluster["tablespaces"] == {}


def test_facts_of_each_database_are_read_whatever_the_version_calls_them(
    server: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(server)
    server.execute(
        "DROP DATABASE IF EXISTS latin",
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' CONNECTION LIMIT 7",
    )
    with connect(login_to(server)) as connection:
        of_latin = read_cluster(connection)["databases"]["latin"]
    server.execute("DROP DATABASE latin")
    assert of_latin == {
        "encoding": "LATIN1",
        "collate": "C",
        "ctype": "C",
        "locale_provider": "libc",
        "icu_locale": None,
        "icu_rules": None,
        "owner": server.user,
        "tablespace": "pg_default",
        "connection_limit": 7,
        "is_template": False,
        "allow_connections": True,
    }


def test_databases_are_all_that_can_be_connected_to(
    server: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(server)
    server.execute('DROP DATABASE IF EXISTS "Closed One"', 'CREATE DATABASE "Closed One" ALLOW_CONNECTIONS false')
    with connect(login_to(server)) as connection:
        names = databases(connection)
    server.execute('DROP DATABASE "Closed One"')
    assert {"postgres", server.database} <= set(names)
    assert not {"template0", "template1", "Closed One"} & set(names)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE t (i int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA s",
    ],
)
def test_template1_counts_once_somebody_put_something_into_it(postgres18: PostgresServer, made: str) -> None:
    template = replace(postgres18, database="template1")
    dropped = made.replace("CREATE", "DROP").split(" (")[0].split(" RETURNS")[0]
    with connect(login_to(postgres18)) as connection:
        template.execute(made)
        try:
            assert "template1" in databases(connection)
        finally:
            template.execute(dropped)
        assert "template1" not in databases(connection)


def test_the_next_transaction_id_is_settled_only_while_nobody_is_writing(postgres: PostgresServers) -> None:
    server = postgres(version=17, command=["-c", "fsync=off", "-c", "autovacuum=off"])
    server.execute("CREATE UNLOGGED TABLE t (id int)")

    def settled() -> int | None:
        with connect(login_to(server)) as connection:
            return read_identity(connection).settled_xid

    first = settled()
    assert first is not None
    assert server.value("SELECT count(*) FROM t") == 0
    assert settled() == first, "reading moves nothing"
    with server.connect() as writing, server.connect() as waiting:
        writing.execute("INSERT INTO t VALUES (1)")
        waiting.execute("INSERT INTO t VALUES (2)")
        waiting.commit()
        assert settled() is None
    assert settled() == first + 2
    server.execute("INSERT INTO t VALUES (3)")
    assert settled() == first + 3


def test_settings_are_the_servers_own_wherever_they_come_from_and_no_secret(postgres: PostgresServers) -> None:
    told = ["-c", "timezone=Europe/Moscow", "-c", "app.tenant=ours", "-c", "app.jwt_secret=never shown"]
    told += ["-c", "archive_command=put never shown", "-c", "app.database=postgres://me:never shown@db/app"]
    server = postgres(version=15, command=told)
    included = (
        'echo "app.included = 7" > "$PGDATA/more.conf"; echo "include \'more.conf\'" >> "$PGDATA/postgresql.conf"'
    )
    in_container(server, ["sh", "-c", included])
    server.value("SELECT pg_reload_conf()")
    wait_until(lambda: server.value("SELECT current_setting('app.included', true)") == "7", 60, "the included file")
    with connect(login_to(server)) as connection:
        found = read_cluster(connection)["settings"]
    assert (found["timezone"]["setting"], found["timezone"]["source"]) == ("Europe/Moscow", "command line")
    assert (found["app.tenant"]["setting"], found["app.included"]["setting"]) == ("ours", "7")
    assert "never shown" not in str(found)
