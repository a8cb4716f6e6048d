"""A database with every kind of object that PostgreSQL's SQL commands make is proven, and comes back the same.

The SQL is in the folder `torture` beside this file. What came back is compared by PostgreSQL's own programs, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import docker
import pytest

from tasks.containers.scratch import Place
from tasks.restore.compare import in_words
from tasks.restore.rebuild import rebuild_from_backup
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.stock import in_container
from tests.bed.target import NAME, target_for

pytestmark = pytest.mark.slow

SQL = Path(__file__).parent / "torture"
COMMAND = ["-c", "fsync=off", "-c", "wal_level=logical"]
OBJECTS = 300


def run_script(server: PostgresServer, name: str, database: str) -> None:
    psql = ["psql", "-qX", "-U", server.user, "-d", database, "-v", "ON_ERROR_STOP=1", "-f", "-"]
    in_container(server, psql, (SQL / name).read_bytes())


@pytest.fixture(params=[15, 17, 18])
def tortured(request: pytest.FixtureRequest, postgres: PostgresServers) -> PostgresServer:
    server = postgres(version=request.param, command=COMMAND)
    if server.version == 18:  # its volume is above PGDATA, so that a tablespace may be in it
        in_container(server, ["install", "-d", "-o", "postgres", "-m", "0700", "/var/lib/postgresql/far"])
        server.execute('CREATE TABLESPACE "Far "" away" LOCATION \'/var/lib/postgresql/far\' WITH (seq_page_cost = 3)')
    run_script(server, "roles.sql", "postgres")
    run_script(server, "objects.sql", server.database)
    if server.version == 18:
        server.execute(
            'CREATE TABLE there (i int PRIMARY KEY USING INDEX TABLESPACE "Far "" away") TABLESPACE "Far "" away"',
            'ALTER TABLESPACE "Far "" away" OWNER TO maker',
        )
    return server


def told(server: PostgresServer, *program: str) -> list[str]:
    """The statements that PostgreSQL's own program writes, sorted.

    Without brackets and names of columns: reading an expression back may spread the ones and print the others. Without
    MAXVALUE: LIKE … INCLUDING IDENTITY makes a bigint for an integer column, and pg_dump an integer of it.
    """
    text = in_container(server, [*program, "-U", server.user]).decode()
    lines = [each for each in text.split("\n") if each and not each.startswith(("--", "\\"))]
    statements = re.split(r";\n", "\n".join(lines))
    return sorted(re.sub(r"[\s()]+", " ", re.sub(r"(NO )?MAXVALUE( \d+)?| AS \w+", "", each)) for each in statements)


def test_every_kind_of_object_comes_back(
    tortured: PostgresServer, postgres: PostgresServers, engine: docker.DockerClient, bed: Bed, tmp_path: Path
) -> None:
    target = target_for(tortured, tmp_path)
    taken = target.backup()
    assert taken.verdict == "healthy"
    assert len(taken.tally.schema_objects) > OBJECTS
    volume, recipe = bed.name("staging"), images.RECIPES[tortured.version]
    engine.volumes.create(volume, labels=bed.labels)
    built = rebuild_from_backup(
        target.config, NAME, taken, ["local"], volume=volume, image_id=taken.identity.image_id,
        place=Place(destination=recipe.volume, pgdata=recipe.pgdata),
    )  # fmt: skip
    assert "\n".join(in_words(each) for each in built.differences) == ""
    back = postgres(version=tortured.version, volume=volume, command=COMMAND)
    assert told(back, "pg_dumpall", "--globals-only") == told(tortured, "pg_dumpall", "--globals-only")
    for database in [taken.database, *taken.databases]:
        for part in ("--schema-only", "--data-only"):
            dump = ("pg_dump", "--create", part, "-d", database)
            mine, theirs = told(back, *dump), told(tortured, *dump)
            assert sorted(set(mine) ^ set(theirs)) == [], f"{part} of {database}"
            assert mine == theirs
