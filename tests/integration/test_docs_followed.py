"""docs/first-evening.md, followed to the letter by a newcomer with a database that nobody protects yet."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.bed.pages import Terminal, commands, yaml_blocks
from tests.bed.postgres import PASSWORD, PostgresServers
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import START_SECONDS, own_ports

pytestmark = pytest.mark.slow


def test_the_first_evening_ends_with_a_database_that_is_protected(
    postgres: PostgresServers, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    server = postgres(version=17, database="knowledge_os")
    server.execute(
        "CREATE TABLE experts (id serial PRIMARY KEY, name text)",
        "INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n",
    )
    shell = Terminal(
        tmp_path, {"knowledge_postgres": server.container, "atra_knowledge_postgres_data": server.volume}
    )  # fmt: skip
    folder, protect, tell = tmp_path / "rollcall", *yaml_blocks("first-evening.md")

    def typed(command: str, code: int = 0, answer: str = "") -> str:
        ended = shell.type(command, answer)
        assert ended.returncode == code, ended
        return ended.stdout

    def write(text: str) -> None:
        with (folder / "targets.yaml").open("a") as file:
            file.write(shell.spell(text))

    (
        _, path, containers, mounts, settings, make_folder, name_file, password, doctor, look, backup, drill,
        look_again, url, doctor_tells, serve, plan, plan_of_backup,
    ) = commands("first-evening.md")  # fmt: skip
    typed(path)
    assert server.container in typed(containers)
    assert f"{server.volume} at /var/lib/postgresql/data" in typed(mounts)
    assert typed(settings).split() == ["POSTGRES_USER=admin", "POSTGRES_DB=knowledge_os"]
    typed(make_folder)
    typed(name_file)
    typed(password, answer=f"{PASSWORD}\n")
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    write(protect)

    told = typed(doctor, code=2)
    assert [line.split(":")[0] for line in told.splitlines() if line.startswith("WRONG")] == ["WRONG  notify"]
    assert "cluster.pinned" in (first := typed(look)), first
    assert typed(backup).startswith("STORED ")
    assert typed(drill).startswith("PROVEN knowledge_os")
    assert typed(look_again).startswith("HEALTHY knowledge_os")

    typed(url, answer=f"{http_recorder.apprise_url}\n")
    write(tell)
    assert "WRONG" not in typed(doctor_tells)
    assert len(http_recorder.wait_for(1)) == 1
    write("".join(f"{key}: {json.dumps(value)}\n" for key, value in own_ports().items()))
    with shell.running(serve, "verify", START_SECONDS):
        pass
    assert "Nothing to do" in typed(plan)
    assert "RESTORE" in typed(plan_of_backup)
