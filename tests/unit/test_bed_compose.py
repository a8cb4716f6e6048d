"""The bed's Compose takes no part of the user's own Docker settings away."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bed.compose_programs import with_plugin


def test_docker_finds_the_beds_compose_and_all_that_the_users_own_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, made, compose = tmp_path / "own", tmp_path / "made", tmp_path / "compose-of-the-bed"
    for each in ("contexts/meta/one", "config.json", "cli-plugins/docker-buildx", "cli-plugins/docker-compose"):
        (own / each).parent.mkdir(parents=True, exist_ok=True)
        (own / each).write_text(each)
    compose.write_text("v5")
    monkeypatch.setenv("DOCKER_CONFIG", str(own))

    for _ in range(2):
        with_plugin(made, compose)

    found = {str(each.relative_to(made)): each.read_text() for each in made.rglob("*") if each.is_file()}
    assert found == {
        "config.json": "config.json",
        "cli-plugins/docker-buildx": "cli-plugins/docker-buildx",
        "cli-plugins/docker-compose": "v5",
    }
    assert (made / "contexts/meta/one").read_text() == "contexts/meta/one"


def test_compose_is_the_one_that_the_bed_brings() -> None:
    said = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("5.")
