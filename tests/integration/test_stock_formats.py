"""A backup brought back without Rollcall: zstd, pg_restore, psql and cp are all it takes."""

import stat
from pathlib import Path

import pytest

from tasks.backups.omitted import is_whole
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.stock import in_container, restore_new
from tests.bed.target import Target, target_for

FAST = ["-c", "fsync=off"]
ODD_NAMES = ["my db", 'say "hi"', "it's", "a=b", "données/été", "per%20cent", "-dash"]
VERSION = 17


@pytest.fixture(scope="module")
def names() -> list[str]:
    return ODD_NAMES


@pytest.fixture
def server(postgres: PostgresServers) -> PostgresServer:
    started = postgres(version=VERSION, command=FAST)
    started.execute(
        "CREATE TABLE experts AS SELECT generate_series(1, 85) AS id",
        "CREATE ROLE clerk LOGIN PASSWORD 'written only here'",
        "ALTER ROLE clerk SET work_mem = '7MB'",
        "ALTER SYSTEM SET log_min_duration_statement = 4711",
        "GRANT SELECT ON experts TO clerk",
    )
    return started


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def add_odd_databases(server: PostgresServer) -> None:
    for number, name in enumerate(ODD_NAMES):
        server.execute(f"CREATE DATABASE {quoted(name)}")
        with server.connect(dbname=name, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE rows AS SELECT generate_series(1, {number + 1}) AS i".encode())


def objects(target: Target, role: str) -> dict[str | None, Path]:
    """Files of the newest backup by database (dumps) or by name."""
    manifest = target.backup()
    return {
        each.database if role == "dump" else each.key.rpartition("/")[2]: target.path(each.key)
        for each in manifest.objects
        if each.role == role
    }


def test_every_database_comes_back_whatever_its_name(
    server: PostgresServer, postgres17: PostgresServer, tmp_path: Path
) -> None:
    add_odd_databases(server)
    dumps = objects(target_for(server, tmp_path, roles=False), "dump")
    assert dumps.keys() == {server.database, "postgres", *ODD_NAMES}
    in_container(postgres17, ["psql", "-U", server.user, "-d", "postgres", "-c", "CREATE ROLE clerk"])
    try:
        rows = {name: rows_in(restore_new(postgres17, dumps[name]), "rows") for name in ODD_NAMES}
        assert rows == {name: number + 1 for number, name in enumerate(ODD_NAMES)}
        whole = restore_new(postgres17, dumps[server.database])
        assert rows_in(whole, "experts") == 85
    finally:
        drop = "DROP OWNED BY clerk; DROP ROLE clerk"
        in_container(postgres17, ["psql", "-U", server.user, "-d", whole.database, "-c", drop])


def rows_in(server: PostgresServer, table: str) -> int:
    return int(server.value(f"SELECT count(*) FROM {table}"))


def test_role_logs_in_with_its_old_password_after_globals_are_played(
    server: PostgresServer, postgres: PostgresServers, tmp_path: Path
) -> None:
    script = objects(target_for(server, tmp_path), "globals")["globals.sql"]
    fresh = postgres(version=VERSION, command=FAST)
    in_container(fresh, ["psql", "-U", fresh.user, "-d", "postgres", "-q"], script.read_bytes())
    with fresh.connect(user="clerk", password="written only here", dbname="postgres") as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
    with fresh.connect() as connection:
        assert connection.info.user == server.user


def test_settings_are_byte_for_byte_those_of_the_server(server: PostgresServer, tmp_path: Path) -> None:
    stored = objects(target_for(server, tmp_path), "config")
    assert stored.keys() == {"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"}
    for name, path in stored.items():
        there = in_container(server, ["sh", "-c", f'cat "$PGDATA/{name}"'])
        assert path.read_bytes() == there, name
    assert b"4711" in stored["postgresql.auto.conf"].read_bytes()


def test_nobody_else_may_read_a_backup(server: PostgresServer, tmp_path: Path) -> None:
    target = target_for(server, tmp_path)
    manifest = target.backup()
    folder = target.store / manifest.target
    files = [each for each in folder.rglob("*") if each.is_file()]
    folders = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    assert len(files) == len(manifest.objects) + 1
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o700}


def test_manifest_says_what_the_configuration_left_out(server: PostgresServer, tmp_path: Path) -> None:
    server.execute('CREATE DATABASE "wanted"', 'CREATE DATABASE "left out"')
    narrow = target_for(server, tmp_path / "narrow", databases=["wanted"], roles=False).backup()
    assert {each.database for each in narrow.objects if each.role == "dump"} == {server.database, "wanted"}
    assert narrow.databases.keys() == {"wanted"}
    assert not [each for each in narrow.objects if each.role == "globals"]
    assert [each.partition(":")[0] for each in narrow.omitted] == ["roles", "databases"]
    whole = target_for(server, tmp_path / "whole").backup()
    assert whole.omitted == []


def test_rows_that_pg_dump_leaves_out_are_told_of(server: PostgresServer, tmp_path: Path) -> None:
    server.execute("CREATE TABLE plain AS SELECT 1 AS id", "ALTER EXTENSION plpgsql ADD TABLE plain")
    manifest = target_for(server, tmp_path).backup()
    assert manifest.omitted == [
        f"tables: public.plain of {server.database}: of an extension, with rows, and pg_dump leaves them out"
    ]
    assert [each.table for each in manifest.findings if each.code == "table.not_dumped"] == ["public.plain"]
    assert manifest.verdict == "warning"
    assert not is_whole(manifest)
    server.execute("TRUNCATE plain")
    assert is_whole(target_for(server, tmp_path).backup())
