"""Clusters that a plain restore would stumble over come back, and what a copied cluster was told to do is not done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest

from tasks.containers.engine import OUR_LABEL
from tasks.containers.scratch_place import Place
from tasks.containers.volumes import RUN_LABEL, create_volume
from tasks.errors import DoesNotRestore, LoginRefused, ObjectDamaged, RestoreFailed
from tasks.models import Manifest
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup, rebuild_from_volume
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import wait_until
from tests.bed.shell import shell
from tests.bed.stock import in_container
from tests.bed.target import NAME, Target, target_for

FAST = ["-c", "fsync=off"]
ICU = {"POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=de-DE"}
KEEPER = {"user": "keeper", "password": "kept safe"}

ODD = [
    "CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'kept safe'",
    "CREATE ROLE app LOGIN PASSWORD 'app only' CONNECTION LIMIT 3 VALID UNTIL '2099-01-01'",
    "CREATE TABLE seen (at timestamptz, tenant text DEFAULT current_setting('app.tenant'))",
    "INSERT INTO seen (at) VALUES ('2026-11-22 22:30+00'), ('2026-11-23 01:30+00')",
    # Two days in UTC, one in Moscow: filled anew it must be counted as this server counts.
    "CREATE MATERIALIZED VIEW days AS SELECT date_trunc('day', at) AS day, current_setting('app.tenant') AS tenant"
    " FROM seen GROUP BY 1",
    "CREATE TABLE fresh (i int)",
    "CREATE MATERIALIZED VIEW stale AS SELECT * FROM fresh",
    "INSERT INTO fresh SELECT generate_series(1, 7)",
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION pg_trgm",
    "CREATE TABLE words (word text, more hstore)",
    "INSERT INTO words VALUES ('one', 'a=>1'), ('two', 'b=>2')",
    "CREATE INDEX ON words USING gin (word gin_trgm_ops)",
    "GRANT SELECT (word) ON words TO app",
    "CREATE TABLE owned (i int)",
    "ALTER TABLE owned OWNER TO app",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app",
    "ALTER ROLE admin SET role = 'app'",
    "ALTER ROLE app SET statement_timeout = '17s'",
    "ALTER ROLE app IN DATABASE knowledge_os SET work_mem = '9MB'",
    "ALTER DATABASE knowledge_os SET default_transaction_read_only = on",
    "ALTER DATABASE knowledge_os CONNECTION LIMIT 40",
]
LAST = ["ALTER ROLE admin NOLOGIN"]


@pytest.fixture
def staging(engine: docker.DockerClient, bed: Bed) -> Callable[[], str]:
    """Makes an empty volume of this run."""

    def make() -> str:
        name = bed.name("staging")
        create_volume(engine, name, {RUN_LABEL: "test", **bed.labels})
        return name

    return make


@pytest.fixture
def serve(bed: Bed, engine: docker.DockerClient) -> Iterator[Callable[[PostgresServer, str], PostgresServer]]:
    """Starts a normal server on a volume, as another one is, and asks it as the keeper."""
    made: list[str] = []

    def start(like: PostgresServer, volume: str) -> PostgresServer:
        name = bed.name("back")
        made.append(name)
        box = engine.containers.run(
            images.tag(like.version), name=name, detach=True, labels=bed.labels,
            volumes={volume: {"bind": images.RECIPES[like.version].volume, "mode": "rw"}},
        )  # fmt: skip

        def answers() -> bool:
            box.reload()
            server = replace(like, container=name, volume=volume, host=box.attrs["NetworkSettings"]["IPAddress"])
            try:
                server.connect(**KEEPER).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, 180, f"an answer of {name}", lambda: box.logs(tail=20).decode())
        return replace(like, container=name, volume=volume, host=box.attrs["NetworkSettings"]["IPAddress"])

    yield start
    for name in made:
        bed.remove_container(name)


def rebuilt(target: Target, server: PostgresServer, taken: Manifest, volume: str, *storages: str) -> Rebuilt:
    return rebuild_from_backup(
        target.config, NAME, taken, storages or ["local"],
        volume=volume, image_id=taken.identity.image_id, place=place_of(server),
    )  # fmt: skip


def copied(target: Target, server: PostgresServer, volume: str, place: Place | None = None) -> Rebuilt:
    return rebuild_from_volume(
        target.config, NAME, server.volume,
        volume=volume, image_id=images.tag(server.version), place=place or place_of(server),
    )  # fmt: skip


def place_of(server: PostgresServer) -> Place:
    recipe = images.RECIPES[server.version]
    return Place(destination=recipe.volume, pgdata=recipe.pgdata)


def execute(server: PostgresServer, *statements: str, **how: Any) -> None:
    """As the keeper, free of the read-only default."""
    options = {**KEEPER, "autocommit": True, "options": "-c default_transaction_read_only=off", **how}
    with server.connect(**options) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def value(server: PostgresServer, query: str, **how: Any) -> Any:
    with server.connect(**{**KEEPER, **how}) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(params=[15, 17, 18])
def odd(request: pytest.FixtureRequest, postgres: PostgresServers) -> PostgresServer:
    """A cluster that does much of what is allowed and seldom met."""
    told = ["-c", "timezone=Europe/Moscow", "-c", "app.tenant=ours"]
    server = postgres(version=request.param, command=FAST + told, env=ICU if request.param == 15 else None)
    for each in ("timezone = 'Europe/Moscow'", "app.tenant = 'ours'"):
        in_container(server, ["sh", "-c", f'echo "{each}" >> "$PGDATA/postgresql.conf"'])
    if server.version == 18:
        in_container(server, ["install", "-d", "-o", "postgres", "-m", "0700", "/var/lib/postgresql/fast"])
        server.execute("CREATE TABLESPACE fast LOCATION '/var/lib/postgresql/fast'")
        server.execute("CREATE TABLE far TABLESPACE fast AS SELECT generate_series(1, 9) AS i")
    if server.version >= 17:
        server.execute(
            "CREATE TABLE logins (at timestamptz DEFAULT now())",
            "CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS"
            " 'BEGIN IF NOT pg_is_in_recovery() AND current_setting(''transaction_read_only'') = ''off''"
            " THEN INSERT INTO public.logins DEFAULT VALUES; END IF; END'",
            "CREATE EVENT TRIGGER noting ON login EXECUTE FUNCTION note_login()",
        )
    with server.connect(dbname="template1", autocommit=True) as connection:
        connection.execute("CREATE TABLE in_every_new_one AS SELECT 1 AS i")
    server.execute(*ODD)
    execute(server, *LAST)
    return server


@pytest.mark.slow
def test_an_odd_cluster_comes_back_as_it_was(
    odd: PostgresServer,
    staging: Callable[[], str],
    serve: Callable[[PostgresServer, str], PostgresServer],
    tmp_path: Path,
) -> None:
    target = target_for(odd, tmp_path, user="keeper")
    (tmp_path / "password").write_text("kept safe")
    taken = target.backup()
    assert set(taken.databases) == {"postgres", "template1"}
    volume = staging()
    done = rebuilt(target, odd, taken, volume)
    assert done.tallies["template1"].counts == {"public.in_every_new_one": 1}
    assert done.tallies[odd.database].materialized_views == {"public.days": 1, "public.stale": 7}
    assert len(done.notes) == 1
    assert "public.stale was filled anew and has 7 rows, 0 when" in done.notes[0]
    back = serve(odd, volume)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        back.connect().close()
    for query in SAME:
        assert value(back, query) == value(odd, query), query
    assert value(back, "SHOW work_mem", user="app", password="app only") == "9MB"
    assert value(back, "SELECT count(*) FROM owned", user="app", password="app only") == 0
    if odd.version == 18:
        assert value(back, "SELECT count(*) FROM far") == 9
        assert value(back, "SELECT spcname FROM pg_tablespace WHERE oid >= 16384") == "fast"


SAME = [
    "SHOW timezone",
    "SHOW data_checksums",
    "SHOW default_transaction_read_only",
    "SELECT string_agg(concat_ws(' ', rolname, rolsuper, rolcanlogin, rolconnlimit, rolvaliduntil, rolpassword), ';'"
    " ORDER BY rolname) FROM pg_authid WHERE rolname !~ '^pg_'",
    "SELECT string_agg(concat_ws(' ', datname, rolname, setconfig::text), ';' ORDER BY datname, rolname)"
    " FROM pg_db_role_setting LEFT JOIN pg_database AS d ON d.oid = setdatabase"
    " LEFT JOIN pg_roles AS r ON r.oid = setrole",
    "SELECT string_agg(concat_ws(' ', datname, pg_get_userbyid(datdba), encoding, datcollate, datctype, datlocprovider,"
    " datconnlimit, datistemplate), ';' ORDER BY datname) FROM pg_database",
    "SELECT string_agg(concat_ws(' ', datname, a), ';' ORDER BY datname, a::text)"
    " FROM pg_database, unnest(datacl) AS a",
    "SELECT string_agg(concat_ws(' ', relname, pg_get_userbyid(relowner)), ';' ORDER BY relname)"
    " FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    "SELECT string_agg(concat_ws(' ', relname, a), ';' ORDER BY relname, a::text)"
    " FROM pg_class, unnest(relacl) AS a WHERE relnamespace = 'public'::regnamespace",
    "SELECT string_agg(attacl::text, ';') FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384",
    "SELECT string_agg(defaclacl::text, ';') FROM pg_default_acl",
    "SELECT string_agg(concat_ws(' ', extname, extversion, pg_get_userbyid(extowner)), ';' ORDER BY extname)"
    " FROM pg_extension",
    "SELECT string_agg(tenant || day, ';') FROM days",
]


DANGEROUS = [
    "CREATE TABLE experts AS SELECT generate_series(1, 85) AS id",
    "SELECT pg_create_logical_replication_slot('reader', 'pgoutput')",
    "SELECT pg_create_physical_replication_slot('standby', true)",
    "ALTER SYSTEM SET archive_mode = on",
    "ALTER SYSTEM SET archive_command = 'touch /var/lib/postgresql/archived-%f'",
    "ALTER SYSTEM SET archive_timeout = '1s'",
    "ALTER SYSTEM SET restore_command = 'touch /var/lib/postgresql/restored-%f; false'",
    "ALTER SYSTEM SET primary_conninfo = 'host=192.0.2.1'",
    "ALTER SYSTEM SET ssl_cert_file = '/gone/server.crt'",
    "ALTER SYSTEM SET log_statement = 'all'",
]


def test_what_a_copied_cluster_was_told_to_do_is_not_done_and_is_still_told(
    postgres: PostgresServers, bed: Bed, staging: Callable[[], str], tmp_path: Path
) -> None:
    command = ["-c", "wal_level=logical", "-c", "max_prepared_transactions=5", "-c", "track_commit_timestamp=on"]
    server = postgres(version=17, command=command)
    server.execute(*DANGEROUS)
    with server.connect() as connection:
        connection.execute("INSERT INTO experts VALUES (86)")
        connection.execute("PREPARE TRANSACTION 'pending'")
        connection.rollback()
    broken = "shared_preload_libraries = 'nowhere'\nnonsense = 'not a setting'\nssl = on\n"
    in_container(server, ["sh", "-c", 'cat >> "$PGDATA/postgresql.auto.conf"'], broken.encode())
    told = in_container(server, ["sh", "-c", 'cat "$PGDATA/postgresql.auto.conf"'])
    bed.client.containers.get(server.container).kill()
    volume = staging()
    done = copied(target_for(server, tmp_path), server, volume)
    assert done.tallies[server.database].counts == {"public.experts": 85}
    found = look_into(bed, volume, "cd /it && cat postgresql.auto.conf && ls pg_replslot pg_twophase .")
    assert found.startswith(told.decode())
    listed = found[len(told) :]
    assert "reader" in listed
    assert "standby" in listed
    assert "postmaster.pid" not in listed
    assert "rollcall" not in listed
    assert look_into(bed, volume, "ls /it/pg_twophase | wc -l").strip() == "1"
    assert "archived" not in look_into(bed, volume, "ls /it /it/pg_wal/archive_status")


def look_into(bed: Bed, volume: str, script: str) -> str:
    return shell(bed.client, images.tag(17), script, labels=bed.labels, it=volume)


def test_what_is_no_whole_cluster_of_its_own_is_refused(
    postgres: PostgresServers, bed: Bed, staging: Callable[[], str], tmp_path: Path
) -> None:
    server = postgres(version=17)
    target = target_for(server, tmp_path)
    with pytest.raises(RestoreFailed, match=f"is in use by {server.container}"):
        copied(target, server, staging())
    bed.client.containers.get(server.container).stop(timeout=120)
    elsewhere = Place(destination=place_of(server).destination, pgdata=f"{place_of(server).pgdata}/17/docker")
    with pytest.raises(RestoreFailed, match="holds no PostgreSQL cluster in 17/docker"):
        copied(target, server, staging(), elsewhere)
    with pytest.raises(LoginRefused, match="the database 'other' does not exist"):
        copied(target_for(server, tmp_path / "other", database="other"), server, staging())
    look_into(bed, server.volume, "touch /it/standby.signal")
    with pytest.raises(RestoreFailed, match=r"follows another or is being recovered \(standby\.signal\)"):
        copied(target, server, staging())
    look_into(bed, server.volume, "rm /it/standby.signal && mv /it/pg_wal /it/wal && ln -s /wal /it/pg_wal")
    with pytest.raises(RestoreFailed, match="pg_wal leads out of the volume, to /wal"):
        copied(target, server, staging())
    assert bed.client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={target.config.owner(NAME)}"}) == []


def test_another_storage_gives_what_one_has_lost(
    postgres17: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
    staging: Callable[[], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = fresh_database(postgres17)
    server.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
    target = target_for(server, tmp_path, databases=[], storages=["local", "far"])
    document = json.loads(target.file.read_text())
    document["storages"]["far"] = {"type": "local", "path": "./far"}
    target.file.write_text(json.dumps(document))
    (tmp_path / "far").mkdir()
    taken = target.backup()
    dump, script = (next(each.key for each in taken.objects if each.role == role) for role in ("dump", "globals"))
    target.path(dump).unlink()
    flip(target.path(script))
    done = rebuilt(target, server, taken, staging(), "local", "far")
    assert done.tallies == {taken.database: taken.tally}
    assert "Another storage's copy is tried." in caplog.text
    flip(tmp_path / "far" / script)
    with pytest.raises(ObjectDamaged) as raised:
        rebuilt(target, server, taken, staging(), "local", "far")
    assert f"No storage gives {script} as it was stored. local: " in str(raised.value)
    assert " far: " in str(raised.value)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def test_a_backup_that_postgresql_refuses_is_told_from_a_machine_that_fails(
    postgres17: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
    staging: Callable[[], str],
    tmp_path: Path,
) -> None:
    server = fresh_database(postgres17)
    server.execute(
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 2 * $1; END'",
        "CREATE TABLE experts (id int, double int GENERATED ALWAYS AS (twice(id)) STORED)",
        "INSERT INTO experts SELECT generate_series(1, 85)",
        "CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RAISE 'never again'; END $$",
    )
    target = target_for(server, tmp_path, databases=[])
    taken = target.backup()
    told = rf"{server.database} of backup {taken.id} cannot be restored: TABLE DATA public experts .never again"
    with pytest.raises(DoesNotRestore, match=told):
        rebuilt(target, server, taken, staging())
    assert not list((tmp_path / "state/rebuild").iterdir())
