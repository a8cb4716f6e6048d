"""A backup rebuilt on a scratch server is the cluster it was taken of: rows, roles, passwords, settings, and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import psycopg
import pytest

from tasks.containers.scratch_place import Place
from tasks.containers.volumes import RUN_LABEL, create_volume
from tasks.errors import ObjectDamaged, RestoreFailed
from tasks.models import Manifest
from tasks.restore.compare import in_words
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup, rebuild_from_volume
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.shell import shell
from tests.bed.stock import in_container
from tests.bed.target import NAME, Target, target_for

pytestmark = pytest.mark.slow

FAST = ["-c", "fsync=off"]
CONTENT = [
    "CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL, born date DEFAULT now())",
    "INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n",
    'CREATE SCHEMA "Sales Data"',
    'CREATE TABLE "Sales Data"."Orders" ("Ümlaut" int CHECK ("Ümlaut" > 0), note text)',
    'INSERT INTO "Sales Data"."Orders" SELECT n, \'order \' || n FROM generate_series(1, 40) AS n',
    "CREATE TABLE parts (a int, b text) PARTITION BY RANGE (a)",
    "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (1) TO (100)",
    "CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (200)",
    "INSERT INTO parts SELECT n, n::text FROM generate_series(1, 150) AS n",
    "CREATE SEQUENCE tickets START 7 INCREMENT 3",
    "SELECT nextval('tickets'), nextval('tickets')",
    "SELECT lo_create(4711), lo_from_bytea(4712, 'large')",
    "CREATE VIEW young AS SELECT name FROM experts WHERE id < 10",
    "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM experts",
    "CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA",
    "CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2'",
    "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER stamped BEFORE INSERT ON experts FOR EACH ROW EXECUTE FUNCTION stamp()",
    "CREATE INDEX experts_by_name ON experts (lower(name))",
    "CREATE ROLE clerk LOGIN PASSWORD 'written only here'",
    "CREATE ROLE readers",
    "GRANT readers TO clerk",
    "ALTER TABLE parts OWNER TO clerk",
    "GRANT SELECT ON experts TO readers",
    "ALTER DATABASE knowledge_os SET work_mem = '7MB'",
    "ALTER SYSTEM SET log_min_duration_statement = 4711",
]
INITDB = {
    15: "--encoding=UTF8 --locale=C.UTF-8 --data-checksums",
    17: "--encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C --wal-segsize=32",
    18: "--encoding=UTF8 --locale=C --no-data-checksums",
}


@pytest.fixture(scope="module", params=[15, 17, 18])
def server(request: pytest.FixtureRequest, bed: Bed) -> Iterator[PostgresServer]:
    servers = PostgresServers(bed)
    made = servers(version=request.param, command=FAST, env={"POSTGRES_INITDB_ARGS": INITDB[request.param]})
    made.execute(*CONTENT)
    for name in ("my db", 'say "hi"', "données/été"):
        with made.connect(autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name.replace(chr(34), chr(34) * 2)}"'.encode())
        with made.connect(dbname=name, autocommit=True) as connection:
            connection.execute("CREATE TABLE rows AS SELECT generate_series(1, 5) AS i")
    yield made
    servers.remove_all()


@pytest.fixture(scope="module")
def backed_up(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, Manifest]:
    target = target_for(server, tmp_path_factory.mktemp("rebuild"))
    return target, target.backup()


@pytest.fixture
def staging(engine: docker.DockerClient, bed: Bed) -> Callable[[], str]:
    """Makes an empty volume of this run."""

    def make() -> str:
        name = bed.name("staging")
        create_volume(engine, name, {RUN_LABEL: "test", **bed.labels})
        return name

    return make


def rebuilt(
    server: PostgresServer, backed_up: tuple[Target, Manifest], volume: str, manifest: Manifest | None = None
) -> Rebuilt:
    target, taken = backed_up
    return rebuild_from_backup(
        target.config, NAME, manifest or taken, list(target.config.target(NAME).storages),
        volume=volume, image_id=taken.identity.image_id, place=place_of(server, taken),
    )  # fmt: skip


def place_of(server: PostgresServer, taken: Manifest) -> Place:
    return Place(destination=images.RECIPES[server.version].volume, pgdata=taken.identity.pgdata)


def test_a_rebuilt_cluster_serves_what_the_old_one_did_to_whom_it_did(
    server: PostgresServer, backed_up: tuple[Target, Manifest], staging: Callable[[], str], postgres: PostgresServers
) -> None:
    volume = staging()
    done = rebuilt(server, backed_up, volume)
    taken = backed_up[1]
    assert done.tallies == {taken.database: taken.tally, **taken.databases}
    assert len(done.tallies) == 5
    assert done.system_identifier != taken.identity.system_identifier
    back = postgres(version=server.version, volume=volume, command=FAST)
    assert settings(back) == settings(server)
    assert back.value("SHOW log_min_duration_statement") == "4711ms"
    with back.connect(user="clerk", password="written only here") as connection:
        assert connection.execute("SELECT count(*) FROM experts").fetchone() == (85,)
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        back.connect(user="clerk", password="another")
    assert back.value("SELECT lo_get(4712)") == b"large"
    # Statistics are there, so that the first query after a restore is not planned blindly.
    assert back.value("SELECT count(*) FROM pg_stats WHERE tablename = 'experts'") == 3


def settings(server: PostgresServer) -> dict[str, object]:
    """What initdb, configuration files and databases say."""
    queries = {
        "databases": "SELECT string_agg(concat_ws(' ', datname, encoding, datcollate, datctype, datlocprovider,"
        " pg_get_userbyid(datdba)), ';' ORDER BY datname) FROM pg_database",
        "checksums": "SHOW data_checksums",
        "segments": "SHOW wal_segment_size",
        "roles": "SELECT string_agg(rolname || rolcanlogin, ';' ORDER BY rolname) FROM pg_roles",
        "members": "SELECT count(*) FROM pg_auth_members WHERE pg_get_userbyid(member) = 'clerk'",
        "owner": "SELECT tableowner FROM pg_tables WHERE tablename = 'parts_low'",
    }
    found = {name: server.value(query) for name, query in queries.items()}
    for name in ("pg_hba.conf", "postgresql.conf", "postgresql.auto.conf"):
        found[name] = in_container(server, ["sh", "-c", f'cat "$PGDATA/{name}"'])
    return found


def test_a_tally_that_is_off_by_one_row_is_named_and_not_proven(
    server: PostgresServer, backed_up: tuple[Target, Manifest], staging: Callable[[], str]
) -> None:
    taken = backed_up[1]
    off = taken.model_copy(
        update={"tally": taken.tally.model_copy(update={"counts": {**taken.tally.counts, "public.experts": 86}})}
    )
    found = rebuilt(server, backed_up, staging(), off).differences
    assert [in_words(each) for each in found] == ["knowledge_os: rows in public.experts: 85 instead of 86"]
    assert found[0].blocking


def test_a_copy_of_a_crashed_cluster_recovers_and_the_source_is_not_touched(
    server: PostgresServer,
    backed_up: tuple[Target, Manifest],
    staging: Callable[[], str],
    postgres: PostgresServers,
    bed: Bed,
) -> None:
    crashed = postgres(version=server.version)
    crashed.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
    with pytest.raises(RestoreFailed, match="is in use by"):
        copied(server, backed_up, crashed.volume, staging())
    bed.client.containers.get(crashed.container).kill()
    before = checksums(bed, crashed)
    done = copied(server, backed_up, crashed.volume, staging())
    assert done.tallies["knowledge_os"].counts == {"public.experts": 85}
    assert checksums(bed, crashed) == before


def copied(server: PostgresServer, backed_up: tuple[Target, Manifest], source: str, volume: str) -> Rebuilt:
    target, taken = backed_up
    return rebuild_from_volume(
        target.config, NAME, source,
        volume=volume, image_id=taken.identity.image_id, place=place_of(server, taken),
    )  # fmt: skip


def checksums(bed: Bed, server: PostgresServer) -> str:
    """Of every file of a volume."""
    script = "cd /it && find . -type f -exec sha256sum {} + | sort -k 2"
    return shell(bed.client, images.tag(server.version), script, labels=bed.labels, read_only={"it": server.volume})


def test_a_damaged_copy_is_passed_over_for_another_storage_and_named_where_there_is_none(
    server: PostgresServer, staging: Callable[[], str], tmp_path: Path
) -> None:
    if server.version != 17:
        return
    target = target_for(server, tmp_path)
    taken = target.backup()
    damaged = next(each for each in taken.objects if each.role == "dump" and each.database == taken.database)
    path = target.path(damaged.key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(content))
    with pytest.raises(ObjectDamaged, match=r"No storage gives .*knowledge_os\.dump\.zst as it was stored"):
        rebuilt(server, (target, taken), staging())
