"""Pages that are followed line by line, followed to the letter: the first evening, a restore by hand, an upgrade."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from tests.bed import engine, images
from tests.bed.labels import Bed, remove
from tests.bed.pages import Terminal, commands, sh_blocks, yaml_blocks
from tests.bed.postgres import PASSWORD, PostgresServers
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import START_SECONDS, own_ports
from tests.bed.target import NAME, target_for

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
    assert wrong(told) == ["WRONG  notify: Nobody is told", "WRONG  knowledge_os: schedules"], told
    assert "cluster.pinned" in (first := typed(look)), first
    assert typed(backup).startswith("STORED ")
    assert typed(drill).startswith("PROVEN knowledge_os")
    assert typed(look_again).startswith("HEALTHY knowledge_os")

    typed(url, answer=f"{http_recorder.apprise_url}\n")
    write(tell)
    told = typed(doctor_tells, code=2)
    assert wrong(told) == ["WRONG  knowledge_os: schedules"], told
    assert len(http_recorder.wait_for(1)) == 1
    write("".join(f"{key}: {json.dumps(value)}\n" for key, value in own_ports().items()))
    with shell.running(serve, "verify", START_SECONDS):
        pass
    assert "Nothing to do" in typed(plan)
    assert "RESTORE" in typed(plan_of_backup)


def wrong(told: str) -> list[str]:
    """What the doctor says that is wrong, by its first words."""
    return [": ".join(line.split(": ")[:2]) for line in told.splitlines() if line.startswith("WRONG")]


@pytest.fixture
def by_hand(bed: Bed) -> Iterator[str]:
    """A name for the container and the volume that a page makes; nothing of them is left behind."""
    name = bed.name("by-hand")
    yield name
    for kind in (bed.client.containers, bed.client.volumes):
        with suppress(docker.errors.NotFound):
            remove(kind.get(name))


@pytest.mark.parametrize(("before", "after"), [(17, 17), (15, 18)])
def test_a_backup_comes_back_by_hand_also_into_a_newer_major_and_is_then_accepted(
    before: int, after: int, postgres: PostgresServers, by_hand: str, tmp_path: Path
) -> None:
    engine.require_tool("zstd")
    server = postgres(version=before, database="knowledge_os")
    server.execute(
        "CREATE TABLE experts (id serial PRIMARY KEY, name text)",
        "INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n",
        "CREATE ROLE app LOGIN PASSWORD 'app'",
    )
    target = target_for(server, tmp_path, tables={"experts": {"min": 80}})
    manifest = target.backup()
    spelt = {
        "backups/knowledge_os/20261122T020000Z-3f9a1c": str(target.path(f"{NAME}/{manifest.id}")),
        "postgres:17": images.tag(after),
        "restored_data:/var/lib/postgresql/data": f"{by_hand}:{images.RECIPES[after].volume}",
        "restored_data": by_hand,
        "restored": by_hand,
    }
    shell = Terminal(tmp_path, spelt)
    for script in sh_blocks("restore-by-hand.md"):
        ended = shell.type(script)
        assert ended.returncode == 0, ended
        assert "ERROR" not in ended.stderr.replace('ERROR:  role "admin" already exists', ""), ended
    assert ended.stdout.split()[2] == "85"

    target_for(replace(server, container=by_hand, volume=by_hand), tmp_path, tables={"experts": {"min": 80}})
    found = target.verify()
    assert {each.code for each in found.findings if each.severity != "notice"} == {"cluster.changed"}
    assert found.counts == found.expected == {"public.experts": 85}
    shell = Terminal(tmp_path, {"knowledge_os": NAME}, {"ROLLCALL_CONFIG": str(target.file)})
    codes = [shell.type(each).returncode for each in commands("upgrade.md", "PostgreSQL, a major version")]
    assert codes == [2, 0, 0, 0]
    assert target.verify().verdict == "healthy"
