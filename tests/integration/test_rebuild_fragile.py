"""What a plain pg_restore cannot make again comes back by another way, or is named, and takes nothing along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from tasks.containers.scratch_place import Place
from tasks.containers.volumes import RUN_LABEL, create_volume
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PASSWORD, PostgresServer, PostgresServers
from tests.bed.target import NAME, Target, target_for

FAST = ["-c", "fsync=off"]

BY_PATH = [
    "CREATE TABLE public.software (id int)",
    "INSERT INTO software VALUES (1), (2)",
    "CREATE FUNCTION public.mentions() RETURNS bigint LANGUAGE plpgsql STABLE AS"
    " $$ BEGIN RETURN (SELECT count(*) FROM software); END $$",
    "CREATE MATERIALIZED VIEW public.totals AS SELECT id, mentions() FROM software",
    "CREATE INDEX totals_by_id ON totals (id)",
    "CREATE SCHEMA other",
    "CREATE ROLE tenant",
    "ALTER ROLE tenant SET search_path = other",
    "GRANT CREATE ON SCHEMA other TO tenant",
    "CREATE FUNCTION other.ten() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 10'",
    "CREATE FUNCTION other.more(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 + ten(); END'",
    "CREATE TABLE other.rows (i int, CHECK (other.more(i) > 0))",
    "INSERT INTO other.rows SELECT generate_series(1, 100)",
    "CREATE INDEX more ON other.rows (other.more(i))",
    "ALTER TABLE other.rows OWNER TO tenant",
    "GRANT USAGE ON SCHEMA other TO tenant",
]
BY_ORDER = [
    "CREATE TABLE zdict (id int)",
    "CREATE FUNCTION in_dict(int) RETURNS boolean LANGUAGE sql AS"
    " $$ SELECT EXISTS (SELECT FROM public.zdict WHERE id = $1) $$",
    # The larger one is loaded first, and its first row needs the last of the other.
    "CREATE TABLE adata (k int CHECK (in_dict(k)), filler text DEFAULT repeat('x', 100000))",
    "INSERT INTO zdict SELECT generate_series(1, 5000)",
    "INSERT INTO adata (k) SELECT id FROM zdict ORDER BY id DESC LIMIT 20",
    "ALTER TABLE adata ALTER filler SET STORAGE EXTERNAL",
]


# Each of the two tables is only valid with the other's rows.
BY_EACH_OTHER = [
    "CREATE TABLE east (i int)",
    "CREATE TABLE west (i int)",
    "CREATE FUNCTION in_west(int) RETURNS boolean LANGUAGE sql AS"
    " $$ SELECT EXISTS (SELECT FROM public.west WHERE i = $1) $$",
    "CREATE FUNCTION in_east(int) RETURNS boolean LANGUAGE sql AS"
    " $$ SELECT EXISTS (SELECT FROM public.east WHERE i = $1) $$",
    "INSERT INTO east VALUES (1), (2)",
    "INSERT INTO west VALUES (1), (2)",
    "ALTER TABLE east ADD CONSTRAINT in_west CHECK (in_west(i))",
    "CREATE DOMAIN easterly AS int CONSTRAINT in_east CHECK (in_east(VALUE))",
    "ALTER TABLE west ALTER i TYPE easterly",
    "COMMENT ON CONSTRAINT in_west ON east IS 'its opposite'",
]
NOT_AGAIN = [
    "CREATE TABLE fresh (at timestamptz CHECK (at > now() - interval '1 second'))",
    "INSERT INTO fresh VALUES (now())",
    "CREATE TABLE parents (id int PRIMARY KEY)",
    "CREATE TABLE children (id int REFERENCES parents)",
    "SET session_replication_role = replica",
    "INSERT INTO children VALUES (7)",
    "RESET session_replication_role",
    "CREATE FUNCTION brittle(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END'",
    "CREATE INDEX brittle ON children (brittle(id))",
    "CREATE MATERIALIZED VIEW broken AS SELECT brittle(id) FROM children",
    "CREATE OR REPLACE FUNCTION brittle(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RAISE 'brittle it is'; END $$",
    "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no DDL here'; END $$",
    "CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()",
]
# What is made before all else must also come back where the database is made once more.
OLDER = ["CREATE EXTENSION pg_trgm VERSION '1.4'", "REVOKE CONNECT ON DATABASE knowledge_os FROM PUBLIC"]
NAMED = {
    "constraint public.fresh.fresh_at_check": "it is made for new rows alone (NOT VALID): new row for relation",
    "constraint public.children.children_id_fkey": "it is made for new rows alone (NOT VALID): insert or update",
    "index public.brittle": "brittle it is",
    "materialized view public.broken": "brittle it is",
}


@pytest.fixture
def rebuilt(engine: docker.DockerClient, bed: Bed, tmp_path: Path) -> Callable[..., Rebuilt]:
    """Backs a server up, by the rules given, and rebuilds that."""

    def rebuild(server: PostgresServer, **rules: Any) -> Rebuilt:
        target: Target = target_for(server, tmp_path, **rules)
        taken = target.backup()
        volume, recipe = bed.name("staging"), images.RECIPES[server.version]
        create_volume(engine, volume, {RUN_LABEL: "test", **bed.labels})
        return rebuild_from_backup(
            target.config, NAME, taken, ["local"], volume=volume, image_id=taken.identity.image_id,
            place=Place(destination=recipe.volume, pgdata=recipe.pgdata),
        )  # fmt: skip

    return rebuild


@pytest.mark.parametrize("version", [15, 17])
def test_what_can_be_made_by_another_way_is_and_the_rest_is_named(
    version: int, postgres: PostgresServers, rebuilt: Callable[..., Rebuilt]
) -> None:
    server = postgres(version=version, command=FAST)
    # 17 itself empties the search path for an index or a materialised view.
    by_path, older = (BY_PATH, []) if version < 17 else ([], OLDER)
    with server.connect(options="-c search_path=public,other", autocommit=True) as connection:
        for each in [*older, *by_path, *BY_ORDER, *BY_EACH_OTHER, *NOT_AGAIN]:
            connection.execute(each.encode())
    done = rebuilt(server)
    tally = done.tallies[server.database]
    assert (tally.counts["public.adata"], tally.counts["public.east"], tally.counts["public.west"]) == (20, 2, 2)
    assert {each.object: (each.why or "")[: len(NAMED[each.object])] for each in done.differences} == NAMED
    kinds = {each.object: each.kind for each in done.differences}
    assert {kinds[name] for name in NAMED if name.startswith("constraint ")} == {"definition"}
    assert tally.schema_objects["event trigger no_ddl"]
    if by_path:
        assert tally.materialized_views["public.totals"] == 2
        assert tally.counts["other.rows"] == 100
        assert any("was made with the search path" in note for note in done.notes)


HINDERING = [
    'CREATE ROLE "o\'clock ""7"""',
    'ALTER ROLE "o\'clock ""7""" SET work_mem = \'9MB\'',
    "CREATE ROLE nobody",
    "CREATE TABLE experts AS SELECT generate_series(1, 85) AS id",
    "ALTER DATABASE knowledge_os SET role = 'nobody'",
    f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD '{PASSWORD}'",
    "ALTER ROLE keeper IN DATABASE knowledge_os SET role = 'none'",
    "ALTER ROLE admin IN DATABASE knowledge_os SET local_preload_libraries = 'gone'",
    "ALTER DATABASE knowledge_os CONNECTION LIMIT 0",
    "SET allow_in_place_tablespaces = on",
    "CREATE TABLESPACE within LOCATION ''",
    "CREATE TABLE inside TABLESPACE within AS SELECT 1 AS i",
    # A locale that this image does not have, as that of an older one.
    "ALTER ROLE nobody SET lc_monetary = 'C'",
    "ALTER DATABASE knowledge_os SET lc_numeric = 'C'",
    "UPDATE pg_db_role_setting SET setconfig = replace(setconfig::text, '=C', '=xx_XX')::text[]",
]


def test_what_was_set_for_roles_and_databases_hinders_nothing_and_is_named_where_it_cannot_be(
    postgres: PostgresServers, rebuilt: Callable[..., Rebuilt]
) -> None:
    server = postgres(version=15, command=FAST)
    server.execute(*HINDERING)
    done = rebuilt(server, user="keeper")
    assert done.tallies["knowledge_os"].counts == {"public.experts": 85, "public.inside": 1}
    assert {each.object: each.why for each in done.differences} == {
        "ALTER ROLE nobody SET lc_monetary": 'invalid value for parameter "lc_monetary": "xx_XX"',
        "DATABASE PROPERTIES knowledge_os": 'invalid value for parameter "lc_numeric": "xx_XX"',
    }
