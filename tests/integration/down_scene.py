"""A Compose project with a database and one who uses it, a target for it, and `down` run on it in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from flows import backup as backup_flow
from flows import drill as drill_flow
from flows import restore_volume as restore_flow
from flows import safe_down as down_flow
from tasks.leaving.report import DownReport
from tasks.models import Manifest
from tasks.restore.approval import asked
from tests.bed import images
from tests.bed.compose import ComposeProject, answers_query, compose_project
from tests.bed.labels import Bed, remove
from tests.bed.postgres import PASSWORD, USER
from tests.bed.rebuilding import nothing_left

DATA = "/var/lib/postgresql/data"
DELETE = "DELETE VOLUMES\n"
TEXT = f"""\
services:
  db:
    image: {images.tag(17)}
    container_name: CONTAINER
    command: ["-c", "fsync=off", "-c", "autovacuum=off"]  # its ANALYZE writes, whenever it likes
    environment: {{POSTGRES_USER: {USER}, POSTGRES_PASSWORD: {PASSWORD}, POSTGRES_DB: knowledge_os}}
    labels: BED_LABELS
    volumes: [data:{DATA}]
    network_mode: bridge
  app:
    image: {images.tag(17)}
    entrypoint: ["sleep", "600"]
    stop_signal: SIGKILL
    tmpfs: ["{DATA}"]  # in the place of the image's anonymous volume, which a down leaves
    labels: BED_LABELS
    volumes: [cache:/cache]
    network_mode: bridge
volumes:
  data: DECLARED
  cache: {{labels: BED_LABELS}}
"""
ROWS = """
    CREATE TABLE experts AS SELECT n AS id, 'expert ' || n AS name FROM generate_series(1, 85) AS n;
    CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(n::text) AS content FROM generate_series(1, 2000) AS n
"""
CONTENT = """
    SELECT md5((SELECT string_agg(e::text, ',' ORDER BY id) FROM experts AS e) ||
               (SELECT string_agg(k::text, ',' ORDER BY id) FROM knowledge_nodes AS k))
"""


def plainly(flow: Any) -> Any:
    """The flow without Prefect, even where another test has loaded it."""
    return getattr(flow, "fn", flow)


@dataclass
class DownScene:
    """The project, its target's name and configuration."""

    bed: Bed
    project: ComposeProject
    target: str
    container: str
    config: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def client(self) -> docker.DockerClient:
        """Of the engine."""
        return self.bed.client

    def volume(self, key: str = "data") -> str:
        """The engine's name of a volume of the project."""
        return f"{self.project.name}_{key}"

    def exists(self, volume: str) -> bool:
        """Whether the engine has it."""
        try:
            self.client.volumes.get(volume)
        except NotFound:
            return False
        return True

    def runs(self) -> list[str]:
        """The services that run."""
        ours = {"label": f"com.docker.compose.project={self.project.name}"}
        return sorted(each["Labels"]["com.docker.compose.service"] for each in self.client.api.containers(filters=ours))

    def ask(self, query: str) -> str:
        """What the database says."""
        return answers_query(self.bed, self.container, query)

    def down(self, typed: str = "", how: Any = "terminal", **options: Any) -> DownReport:
        """`down`, with `typed` on standard input."""
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with asked(how, "tester"):
            report: DownReport = plainly(down_flow.safe_down)(
                str(self.project.folder), str(self.config), **{"dry_run": False, **options}
            )
        return report

    def backup(self) -> Manifest:
        """Back up."""
        manifest: Manifest = plainly(backup_flow.backup)(self.target, str(self.config))
        return manifest

    def prove(self) -> None:
        """Drill the newest backup."""
        assert plainly(drill_flow.drill)(self.target, str(self.config)).proven

    def restore(self) -> None:
        """`restore-volume --yes`, from what it chooses by itself."""
        with asked("given", "tester"):
            plainly(restore_flow.restore_volume)(self.target, str(self.config), dry_run=False)

    def configure(self, **rules: Any) -> None:
        """Change the target's section."""
        document = json.loads(self.config.read_text())
        document["targets"][self.target] |= rules
        self.config.write_text(json.dumps(document))


def text(container: str, declared: str = "{labels: BED_LABELS}") -> str:
    """The project's compose file."""
    return TEXT.replace("CONTAINER", container).replace("DECLARED", declared)


@contextmanager
def down_scene(
    bed: Bed, folder: Path, monkeypatch: pytest.MonkeyPatch, image: str | None = None
) -> Iterator[DownScene]:
    """The project, up, with rows in its database; removed at the end with everything that it brought.

    image: of the database, another than the version's own.
    """
    container, target = bed.name("knowledge-postgres"), bed.name("leaving")
    with (
        nothing_left(bed),
        compose_project(bed, folder, text(container).replace(images.tag(17), image or images.tag(17), 1)) as project,
    ):
        config = folder / "targets.yaml"
        (folder / "password").touch(mode=0o600)
        (folder / "password").write_text(PASSWORD)
        (folder / "backups").mkdir()
        rules = {
            "container": container,
            "volume": f"{project.name}_data",
            "database": "knowledge_os",
            "user": USER,
            "password": {"file": str(folder / "password")},
            "storages": ["local"],
        }
        document = {"storages": {"local": {"type": "local", "path": "./backups"}}, "targets": {target: rules}}
        config.write_text(json.dumps(document))
        scene = DownScene(bed, project, target, container, config, monkeypatch)
        project.up()
        scene.ask(ROWS)
        try:
            yield scene
        finally:
            _remove_kept(bed, target)


def _remove_kept(bed: Bed, target: str) -> None:
    """What restores have kept."""
    for each in bed.client.volumes.list(filters={"label": f"io.rollcall.target={target}"}):
        remove(each)
