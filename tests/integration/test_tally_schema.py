"""The schema's hashes: equal after a dump and a restore, different after any change, which they name."""

import re
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tasks.databases.connect import Login
from tasks.databases.schema import describe_difference
from tasks.databases.tally import frozen
from tasks.models import Tally
from tasks.restore.definitions import prove
from tests.bed import images
from tests.bed.postgres import PostgresServer

Databases = Callable[[PostgresServer], PostgresServer]

RICH = """
CREATE SCHEMA "Sales Data";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN percent AS numeric(5, 2) NOT NULL DEFAULT 0 CONSTRAINT within CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN code AS varchar(8) CHECK (VALUE IN ('a', 'b'));
CREATE TYPE pair AS (one int, two "char");
CREATE TYPE span AS RANGE (subtype = float8);
CREATE COLLATION numeric_c (provider = libc, locale = 'C');
CREATE SEQUENCE lone AS smallint INCREMENT 5 MINVALUE 5 CACHE 3 CYCLE;
CREATE TABLE experts (
    gone int, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone_too text,
    name varchar(40) NOT NULL DEFAULT 'new' COLLATE numeric_c,
    status varchar(10) CHECK (status IN ('a', 'it''s')), kind char(3) CHECK (kind NOT IN ('x', 'y')),
    mood mood DEFAULT 'ok', share percent, code code, both_ pair, range span,
    born timestamptz DEFAULT '2024-01-01 00:00:00+02',
    length int GENERATED ALWAYS AS (char_length(name)) STORED,
    tags text[] DEFAULT '{}', n serial, UNIQUE (name, kind) DEFERRABLE, EXCLUDE USING gist (range WITH &&)
) WITH (fillfactor = 70, autovacuum_enabled = false);
ALTER TABLE experts DROP COLUMN gone, DROP COLUMN gone_too, ADD late int, REPLICA IDENTITY FULL;
ALTER TABLE experts ADD CONSTRAINT later CHECK (late > 0) NOT VALID;
ALTER TABLE experts ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON experts FOR UPDATE TO PUBLIC USING (name = current_user)
    WITH CHECK (status IN ('a', 'b'));
CREATE TABLE nodes (expert bigint REFERENCES experts ON DELETE CASCADE, "Größe" int, u int DEFAULT NULL);
CREATE INDEX ON nodes ("Größe" DESC NULLS LAST) INCLUDE (expert) WHERE "Größe" > 3;
CREATE INDEX lower_name ON experts (lower(name), status) WHERE status IN ('a', 'b');
CREATE UNLOGGED TABLE quick (LIKE experts INCLUDING ALL);
CREATE TABLE parent (i int NOT NULL CHECK (i > 0), j text DEFAULT 'j');
CREATE TABLE child (k int) INHERITS (parent);
ALTER TABLE child ALTER j SET DEFAULT 'other';
CREATE TABLE log (id int, at timestamptz, expert bigint REFERENCES experts, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2024-01-01') TO ('2024-02-01') PARTITION BY HASH (id);
CREATE TABLE log_1_0 PARTITION OF log_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "Sales Data"."Log 1 1" (at timestamptz NOT NULL, gone int, expert bigint, id int NOT NULL);
ALTER TABLE "Sales Data"."Log 1 1" DROP gone;
ALTER TABLE log_1 ATTACH PARTITION "Sales Data"."Log 1 1" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE log_rest PARTITION OF log DEFAULT;
CREATE INDEX ON log (expert);
CREATE TABLE of_log (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES log);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
    AS $$ BEGIN NEW.id := NEW.id; RETURN NEW; END $$;
CREATE FUNCTION twice(a int, VARIADIC b int[] DEFAULT '{}') RETURNS int LANGUAGE sql IMMUTABLE STRICT COST 7
    BEGIN ATOMIC SELECT a * 2; END;
CREATE FUNCTION listed(s varchar) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT s IN ('a', 'b'); END;
CREATE PROCEDURE work(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := 1; END $$;
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', COMBINEFUNC = int4pl,
    PARALLEL = SAFE);
CREATE FUNCTION near(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 2';
CREATE OPERATOR ~~~~ (FUNCTION = near, LEFTARG = int, RIGHTARG = int, COMMUTATOR = ~~~~);
CREATE TRIGGER touched BEFORE UPDATE OF at ON log FOR EACH ROW WHEN (NEW.id > 3) EXECUTE FUNCTION touch();
CREATE TRIGGER off AFTER INSERT ON nodes REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION touch();
ALTER TABLE nodes DISABLE TRIGGER off;
CREATE VIEW seen WITH (security_barrier) AS
    SELECT e.*, n."Größe" FROM experts e LEFT JOIN nodes n ON n.expert = e.id
        WHERE e.status IN ('a', 'b') ORDER BY 2;
CREATE RECURSIVE VIEW numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 10;
CREATE MATERIALIZED VIEW summed AS SELECT status, count(*) FILTER (WHERE kind = 'x') FROM experts GROUP BY 1;
CREATE UNIQUE INDEX ON summed (status);
CREATE RULE quiet AS ON DELETE TO nodes WHERE OLD.expert = 3 DO INSTEAD NOTHING;
CREATE STATISTICS both_s (ndistinct) ON name, status FROM experts;
CREATE PUBLICATION told FOR TABLE nodes, log WITH (publish = 'insert');
CREATE FOREIGN DATA WRAPPER dummy;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy;
CREATE FOREIGN TABLE far (i int NOT NULL) SERVER elsewhere;
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER notes ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION noted();
INSERT INTO parent VALUES (1);
"""

