"""Rows are counted whatever the planner would have to read beside them: an index, a statistic, a check, a view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.databases.connect import Login, connect
from tasks.databases.rows import count_rows
from tasks.databases.tally import frozen
from tasks.models import Tally
from tests.bed.postgres import PostgresServer
from tests.bed.target import target_for

Databases = Callable[[PostgresServer], PostgresServer]

# PostgreSQL 17 and later make an index with an empty search path: so the functions name things in full at first.
WRAPPED = "CREATE OR REPLACE FUNCTION public.wrapped(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT {}helper($1)'"
HELPER = "CREATE FUNCTION {}helper(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END'"
CARRIED = [
    "CREATE INDEX ON {table} (wrapped(i))",
    "CREATE INDEX ON {table} (i) WHERE wrapped(i) > 0",
    "CREATE STATISTICS s ON (wrapped(i)), i FROM {table}",
    "ALTER TABLE {table} ADD CHECK (wrapped(i) > 0)",
    "ALTER TABLE {table} ADD g int GENERATED ALWAYS AS (wrapped(i)) STORED",
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {table} USING (wrapped(i) > 0)",
    "ALTER TABLE {table} ADD EXCLUDE USING btree (wrapped(i) WITH =)",
]


def login_to(server: PostgresServer) -> Login:
    return Login(server.host, server.port, server.user, server.password, server.database)


def tally_of(login: Login) -> Tally:
    with frozen(login, lock_wait=5) as held:
        return held.tally()


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest, fresh_database: Databases) -> PostgresServer:
    return fresh_database(request.getfixturevalue(f"postgres{request.param}"))


def with_helper(server: PostgresServer, schema: str = "public") -> None:
    """Makes `wrapped`, which names all in full, and what it calls in `schema`."""
    if schema != "public":
        server.execute(f"CREATE SCHEMA {schema}")
    server.execute(HELPER.format(f"{schema}."), WRAPPED.format(f"{schema}."))


def unqualified(server: PostgresServer) -> None:
    server.execute("SET check_function_bodies = off; " + WRAPPED.format(""))


@pytest.mark.parametrize("schema", ["public", "hidden"])
def test_a_table_is_counted_though_its_functions_name_things_without_a_schema(
    server: PostgresServer, schema: str
) -> None:
    """`hidden`: a schema in the search path of nobody who counts."""
    with_helper(server, schema)
    for number, each in enumerate(CARRIED, 1):
        server.execute(f"CREATE TABLE t{number} AS SELECT generate_series(1, {number}) AS i")
        server.execute(each.format(table=f"t{number}"))
    unqualified(server)
    tally = tally_of(login_to(server))
    assert tally.counts == {f"public.t{number}": number for number in range(1, len(CARRIED) + 1)}


@pytest.mark.parametrize("schema", ["public", "hidden"])
def test_partitions_views_and_children_are_counted_as_well(server: PostgresServer, schema: str) -> None:
    with_helper(server, schema)
    server.execute(
        "CREATE TABLE log (i int) PARTITION BY RANGE (wrapped(i))",
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (5)",
        "CREATE TABLE log_rest PARTITION OF log DEFAULT",
        "CREATE INDEX ON log (wrapped(i))",
        "INSERT INTO log SELECT generate_series(1, 9)",
        "CREATE TABLE parent AS SELECT generate_series(1, 3) AS i",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO child SELECT generate_series(1, 2)",
        "CREATE INDEX ON parent (wrapped(i))",
        "CREATE MATERIALIZED VIEW kept AS SELECT i FROM parent",
        "CREATE INDEX ON kept (wrapped(i))",
        "CREATE TABLE plain AS SELECT 1 AS i",
    )
    unqualified(server)
    tally = tally_of(login_to(server))
    assert tally.counts == {"public.log": 9, "public.parent": 3, "public.child": 2, "public.plain": 1}
    assert tally.materialized_views == {"public.kept": 5}


def test_the_members_of_an_extension_are_read_so_too(server: PostgresServer) -> None:
    with_helper(server)
    server.execute(
        "CREATE TABLE mine AS SELECT 1 AS i", "CREATE INDEX ON mine (wrapped(i))",
        "ALTER EXTENSION plpgsql ADD TABLE mine",
    )  # fmt: skip
    unqualified(server)
    assert tally_of(login_to(server)).not_dumped == ["public.mine"]


REFUSES = "BEGIN IF $1 > 3 THEN RAISE 'not today'; END IF; RETURN $1; END"


def test_what_no_plan_can_read_is_counted_without_one(server: PostgresServer) -> None:
    """A constant in an index is computed by the planner: here always in vain."""
    refusing = "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS '{}'"
    server.execute(refusing.format("BEGIN RETURN $1; END"))
    columns = {"lines": "i int, word text", "bare": "", '"O dd"": x"': "w text"}
    columns["made"] = "i int GENERATED ALWAYS AS (4) STORED"
    for name, defined in columns.items():
        server.execute(
            f"CREATE TABLE {name} ({defined})",
            f"CREATE INDEX ON {name} ((f(4)))",
            f"INSERT INTO {name} SELECT FROM generate_series(1, 5)",
        )
    server.execute(r"UPDATE lines SET word = E'two\nlines \\ and \\n'", """UPDATE "O dd"": x" SET w = E'\n\n\\.'""")
    server.execute(
        "CREATE MATERIALIZED VIEW kept AS SELECT i FROM lines", "CREATE INDEX ON kept ((f(4)))",
        refusing.format(REFUSES.replace("'", "''")),
    )  # fmt: skip
    tally = tally_of(login_to(server))
    assert tally.counts == {f"public.{name}": 5 for name in columns}
    assert tally.materialized_views == {"public.kept": 5 if server.version >= 18 else None}


def test_the_search_path_of_nobody_decides_whose_table_or_function_is_meant(server: PostgresServer) -> None:
    server.execute(
        "CREATE TABLE t AS SELECT generate_series(1, 4) AS i",
        "CREATE SCHEMA evil",
        "CREATE AGGREGATE evil.count(*) (sfunc = int8inc, stype = int8, initcond = '1000')",
        "CREATE TABLE evil.t AS SELECT 1 AS i",
        f"ALTER DATABASE {server.database} SET search_path = evil, pg_catalog, public",
    )
    assert tally_of(login_to(server)).counts == {"public.t": 4, "evil.t": 1}


def test_counting_leaves_the_session_as_it_was(server: PostgresServer) -> None:
    server.execute(f"ALTER DATABASE {server.database} SET search_path = public", "CREATE TABLE t AS SELECT 1 AS i")
    with frozen(login_to(server), lock_wait=5) as held:
        assert count_rows(held.connection, held.relations) == {held.relations[0].oid: 1}
        assert held.connection.execute("SHOW search_path").fetchone() == ("",)
    with connect(login_to(server)) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("",)


def test_a_backup_is_made_of_a_table_indexed_as_earthdistance_has_it(
    postgres15: PostgresServer, fresh_database: Databases, tmp_path: Path
) -> None:
    server = fresh_database(postgres15)
    server.execute(
        "CREATE EXTENSION cube",
        "CREATE EXTENSION earthdistance",
        "CREATE TABLE places (id int PRIMARY KEY, lat float8, lon float8)",
        "INSERT INTO places VALUES (1, 1, 1)",
        "CREATE INDEX ON places USING gist (ll_to_earth(lat, lon))",
    )
    manifest = target_for(server, tmp_path).backup()
    assert (manifest.tally.counts, manifest.verdict) == ({"public.places": 1}, "healthy")
