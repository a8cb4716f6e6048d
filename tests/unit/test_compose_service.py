"""Where a container's compose files are, by the labels of either generation of Compose."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.containers.compose_file import CannotMend, plan_mend, service_of


def labelled(**labels: str) -> dict[str, Any]:
    return {"Config": {"Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()}}}


def project(files: str, folder: Path, **more: str) -> dict[str, Any]:
    names = {"project.config_files": files, "project.working_dir": str(folder)}
    return labelled(**names, project="p", service="db", **more)


def test_a_container_of_nobody_has_no_service() -> None:
    assert service_of({"Config": {"Labels": None}}) is None
    assert service_of(labelled(project="p")) is None


@pytest.mark.parametrize(
    ("label", "there", "found"),
    [
        ("docker-compose.yml", ["deploy/docker-compose.yml"], ["deploy/docker-compose.yml"]),
        ("{}/deploy/a.yml", ["deploy/a.yml"], ["deploy/a.yml"]),
        ("a.yml,b.yml", ["deploy/a.yml", "deploy/b.yml"], ["deploy/a.yml", "deploy/b.yml"]),
        ("deploy/a.yml,common/b.yml", ["deploy/a.yml", "common/b.yml"], ["deploy/a.yml", "common/b.yml"]),
        ("a,b.yml", ["deploy/a,b.yml"], ["deploy/a,b.yml"]),
        ("gone.yml", [], ["deploy/gone.yml"]),
        ("", [], []),
    ],
)
def test_files_are_found_as_either_compose_names_them(
    tmp_path: Path, label: str, there: list[str], found: list[str]
) -> None:
    for each in there:
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_text("services: {}\n")

    service = service_of(project(label.format(tmp_path), tmp_path / "deploy"))

    assert service is not None
    assert service.files == [tmp_path / each for each in found]


def test_files_of_the_environment_and_the_version_are_known(tmp_path: Path) -> None:
    labels = {"project.environment_file": "/srv/.env,/srv/more.env", "version": "2.29.1"}
    service = service_of(project("a.yml", tmp_path, **labels))
    assert service is not None
    assert service.env_files == [Path("/srv/.env"), Path("/srv/more.env")]
    assert service.version == "2.29.1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, r"it cannot be read \(No such file"),
        ("\xff", None),
        ("a: [", r"it is not valid YAML.*\(line"),
        ("services: {db: {volumes: ['v:/d']}}\n", "do not declare the volume v themselves"),
        ("services: {db: {volumes: ['v:/d']}}\nvolumes: &a {v: }\nx: *a\n", "shares its lines with others"),
    ],
)
def test_a_file_that_cannot_be_mended_is_told_with_the_change(
    tmp_path: Path, text: str | None, why: str | None
) -> None:
    file = tmp_path / "a.yml"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    service = service_of(project("a.yml", tmp_path))
    assert service is not None
    with pytest.raises(CannotMend, match=why or "no UTF-8") as told:
        plan_mend(service, "/d", "pinned")
    assert str(told.value).endswith("external: true\n    name: pinned")


def test_without_the_names_of_its_files_the_change_is_told(tmp_path: Path) -> None:
    service = service_of(project("", tmp_path))
    assert service is not None
    with pytest.raises(CannotMend, match="does not say which compose files"):
        plan_mend(service, "/d", "pinned")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_in_a_folder_that_may_not_be_entered_the_change_is_told(tmp_path: Path) -> None:
    """As another user, for root may enter any."""
    (tmp_path / "a.yml").write_text("services: {}\n")
    code = (
        "import json, os, sys\n"
        "from tasks.containers.compose_file import CannotMend, plan_mend, service_of\n"
        "os.setuid(65534)\n"
        "try: plan_mend(service_of(json.loads(sys.argv[1])), '/d', 'pinned')\n"
        "except CannotMend as error: print(error)"
    )
    tmp_path.chmod(0o700)
    found = json.dumps(project("a.yml,b.yml", tmp_path))
    done = subprocess.run([sys.executable, "-c", code, found], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{tmp_path}/a.yml is not mended: it cannot be read (Permission denied)"), done
    assert done.stdout.endswith("external: true\n    name: pinned\n")


def test_a_file_of_that_name_here_is_not_the_one_on_the_engines_machine(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("services: {db: {volumes: ['v:/d']}}\nvolumes: {v: {}}\n")
    service = service_of(project("a.yml", tmp_path), "db1.example")
    assert service is not None
    with pytest.raises(CannotMend, match=r"are on db1\.example. Write there:\n") as told:
        plan_mend(service, "/d", "pinned")
    assert str(told.value).endswith("external: true\n    name: pinned")


def test_a_file_that_pins_the_volume_needs_no_change(tmp_path: Path) -> None:
    text = "services: {db: {volumes: ['v:/d']}}\nvolumes: {v: {external: true, name: pinned}}\n"
    (tmp_path / "a.yml").write_text(text)
    service = service_of(project("a.yml", tmp_path))
    assert service is not None
    assert plan_mend(service, "/d", "pinned") is None


@pytest.mark.parametrize(
    ("entry", "fixed", "changes"),
    [
        ("{name: pinned}", True, ["in volumes, v:", "+ external: true"]),
        ("{name: pinned, driver: local}", True, ["in volumes, v:", "+ external: true", "- driver (Compose allows"]),
        ("{name: other}", False, ["in volumes, v:", "+ external: true", "+ name: pinned"]),
        ("", False, ["in volumes, v:", "+ external: true", "+ name: pinned"]),
    ],
)
def test_a_name_alone_is_told_from_none(tmp_path: Path, entry: str, fixed: bool, changes: list[str]) -> None:
    (tmp_path / "a.yml").write_text(f"services: {{db: {{volumes: ['v:/d']}}}}\nvolumes: {{v: {entry}}}\n")
    service = service_of(project("a.yml", tmp_path))
    assert service is not None
    mend = plan_mend(service, "/d", "pinned")
    assert mend is not None
    assert mend.fixed is fixed
    assert [each.partition(" nothing")[0] for each in mend.changes] == changes