SINCE_18 = """
CREATE TABLE strict (a int CONSTRAINT "a must be" NOT NULL, b int, c int GENERATED ALWAYS AS (a + 1) VIRTUAL);
ALTER TABLE strict ADD CONSTRAINT b_later NOT NULL b NOT VALID;
ALTER TABLE strict ADD CONSTRAINT loose CHECK (a > 0) NOT ENFORCED;
"""

# What is done after the rich schema, and exactly what must be named.
CHANGES = [
    ("CREATE TABLE extra (a int)", "added", {"table public.extra", "column public.extra.a"}),
    ("DROP FOREIGN TABLE far", "removed", {"foreign table public.far", "column public.far.i"}),
    ("ALTER TABLE nodes ADD more int", "added", {"column public.nodes.more"}),
    ("ALTER TABLE nodes DROP u", "removed", {"column public.nodes.u"}),
    ("ALTER TABLE nodes ALTER u TYPE bigint", "changed", {"column public.nodes.u"}),
    ("ALTER TABLE nodes ALTER u SET DEFAULT 4", "changed", {"column public.nodes.u"}),
    ("ALTER TABLE nodes ALTER expert SET NOT NULL", "changed", {"column public.nodes.expert"}),
    ("ALTER TABLE experts ALTER id SET GENERATED BY DEFAULT", "changed", {"column public.experts.id"}),
    ("ALTER TABLE experts DISABLE ROW LEVEL SECURITY", "changed", {"table public.experts"}),
    ("ALTER TABLE quick SET LOGGED", "changed", {"table public.quick", "sequence public.quick_id_seq"}),
    ("ALTER TABLE experts SET (fillfactor = 80)", "changed", {"table public.experts"}),
    ("ALTER TABLE experts VALIDATE CONSTRAINT later", "changed", {"constraint public.experts.later"}),
    (
        "ALTER TABLE nodes DROP CONSTRAINT nodes_expert_fkey",
        "removed",
        {"constraint public.nodes.nodes_expert_fkey"},
    ),
    ("DROP INDEX lower_name", "removed", {"index public.lower_name"}),
    ("CREATE OR REPLACE VIEW numbers AS SELECT 1 AS n", "changed", {"view public.numbers"}),
    ("ALTER VIEW seen SET (security_barrier = false)", "changed", {"view public.seen"}),
    (
        "DROP MATERIALIZED VIEW summed",
        "removed",
        {"materialized view public.summed", "index public.summed_status_idx"},
    ),
    (
        "CREATE OR REPLACE FUNCTION near(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        "changed",
        {"function public.near(integer, integer)"},
    ),
    ("ALTER PROCEDURE work SET work_mem = '1MB'", "changed", {"procedure public.work(INOUT a integer)"}),
    (
        "CREATE OR REPLACE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '5')",
        "changed",
        {"aggregate public.total(integer)"},
    ),
    ("ALTER TABLE nodes ENABLE TRIGGER off", "changed", {"trigger public.nodes.off"}),
    ("DROP TRIGGER off ON nodes", "removed", {"trigger public.nodes.off"}),
    ("DROP RULE quiet ON nodes", "removed", {"rule public.nodes.quiet"}),
    ("ALTER POLICY mine ON experts USING (true)", "changed", {"policy public.experts.mine"}),
    ("ALTER SEQUENCE lone INCREMENT 6", "changed", {"sequence public.lone"}),
    ("ALTER TYPE mood ADD VALUE 'meh'", "changed", {"type public.mood"}),
    ("ALTER DOMAIN percent DROP CONSTRAINT within", "changed", {"domain public.percent"}),
    ("ALTER TYPE pair ADD ATTRIBUTE three int", "changed", {"type public.pair"}),
    ("DROP EXTENSION plpgsql CASCADE", "removed", None),
    ("DROP STATISTICS both_s", "removed", {"statistics public.both_s"}),
    ("ALTER PUBLICATION told DROP TABLE nodes", "changed", {"publication told"}),
    ("ALTER EVENT TRIGGER notes DISABLE", "changed", {"event trigger notes"}),
    ("CREATE SCHEMA more", "added", {"schema more"}),
    ("ALTER SERVER elsewhere VERSION '2'", "changed", None),
    ("DROP OPERATOR ~~~~ (int, int)", "removed", {"operator public.~~~~(integer,integer)"}),
    ("ALTER TABLE log DETACH PARTITION log_rest", "changed", {"table public.log_rest"}),
]


