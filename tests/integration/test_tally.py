"""Exact counts of everything that can hold rows, and of nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tasks.databases.connect import Login
from tasks.databases.tally import frozen
from tasks.errors import RowsHidden
from tasks.models import SequencePosition, Tally
from tests.bed.postgres import PostgresServer

Databases = Callable[[PostgresServer], PostgresServer]


def login_to(server: PostgresServer) -> Login:
    return Login(server.host, server.port, server.user, server.password, server.database)


def tally_of(login: Login) -> Tally:
    with frozen(login, lock_wait=5) as held:
        return held.tally()


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest, fresh_database: Databases) -> PostgresServer:
    return fresh_database(request.getfixturevalue(f"postgres{request.param}"))


@pytest.fixture
def reader(server: PostgresServer) -> Iterator[Login]:
    """A role that owns nothing and may do nothing."""
    role = f"reader_{server.database}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    yield replace(login_to(server), user=role, password="x")
    server.execute(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_empty_database_has_an_empty_tally(server: PostgresServer) -> None:
    tally = tally_of(login_to(server))
    assert (tally.counts, tally.materialized_views, tally.sequences, tally.large_objects) == ({}, {}, {}, 0)
    assert set(tally.schema_objects) == {"database itself", "schema public", "extension plpgsql"}


def test_names_are_qualified_and_quoted_as_quote_ident_does(server: PostgresServer) -> None:
    names = [
        "experts",
        "Orders",
        "with space",
        'quo"te',
        "dot.ted",
        "жёлтый",
        "new\nline",
        "select",
        "per%cent",
        "{0}",
    ]
    quoted = [
        "experts",
        '"Orders"',
        '"with space"',
        '"quo""te"',
        '"dot.ted"',
        '"жёлтый"',
        '"new\nline"',
        '"select"',
    ]
    quoted += ['"per%cent"', '"{0}"']
    server.execute('CREATE SCHEMA "Sales Data"')
    for rows, name in enumerate(names):
        table = '"' + name.replace('"', '""') + '"'
        server.execute(
            f'CREATE TABLE "Sales Data".{table} (i int GENERATED ALWAYS AS IDENTITY)',
            f'INSERT INTO "Sales Data".{table} SELECT FROM generate_series(1, {rows})',
        )
    tally = tally_of(login_to(server))
    assert tally.counts == {f'"Sales Data".{name}': rows for rows, name in enumerate(quoted)}
    assert tally.sequences['"Sales Data"."Orders_i_seq"'] == SequencePosition(last_value=1, is_called=True)
    assert tally.sequences['"Sales Data".experts_i_seq'] == SequencePosition(last_value=1, is_called=False)


def test_partitioned_table_counts_once_under_its_root(server: PostgresServer) -> None:
    server.execute(
        "CREATE SCHEMA old",
        "CREATE TABLE log (day int, kind text) PARTITION BY RANGE (day)",
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10) PARTITION BY LIST (kind)",
        "CREATE TABLE log_1_a PARTITION OF log_1 FOR VALUES IN ('a')",
        "CREATE TABLE log_1_rest PARTITION OF log_1 DEFAULT",
        "CREATE TABLE old.log_2 PARTITION OF log FOR VALUES FROM (10) TO (20)",
        "CREATE FOREIGN DATA WRAPPER dummy",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy",
        "CREATE FOREIGN TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30) SERVER elsewhere",
        "CREATE FOREIGN TABLE alone (i int) SERVER elsewhere",
        "CREATE TABLE nothing_yet (i int) PARTITION BY HASH (i)",
        "INSERT INTO log SELECT d, chr(97 + d % 2) FROM generate_series(0, 16) AS d",
    )
    assert tally_of(login_to(server)).counts == {"public.log": 17, "public.nothing_yet": 0}


def test_parent_and_child_of_inheritance_count_their_own_rows(server: PostgresServer) -> None:
    server.execute(
        "CREATE TABLE parent (i int)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO parent SELECT generate_series(1, 3)",
        "INSERT INTO child SELECT generate_series(1, 5)",
    )
    assert tally_of(login_to(server)).counts == {"public.child": 5, "public.parent": 3}


def test_unlogged_and_columnless_tables_count_and_temporary_ones_do_not(server: PostgresServer) -> None:
    server.execute(
        "CREATE UNLOGGED TABLE quick AS SELECT generate_series(1, 4)",
        "CREATE TABLE bare ()",
        "INSERT INTO bare SELECT FROM generate_series(1, 2)",
    )
    with server.connect() as other:
        other.execute("CREATE TEMPORARY TABLE fleeting (i int)")
        other.commit()
        assert tally_of(login_to(server)).counts == {"public.bare": 2, "public.quick": 4}


def test_materialized_views_are_apart_and_none_until_populated(server: PostgresServer) -> None:
    server.execute(
        "CREATE TABLE t AS SELECT generate_series(1, 6) AS i",
        "CREATE MATERIALIZED VIEW filled AS SELECT * FROM t WHERE i > 2",
        'CREATE MATERIALIZED VIEW "Not Yet" AS SELECT * FROM t WITH NO DATA',
        "CREATE VIEW plain AS SELECT * FROM t",
    )
    tally = tally_of(login_to(server))
    assert tally.counts == {"public.t": 6}
    assert tally.materialized_views == {"public.filled": 4, 'public."Not Yet"': None}


def test_sequences_of_every_kind_are_read_where_they_stand(server: PostgresServer) -> None:
    server.execute(
        "CREATE SEQUENCE lone START 5 INCREMENT 10",
        "CREATE SEQUENCE back INCREMENT -1",
        "CREATE TABLE t (a serial, b bigint GENERATED BY DEFAULT AS IDENTITY (START 100))",
        "INSERT INTO t DEFAULT VALUES",
        "INSERT INTO t DEFAULT VALUES",
        "SELECT nextval('back')",
    )
    assert tally_of(login_to(server)).sequences == {
        "public.lone": SequencePosition(last_value=5, is_called=False),
        "public.back": SequencePosition(last_value=-1, is_called=True),
        "public.t_a_seq": SequencePosition(last_value=2, is_called=True),
        "public.t_b_seq": SequencePosition(last_value=101, is_called=True),
    }


def test_large_objects_count(server: PostgresServer) -> None:
    server.execute("SELECT lo_create(0) FROM generate_series(1, 3)")
    assert tally_of(login_to(server)).large_objects == 3


def test_more_tables_than_one_batch_are_all_counted_and_told(server: PostgresServer) -> None:
    create = "DO $$ BEGIN FOR n IN 1..620 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT 1 AS i', n); "
    server.execute(create + "EXECUTE format('CREATE SEQUENCE s%s', n); END LOOP; END $$")
    heard: list[tuple[int, int, str]] = []
    with frozen(login_to(server), lock_wait=5) as held:
        tally = held.tally(lambda done, of, name: heard.append((done, of, name)))
    assert tally.counts == {f"public.t{n}": 1 for n in range(1, 621)}
    assert len(tally.sequences) == 620
    assert [done for done, _, _ in heard] == list(range(1, 621))
    assert {of for _, of, _ in heard} == {620}
    assert {name for _, _, name in heard} == set(tally.counts)


def test_row_level_security_is_refused_and_the_table_named(server: PostgresServer, reader: Login) -> None:
    server.execute(
        'CREATE TABLE "Mine" AS SELECT generate_series(1, 10) AS i',
        "CREATE TABLE open AS SELECT 1 AS i",
        'ALTER TABLE "Mine" ENABLE ROW LEVEL SECURITY',
        'CREATE POLICY few ON "Mine" USING (i <= 2)',
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader.user}",
    )
    assert tally_of(login_to(server)).counts['public."Mine"'] == 10
    with pytest.raises(RowsHidden, match=r'public\."Mine".*BYPASSRLS'):
        tally_of(reader)
    server.execute(f"ALTER ROLE {reader.user} BYPASSRLS")
    assert tally_of(reader).counts == {'public."Mine"': 10, "public.open": 1}


def test_owner_under_forced_row_level_security_is_refused(server: PostgresServer, reader: Login) -> None:
    server.execute(
        "CREATE TABLE t AS SELECT generate_series(1, 10) AS i",
        f"ALTER TABLE t OWNER TO {reader.user}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    )
    assert tally_of(reader).counts == {"public.t": 10}
    server.execute("ALTER TABLE t FORCE ROW LEVEL SECURITY")
    with pytest.raises(RowsHidden, match=r"public\.t "):
        tally_of(reader)


@pytest.mark.parametrize("kind", ["TABLE", "MATERIALIZED VIEW", "SEQUENCE"])
def test_relation_that_may_not_be_read_is_refused_and_named(server: PostgresServer, reader: Login, kind: str) -> None:
    server.execute(f"CREATE {kind} hidden" + ("" if kind == "SEQUENCE" else " AS SELECT 1 AS i"))
    with pytest.raises(RowsHidden, match=r"public\.hidden.*GRANT"):
        tally_of(reader)
    server.execute(f"GRANT SELECT ON hidden TO {reader.user}")
    assert tally_of(reader) == tally_of(login_to(server))


def test_table_in_a_schema_that_may_not_be_used_is_refused(server: PostgresServer, reader: Login) -> None:
    server.execute("CREATE SCHEMA shut", "CREATE TABLE shut.t (i int)", "GRANT SELECT ON shut.t TO PUBLIC")
    with pytest.raises(RowsHidden, match=r"shut\.t"):
        tally_of(reader)


def test_snapshot_is_read_only_and_ends_with_the_context(server: PostgresServer) -> None:
    with frozen(login_to(server), lock_wait=5) as held:
        mode = held.connection.execute("SHOW transaction_read_only").fetchone()
        alive = "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL"
        alive += f" AND pid = {held.backend_pid}"
        assert server.value(alive) == 1
    assert mode == ("on",)
    assert held.connection.closed


def test_snapshot_can_be_shared_with_another_session(server: PostgresServer) -> None:
    server.execute("CREATE TABLE t AS SELECT 1 AS i")
    with frozen(login_to(server), lock_wait=5) as held:
        server.execute("INSERT INTO t VALUES (2)")
        with server.connect() as other:
            other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            other.execute(f"SET TRANSACTION SNAPSHOT '{held.snapshot}'".encode())
            assert other.execute("SELECT count(*) FROM t").fetchone() == (1,)
        assert held.tally().counts == {"public.t": 1}
