"""The files that run Rollcall in Docker: Compose takes them, and everything that they name exists and is explained."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployments.serving.run_containers import job_template
from tasks.containers.engine import own_id
from tasks.containers.observe import Mount
from tasks.containers.shared_folders import outside
from tests.bed.compose import compose_command
from tests.unit.test_docs import COMMANDS

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments/docker"
COMPOSE = [FILES / "compose.yaml", FILES / "compose.proxy.yaml"]
ID = "4a" * 32
SURROUNDINGS = {name: os.environ[name] for name in ("PATH", "DOCKER_CONFIG")}


def example() -> dict[str, str]:
    """Every variable that .env.example names, those that have defaults too."""
    lines = (FILES / ".env.example").read_text().splitlines()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", "\n".join(lines), re.MULTILINE))


@pytest.mark.parametrize("files", [COMPOSE[:1], COMPOSE], ids=["plain", "behind the proxy"])
@pytest.mark.parametrize("profile", ["serve", "pool"])
def test_compose_accepts_the_files_with_what_the_example_says(files: list[Path], profile: str) -> None:
    given = {name: value for name, value in example().items() if not name.startswith("COMPOSE_")}
    environment = {**SURROUNDINGS, "COMPOSE_PROFILES": profile, **given, "PREFECT_DB_PASSWORD": "x"}
    named = [word for file in files for word in ("-f", str(file))]

    ran = subprocess.run(
        [*compose_command(), *named, "config"], env=environment, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_without_a_setting_that_has_no_default_compose_says_where_it_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"  # where no .env of a developer's is
    file.write_text(COMPOSE[0].read_text())

    ran = subprocess.run(
        [*compose_command(), "-f", str(file), "config"],
        env=SURROUNDINGS, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode != 0
    assert ".env.example" in ran.stderr


def test_the_example_explains_just_the_variables_that_the_files_use() -> None:
    used = {name for file in COMPOSE for name in re.findall(r"\$\{([A-Z_]+)", file.read_text())}
    composes_own = {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE"}

    assert set(example()) - composes_own == used


def test_the_defaults_in_the_example_are_those_of_the_files() -> None:
    said = re.findall(r"^#([A-Z_]+)=(.*)$", (FILES / ".env.example").read_text(), re.MULTILINE)
    used = {pair for file in COMPOSE for pair in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", file.read_text())}

    assert {(name, value) for name, value in said if name != "COMPOSE_FILE"} == used


def test_every_file_that_the_files_name_exists() -> None:
    paths = [path for file in COMPOSE for path in re.findall(r"(?:- |context: )(\.{1,2}/[^:\s]+)", file.read_text())]
    dockerfile = (FILES / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()]

    assert [path for path in paths if not (FILES / path).exists()] == []
    assert [name for name in copied if name != "wheel[s]" and not (ROOT / name).exists()] == []
    assert paths and copied


def test_every_rollcall_command_in_the_files_exists_with_its_options() -> None:
    text = "\n".join(path.read_text() for path in FILES.iterdir() if path.is_file())
    lines = [shlex.split(each.replace(",", " ")) for each in re.findall(r"rollcall,? [a-z][a-z -]+", text)]
    commands = [line for line in lines if line[1] in COMMANDS]

    assert {line[1] for line in commands} == {"serve", "deploy", "watch"}
    for line in commands:
        known = {option for parameter in COMMANDS[line[1]].params for option in parameter.opts}
        assert {word for word in line if word.startswith("--")} <= known


def test_only_what_the_image_needs_is_sent_to_be_built() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert sorted(kept) == ["LICENSE", "README.md", "deployments", "flows", "pyproject.toml", "tasks", "wheels"]


def line(root: str, place: str) -> str:
    return f"141 122 254:0 {root} {place} rw,relatime - ext4 /dev/vda rw\n"


def test_a_container_is_known_by_the_files_that_the_engine_mounts_into_it() -> None:
    assert own_id(line("/", "/") + line(f"/var/lib/docker/containers/{ID}/hostname", "/etc/hostname")) == ID
    assert own_id(line(f"/docker/containers/{ID}/resolv.conf", "/etc/resolv.conf")) == ID


def test_a_host_is_not_taken_for_one_of_its_containers() -> None:
    assert own_id(line("/", "/") + line(f"/var/lib/docker/containers/{ID}/mounts/shm", f"/var/x/{ID}/shm")) is None
    assert own_id(line(f"/var/lib/docker/containers/{ID}/hostname", "/mnt/hostname")) is None


def mount(source: str, destination: str) -> Mount:
    return Mount(source=source, destination=destination, kind="bind", volume=None)


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        ("/tmp/rollcall-1", "/var/lib/docker/volumes/x/_data/rollcall-1"),
        ("/tmp", "/var/lib/docker/volumes/x/_data"),
        ("/srv/rollcall/state/rebuild", "/srv/rollcall/state/rebuild"),
        ("/srv/other", None),
        ("/scratch/x", None),
    ],
)
def test_a_folder_is_named_by_the_path_of_the_mount_it_lies_in(folder: str, path: str | None) -> None:
    mounts = [
        mount("/var/lib/docker/volumes/x/_data", "/tmp"),
        mount("/srv/rollcall", "/srv/rollcall"),
        mount("", "/scratch"),
    ]

    assert outside(Path(folder), mounts) == path


def inspected() -> dict[str, Any]:
    mounts = [
        {"Type": "bind", "Source": "/srv/rollcall", "Destination": "/srv/rollcall", "RW": True},
        {"Type": "volume", "Name": "exchange", "Source": "/v/exchange/_data", "Destination": "/tmp", "RW": True},
        {"Type": "tmpfs", "Source": "", "Destination": "/run", "RW": True},
    ]
    host = {"NetworkMode": "host", "GroupAdd": ["103"], "ReadonlyRootfs": True, "Tmpfs": {"/home/rollcall": ""},
            "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"], "Init": True}  # fmt: skip
    config = {"Image": "rollcall", "User": "1000:1000", "Env": ["ROLLCALL_CONFIG=/srv/t.yaml", "DB_PASSWORD=hidden"]}
    return {"HostConfig": host, "Config": config, "Mounts": mounts}


def test_a_run_gets_a_container_like_the_worker_s() -> None:
    from prefect_docker.worker import DockerWorker

    plain = DockerWorker.get_default_base_job_template()

    variables = job_template(plain, inspected())["variables"]["properties"]

    assert variables["volumes"]["default"] == ["/srv/rollcall:/srv/rollcall:rw", "exchange:/tmp:rw"]
    assert variables["container_create_kwargs"]["default"]["user"] == "1000:1000"
    assert variables["network_mode"]["default"] == "host"
    assert plain == DockerWorker.get_default_base_job_template()


def test_a_work_pool_is_told_no_secret_of_the_worker_s_environment() -> None:
    plain: dict[str, Any] = {"variables": {"properties": {}}}
    names = ("image", "image_pull_policy", "env", "network_mode", "volumes", "auto_remove", "container_create_kwargs")
    plain["variables"]["properties"] = {name: {} for name in names}

    template = job_template(plain, inspected())

    assert template["variables"]["properties"]["env"]["default"] == {"ROLLCALL_CONFIG": "/srv/t.yaml"}
    assert "hidden" not in json.dumps(template)