def tally_of(server: PostgresServer) -> Tally:
    login = Login(server.host, server.port, server.user, server.password, server.database)
    with frozen(login, lock_wait=5) as held:
        return held.tally()


@pytest.fixture(params=(15, 17, 18))
def server(request: pytest.FixtureRequest) -> PostgresServer:
    shared: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return shared


def copied(engine: docker.DockerClient, source: PostgresServer, copy: PostgresServer) -> None:
    script = 'pg_dump -Fc -U "$1" "$2" | pg_restore -U "$1" -d "$3" --exit-on-error'
    box = engine.containers.get(source.container)
    command = ["bash", "-o", "pipefail", "-c", script, "-", source.user, source.database, copy.database]
    result = box.exec_run(command, environment={"PGPASSWORD": source.password})
    assert result.exit_code == 0, result.output.decode()


def test_restored_database_has_the_same_tally_to_the_last_hash(
    engine: docker.DockerClient, server: PostgresServer, fresh_database: Databases
) -> None:
    source, copy = fresh_database(server), fresh_database(server)
    source.execute(RICH)
    if server.version >= 18:
        source.execute(SINCE_18)
    source.execute("SELECT nextval('lone')", "SELECT lo_create(0)", "REFRESH MATERIALIZED VIEW summed")
    before = tally_of(source)
    copied(engine, source, copy)
    after = tally_of(copy)
    assert describe_difference(before.schema_objects, after.schema_objects) == describe_difference({}, {})
    assert before == after
    kinds = {name.split(" ")[0] for name in before.schema_objects}
    expected = "database schema extension table column constraint index view materialized function procedure aggregate"
    expected += " trigger rule policy sequence type domain collation operator statistics event publication"
    expected += " foreign"
    assert kinds == set(expected.split())


