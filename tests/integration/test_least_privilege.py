"""docs/least-privilege.md, as it is written: its role reads all that a backup needs, and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg

from tasks.databases import rights
from tasks.databases.connect import Login, connect
from tasks.errors import DumpFailed
from tests.bed.postgres import PostgresServer
from tests.bed.progress import ROOT
from tests.bed.target import target_for

MAKE_ROLE, GRANT_LARGE_OBJECTS = re.findall(
    r"```sql\n(.*?)```", (ROOT / "docs/least-privilege.md").read_text(), flags=re.DOTALL
)
SCENE = (
    "CREATE SCHEMA hidden",
    "CREATE TABLE hidden.experts (id serial PRIMARY KEY, name text)",
    "INSERT INTO hidden.experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n",
    "REVOKE ALL ON SCHEMA hidden FROM PUBLIC",
    "CREATE TABLE nodes (id int, region text) PARTITION BY LIST (region)",
    "CREATE TABLE nodes_eu PARTITION OF nodes FOR VALUES IN ('eu')",
    "INSERT INTO nodes SELECT n, 'eu' FROM generate_series(1, 300) AS n",
    "CREATE TABLE owned (id int, owner text)",
    "INSERT INTO owned VALUES (1, 'somebody'), (2, 'else')",
    "ALTER TABLE owned ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY theirs ON owned USING (owner = current_user)",
    "CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM nodes",
    "CREATE PUBLICATION everything FOR TABLE nodes",
    "SELECT lo_from_bytea(0, 'large')",
)
WRITES = (
    "INSERT INTO nodes VALUES (0, 'eu')",
    "UPDATE hidden.experts SET name = 'nobody'",
    "DELETE FROM owned",
    "TRUNCATE nodes",
    "DROP TABLE owned",
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "SELECT setval('hidden.experts_id_seq', 1)",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
    "REFRESH MATERIALIZED VIEW seen",
    "CREATE ROLE another",
    "UPDATE pg_authid SET rolsuper = true WHERE rolname = current_user",
    "COPY nodes TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
)


@pytest.fixture(params=[17, pytest.param(15, marks=pytest.mark.slow), pytest.param(18, marks=pytest.mark.slow)])
def server(
    request: pytest.FixtureRequest, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> Iterator[PostgresServer]:
    """A database with everything that a dump has trouble with, on a server of each version."""
    made = fresh_database(request.getfixturevalue(f"postgres{request.param}"))
    made.execute(*SCENE)
    return made


@pytest.fixture
def reader(server: PostgresServer) -> Iterator[PostgresServer]:
    """The page's role, under a name of its own on the shared server; its password is the server's."""
    role = f"rollcall_{server.database}"
    made = MAKE_ROLE.replace("choose one", server.password)
    server.execute(*(each for each in named(made, role).split(";") if each.strip()))
    yield replace(server, user=role)
    server.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def named(statement: str, role: str) -> str:
    return re.sub(r"\brollcall\b", role, re.sub(r"--.*", "", statement))


def asked(server: PostgresServer) -> psycopg.Connection:
    return connect(Login(server.host, server.port, server.user, server.password, server.database))


def test_the_role_of_the_page_verifies_and_backs_up_and_writes_nothing(
    server: PostgresServer, reader: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(server, tmp_path, user=reader.user, databases=[])
    checked = target.verify()
    assert checked.counts == {"hidden.experts": 85, "public.nodes": 300, "public.owned": 2}
    assert {each.code for each in checked.findings} == {"backup.missing", "cluster.pinned"}

    with asked(reader) as session:
        assert rights.hidden(session) == []
        assert rights.may_read_roles(session)
        assert rights.unreadable_large_objects(session) == 1
    with pytest.raises(DumpFailed, match="large object"):
        target.backup()
    server.execute(named(GRANT_LARGE_OBJECTS, reader.user))
    with asked(reader) as session:
        assert rights.unreadable_large_objects(session) == 0

    manifest = target.backup()
    assert not manifest.quarantined
    assert manifest.tally.large_objects == 1
    (roles,) = (target.path(each.key) for each in manifest.objects if each.role == "globals")
    assert f"CREATE ROLE {reader.user};" in roles.read_text()

    for statement in WRITES:
        with reader.connect() as session, pytest.raises(pg.InsufficientPrivilege):
            session.execute("SET TRANSACTION READ WRITE")  # so it is the grants that refuse, and not the second bolt
            session.execute(statement.encode())
    with reader.connect() as session, pytest.raises(pg.ReadOnlySqlTransaction):
        session.execute("CREATE TEMPORARY TABLE mine (id int)")


def test_what_a_backup_by_this_role_lacks_is_named(server: PostgresServer, reader: PostgresServer) -> None:
    """pg_dump ends well without it, and no count would notice."""
    with asked(reader) as session:
        assert rights.left_out(session) == []
    try:
        server.execute(
            "CREATE SUBSCRIPTION news CONNECTION 'dbname=nowhere' PUBLICATION all_of_it "
            "WITH (connect = false, slot_name = none)",
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER away FOREIGN DATA WRAPPER far",
            f"CREATE USER MAPPING FOR {server.user} SERVER away OPTIONS (password 'secret')",
        )
        with asked(reader) as session:
            told = rights.left_out(session)
        assert told == [f"the options of the user mapping of {server.user} for away", "the subscription news"]
        with asked(server) as session:
            assert rights.left_out(session) == []
    finally:
        server.execute("DROP SUBSCRIPTION IF EXISTS news")
