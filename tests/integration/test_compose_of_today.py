"""What Compose 1 has no word for: hooks, and a project's name in its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.containers.compose_program import hooks_of
from tasks.containers.compose_project import read_project
from tasks.containers.compose_service import Service
from tests.bed.compose import compose_command

BASE = "services:\n  db:\n    image: x\n    volumes: ['data:/d']\nvolumes:\n  data:\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "Knowledge OS"
    made.mkdir()
    return made


def test_hooks_that_only_compose_runs_are_known(folder: Path) -> None:
    text = BASE.replace("image: x", "image: x\n    pre_stop: [{command: [a]}]")
    (folder / "docker-compose.yml").write_text(text.replace("image: x", "image: x\n    post_start: [{command: [b]}]"))
    assert read_project(folder, environ={}).hooks == ["db"]
    service = Service(project="p", service="db", folder=folder, files=[folder / "docker-compose.yml"])
    assert hooks_of(service) == ["post_start", "pre_stop"]


def test_a_docker_compose_of_today_that_is_no_plugin_knows_the_name_in_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `docker` has no such plugin: it has one of the bed's only by DOCKER_CONFIG."""
    programs = tmp_path / "programs"
    programs.mkdir()
    compose_command()
    (programs / "docker-compose").symlink_to(Path(os.environ["DOCKER_CONFIG"]) / "cli-plugins" / "docker-compose")
    monkeypatch.setenv("PATH", str(programs))
    (folder / "compose.yaml").write_text(f"name: atra\n{BASE}")
    project = read_project(folder, environ={})
    assert (project.name, project.command, project.first) == ("atra", ["docker-compose"], False)