def test_a_definition_that_prints_in_another_way_once_it_is_restored_is_the_same_and_another_one_is_not(
    engine: docker.DockerClient, server: PostgresServer, fresh_database: Databases
) -> None:
    source, copy = fresh_database(server), fresh_database(server)
    source.execute((Path(images.__file__).parent / "printed_schema.sql").read_text())
    before = tally_of(source)
    copied(engine, source, copy)
    after = tally_of(copy)
    printed = describe_difference(before.schema_objects, after.schema_objects)
    assert (printed.added, printed.removed) == ([], [])
    assert len(printed.changed) > 50, "so many print in another way"

    login = Login(copy.host, copy.port, copy.user, copy.password, copy.database)
    assert prove({"d": before}, {"d": after}, [], lambda _: login) == []
    assert tally_of(copy) == after, "nothing was changed for that"

    wrong = dict(before.definitions)
    for name in printed.changed:
        wrong[name] = re.sub(r"\b[0-8]\b|'[a-y]+'", _next, wrong[name], count=1)
    assert [name for name in printed.changed if wrong[name] == before.definitions[name]] == []
    told = prove({"d": before.model_copy(update={"definitions": wrong})}, {"d": after}, [], lambda _: login)
    assert sorted(each.object for each in told) == printed.changed
    assert not any(each.blocking for each in told)


def _next(found: re.Match[str]) -> str:
    """Another number, another letter."""
    return "".join(chr(ord(each) + 1) if each.isalnum() else each for each in found[0])


def test_each_kind_of_change_is_named(postgres17: PostgresServer, fresh_database: Databases) -> None:
    """One schema, each change rolled back after it was read in the transaction that made it."""
    from tasks.databases import catalog, schema
    from tasks.databases.connect import connect

    server = fresh_database(postgres17)
    server.execute(RICH)

    def read() -> dict[str, str]:
        return schema.hashed((name, str(definition)) for name, definition in catalog.definitions(connection))

    with connect(Login(server.host, server.port, server.user, server.password, server.database)) as connection:
        before = read()
        for statement, how, expected in CHANGES:
            with connection.transaction(force_rollback=True):
                connection.execute("SET LOCAL search_path = public")
                connection.execute(statement.encode())
                connection.execute("SET LOCAL search_path = ''")
                difference = describe_difference(before, read())
            named = set(getattr(difference, how))
            assert named, statement
            assert expected is None or expected <= named, (statement, difference)
            if expected is not None and how == "changed":
                assert named == expected, (statement, difference)
        assert not describe_difference(before, read())


def test_fingerprint_follows_the_schema_and_not_the_rows(postgres18: PostgresServer, fresh_database: Databases) -> None:
    server = fresh_database(postgres18)
    server.execute("CREATE TABLE t (a int)")
    first = tally_of(server).schema_fingerprint
    server.execute("INSERT INTO t VALUES (1)")
    assert tally_of(server).schema_fingerprint == first
    server.execute("ALTER TABLE t ALTER a SET DEFAULT 1")
    assert tally_of(server).schema_fingerprint != first
    server.execute("ALTER TABLE t ALTER a DROP DEFAULT")
    assert tally_of(server).schema_fingerprint == first


def test_members_of_an_extension_are_left_out_but_for_the_tables_it_says_to_dump(
    engine: docker.DockerClient, postgres17: PostgresServer, fresh_database: Databases
) -> None:
    server = fresh_database(postgres17)
    made = "CREATE TABLE {} AS SELECT 1 AS i; ALTER EXTENSION plpgsql ADD TABLE {};"
    server.execute(*(made.format(name, name) for name in ("plain", "setting")))
    server.execute(
        "UPDATE pg_extension SET extconfig = ARRAY['setting'::regclass::oid], extcondition = ARRAY[''] "
        "WHERE extname = 'plpgsql'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER EXTENSION plpgsql ADD FUNCTION f()",
    )
    tally = tally_of(server)
    assert tally.counts == {"public.setting": 1}
    assert tally.not_dumped == ["public.plain"]
    assert set(tally.schema_objects) == {"database itself", "schema public", "extension plpgsql"}
