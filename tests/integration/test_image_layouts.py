"""Images that lay PostgreSQL out in their own way: no PGDATA in the environment, no program on PATH, other accounts."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed import layouts
from tests.bed.labels import Bed, remove
from tests.bed.layouts import Layout
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.target import NAME, Target, target_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scene:
    """A server of such an image on a volume of its own, and its configuration."""

    layout: Layout
    server: PostgresServer
    target: Target
    servers: PostgresServers
    bed: Bed

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this configuration; standard output and error in one."""
        line = [sys.executable, "-m", "deployments", *words, "--config", str(self.target.file)]
        return subprocess.run(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, cwd=ROOT, check=False
        )

    def ends(self, code: int, *words: str) -> None:
        """The command ends with this exit code."""
        ran = self.run(*words)
        assert ran.returncode == code, ran.stdout

    def stop(self) -> None:
        """Stop the server's container."""
        self.bed.client.containers.get(self.server.container).stop(timeout=60)


# One stands for all in the suite that runs at every change: each takes a minute on a busy machine.
LAYOUTS = ["opt", *(pytest.param(each, marks=pytest.mark.slow) for each in ("busybox", "debian"))]


@pytest.fixture(params=LAYOUTS)
def scene(request: pytest.FixtureRequest, bed: Bed, postgres: PostgresServers, tmp_path: Path) -> Iterator[Scene]:
    layout = layouts.require(request.param)
    server = postgres(layout.version, image=layout.tag, mount=layout.volume)
    server.execute(
        "CREATE TABLE experts (id int PRIMARY KEY)", "INSERT INTO experts SELECT generate_series(1, 85)",
        "CREATE ROLE clerk LOGIN",
    )  # fmt: skip
    yield Scene(layout, server, target_for(server, tmp_path), postgres, bed)
    for volume in bed.client.volumes.list():
        if volume.name.startswith(f"{server.volume}.rollcall-"):  # What a restore keeps.
            remove(volume)


def test_such_a_database_is_backed_up_proven_and_restored_also_when_it_does_not_run(scene: Scene) -> None:
    assert "WRONG" not in "".join(line for line in scene.run("doctor").stdout.splitlines() if "pg_dump" in line)
    scene.ends(0, "verify", NAME)
    scene.ends(0, "backup", NAME)
    scene.ends(0, "drill", NAME)
    scene.server.execute("DELETE FROM experts WHERE id > 1")
    scene.ends(0, "restore-volume", NAME, "--backup", "latest", "--yes")
    scene.ends(0, "verify", NAME)
    scene.bed.client.containers.get(scene.server.container).stop(timeout=60)
    scene.ends(0, "restore-volume", NAME, "--backup", "latest", "--yes", "--without-safety-backup")
    assert scene.servers.ready(scene.server).value("SELECT count(*) FROM experts") == 85
