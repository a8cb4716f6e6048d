"""A folder as the real Compose program understands it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.containers.compose_project import Project, project_files, read_project
from tasks.errors import ComposeFileError

pytestmark = pytest.mark.usefixtures("every_compose")
BASE = "version: '3.8'\nservices:\n  db:\n    image: x\n    volumes: ['data:/d']\nvolumes:\n  data:\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "Knowledge OS"
    made.mkdir()
    return made


def read(folder: Path, **more: str) -> Project:
    return read_project(folder, environ=more)


def test_the_name_comes_from_the_folder_as_compose_makes_it(folder: Path) -> None:
    (folder / "docker-compose.yml").write_text(BASE)
    project = read(folder)
    assert project.name == "knowledgeos"
    assert [(each.key, each.name, each.external) for each in project.volumes] == [("data", "knowledgeos_data", False)]
    assert project.services == ["db"]


def test_dot_env_and_overrides_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    (folder / "docker-compose.yml").write_text(BASE)
    (folder / "docker-compose.override.yml").write_text(
        "version: '3.8'\nservices: {db: {image: y, volumes: ['more:/m']}}\n"
        "volumes: {data: {external: true, name: atra_data}, more: {name: fixed}}\n"
    )
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME='atra'\n")
    project = read(folder)
    assert project.name == "atra"
    found = {each.key: (each.name, each.external) for each in project.volumes}
    assert found == {"data": ("atra_data", True), "more": ("fixed", False)}


def test_a_file_named_in_dot_env_and_one_given_are_read(folder: Path) -> None:
    (folder / "db.yml").write_text(BASE)
    (folder / ".env").write_text("COMPOSE_FILE=db.yml\n")
    assert read(folder).services == ["db"]
    assert read_project(folder, [str(folder / "db.yml")], "given", environ={}).volumes[0].name == "given_data"


def test_a_folder_above_is_another_project(folder: Path) -> None:
    (folder / "docker-compose.yml").write_text(BASE)
    (folder / "below").mkdir()
    with pytest.raises(ComposeFileError, match="holds no compose file"):
        project_files(folder / "below", environ={})


def test_a_file_that_cannot_even_be_looked_for_is_told(folder: Path) -> None:
    """Python raises for such a name what it raises below a folder that may not be entered."""
    with pytest.raises(ComposeFileError, match=r"(looked for: File name too long|no compose file .*a)\.$"):
        project_files(folder, ["a" * 300], environ={})


def test_what_compose_does_not_accept_is_told_without_a_value_of_it(folder: Path) -> None:
    (folder / "docker-compose.yml").write_text(f"{BASE}nonsense: hunter2\n")
    with pytest.raises(ComposeFileError, match="does not accept the project") as told:
        read(folder)
    assert "hunter2" not in str(told.value)
