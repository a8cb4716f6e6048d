"""A database of pgvector's, as the incident's own was: backed up, proven, brought back, its indexes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import drill as drill_flow
from flows import restore_volume as restore_flow
from tasks.restore.approval import asked
from tests.bed import images
from tests.bed.labels import Bed, remove
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.target import NAME, Target, target_for
from tests.integration.down_scene import plainly

ROWS = """
    CREATE EXTENSION vector;
    CREATE TABLE knowledge_nodes (id int PRIMARY KEY, near vector(8) NOT NULL, far halfvec(8) NOT NULL);
    INSERT INTO knowledge_nodes SELECT n, given::vector, given::halfvec FROM generate_series(1, 500) AS n,
        LATERAL (SELECT array_agg(sin(n * part)::real) FROM generate_series(1, 8) AS part) AS made (given);
    CREATE INDEX by_graph ON knowledge_nodes USING hnsw (near vector_cosine_ops) WITH (m = 8, ef_construction = 40);
    CREATE INDEX by_lists ON knowledge_nodes USING ivfflat (far halfvec_l2_ops) WITH (lists = 10)
"""
CONTENT = "SELECT md5(string_agg(k::text, ',' ORDER BY id)) FROM knowledge_nodes AS k"
INDEXES = "SELECT string_agg(indexdef, ', ' ORDER BY indexdef) FROM pg_indexes WHERE tablename = 'knowledge_nodes'"
NEAREST = "SELECT id FROM knowledge_nodes ORDER BY near <=> (SELECT near FROM knowledge_nodes WHERE id = 85) LIMIT 1"


@pytest.fixture
def server(bed: Bed, postgres: PostgresServers) -> Iterator[PostgresServer]:
    made = postgres(version=17, image=images.extended(17))
    made.execute(*ROWS.strip().split(";\n"))
    yield made
    for each in bed.client.volumes.list(filters={"label": f"io.rollcall.target={NAME}"}):
        if each.name != made.volume:
            remove(each)


def ask(server: PostgresServer, servers: PostgresServers) -> list[object]:
    now = servers.ready(server)
    return [now.value(query) for query in (CONTENT, INDEXES, NEAREST)]


@pytest.mark.slow
def test_vectors_and_their_indexes_are_backed_up_proven_and_brought_back(
    server: PostgresServer, postgres: PostgresServers, tmp_path: Path
) -> None:
    target: Target = target_for(server, tmp_path, databases=[])
    before = ask(server, postgres)
    backup = target.backup()
    assert plainly(drill_flow.drill)(NAME, str(target.file)).proven
    server.execute("DELETE FROM knowledge_nodes WHERE id > 1", "DROP INDEX by_graph")

    with asked("given", "tester"):
        plainly(restore_flow.restore_volume)(NAME, str(target.file), backup=backup.id, dry_run=False)

    assert ask(server, postgres) == before
    assert before[2] == 85
