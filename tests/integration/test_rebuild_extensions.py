"""Extensions that PostgreSQL must preload, or whose own tables refer to each other, come back; so does their server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tasks.containers.scratch_place import Place
from tasks.containers.volumes import RUN_LABEL, create_volume
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.target import NAME, target_for

pytestmark = pytest.mark.slow

TOLD = [
    "shared_preload_libraries=pg_stat_statements,pgaudit,pg_cron",
    "cron.database_name=knowledge_os",
    "app.tenant=ours",
    "fsync=off",
]
CONTENT = [
    "CREATE EXTENSION pg_cron",
    "CREATE EXTENSION pgaudit",
    "CREATE EXTENSION pg_stat_statements",
    "CREATE TABLE ticks (at timestamptz)",
    "SELECT cron.schedule('tick', '1 1 1 1 *', 'INSERT INTO ticks VALUES (now())')",
    "CREATE MATERIALIZED VIEW tenants AS SELECT current_setting('app.tenant') AS tenant",
    "CREATE EXTENSION postgis",
    "CREATE EXTENSION postgis_topology",
    "SELECT topology.CreateTopology('one', 4326)",
    "CREATE TABLE places (id int)",
    "SELECT topology.AddTopoGeometryColumn('one', 'public', 'places', 'shape', 'POINT')",
    # Up to PostgreSQL 15, the superuser of initdb may lose that.
    "CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'boss'",
    "ALTER ROLE admin CONNECTION LIMIT 0",
]


@pytest.fixture
def rebuilt(engine: docker.DockerClient, bed: Bed, tmp_path: Path) -> Callable[[PostgresServer], Rebuilt]:
    """Backs a server up as `boss`, and rebuilds that."""

    def rebuild(server: PostgresServer) -> Rebuilt:
        target = target_for(server, tmp_path, user="boss")
        (tmp_path / "password").write_text("boss")
        taken = target.backup()
        volume, recipe = bed.name("staging"), images.RECIPES[server.version]
        create_volume(engine, volume, {RUN_LABEL: "test", **bed.labels})
        return rebuild_from_backup(
            target.config, NAME, taken, ["local"], volume=volume, image_id=taken.identity.image_id,
            place=Place(destination=recipe.volume, pgdata=recipe.pgdata),
        )  # fmt: skip

    return rebuild


def test_extensions_come_back_with_the_libraries_and_settings_that_they_need(
    postgres: PostgresServers, rebuilt: Callable[[PostgresServer], Rebuilt]
) -> None:
    command = [part for each in TOLD for part in ("-c", each)]
    server = postgres(version=15, command=command, image=images.extended(15))
    server.execute(*CONTENT)
    with server.connect(user="boss", password="boss", autocommit=True) as connection:
        connection.execute("ALTER ROLE admin NOSUPERUSER")
    done = rebuilt(server)
    tally = done.tallies[server.database]
    assert done.differences == []
    assert (tally.counts["cron.job"], tally.counts["topology.topology"], tally.counts["topology.layer"]) == (1, 1, 1)
    assert tally.materialized_views["public.tenants"] == 1
    assert [note for note in done.notes if "preload" in note] == []
