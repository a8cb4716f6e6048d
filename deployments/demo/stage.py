"""The two Compose projects: guarded, started, filled, and removed by their label alone."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from deployments.demo.scene import (
    CONTAINER,
    FOLDER,
    HERE,
    PROJECTS,
    RIGHT_VOLUME,
    TARGET,
    WRONG_VOLUME,
    Scene,
    wait_until,
)
from deployments.demo.voice import DemoError

LABEL = "rollcall.demo"
READY_SECONDS = 180.0
PASSING_SECONDS = 120.0


def refuse_what_is_not_ours(scene: Scene) -> None:
    """Raise DemoError if anything that the demo would make is there already and does not carry the demo's label."""
    networks = [f"{project}_default" for project in PROJECTS]
    names = {"container": [CONTAINER], "volume": [RIGHT_VOLUME, WRONG_VOLUME], "network": networks}
    for kind in names:
        for project in PROJECTS:
            names[kind] += _ids(scene, kind, f"com.docker.compose.project={project}")
    for kind, wanted in names.items():
        for name in wanted:
            found = _inspect(scene, kind, name)
            if found is not None and LABEL not in _labels(found):
                raise DemoError(
                    f"This engine has the {kind} {found['Name'].lstrip('/')}, which the demo did not make, "
                    "so nothing was touched; run the demo on another engine (DOCKER_HOST)."
                )


def remove_ours(scene: Scene) -> None:
    """Remove containers, then volumes and networks, that carry the demo's label, and volumes that its restores kept."""
    for each in _ids(scene, "container", LABEL):
        scene.run(["docker", "container", "rm", "--force", each])
    for each in _ids(scene, "volume", LABEL) + kept_volumes(scene):
        _remove_volume(scene, each)
    for each in _ids(scene, "network", LABEL):
        scene.run(["docker", "network", "rm", each])


def _remove_volume(scene: Scene, name: str) -> None:
    """Where somebody else's check looks into it just now, which takes seconds, its end is waited for."""
    given_up = time.monotonic() + PASSING_SECONDS
    while "in use" in scene.run(["docker", "volume", "rm", name]).stderr and time.monotonic() < given_up:
        time.sleep(0.5)


def kept_volumes(scene: Scene) -> list[str]:
    """The volumes that restores of the demo's own target, told by its state folder, have kept."""
    owner = f"{TARGET}-{hashlib.sha256(str(FOLDER / 'state').encode()).hexdigest()[:12]}"
    return _ids(scene, "volume", f"io.rollcall.owner={owner}")


def left_behind(scene: Scene) -> list[str]:
    """What still carries the label, as `kind id`."""
    labelled = [f"{kind} {each}" for kind in ("container", "volume", "network") for each in _ids(scene, kind, LABEL)]
    return labelled + [f"volume {each}" for each in kept_volumes(scene)]


def _ids(scene: Scene, kind: str, label: str) -> list[str]:
    every = ["--all"] if kind == "container" else []
    return scene.must(["docker", kind, "ls", *every, "--quiet", "--filter", f"label={label}"]).split()


def _inspect(scene: Scene, kind: str, name: str) -> dict[str, Any] | None:
    """The engine's JSON, or None where there is none of that name. Raise DemoError if the engine does not answer."""
    done = scene.run(["docker", kind, "inspect", name])
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found
    if "no such" in done.stderr.lower() or "not found" in done.stderr.lower():
        return None
    raise DemoError(f"The Docker engine does not answer as it should: {done.stderr.strip()}")


def _labels(found: dict[str, Any]) -> dict[str, str]:
    return found.get("Labels") or found.get("Config", {}).get("Labels") or {}


def compose_command() -> list[str]:
    """`docker compose` where the plugin is there, else `docker-compose`."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


def compose(scene: Scene, command: list[str], project: str, *arguments: str) -> str:
    """Run Compose in a project's folder; return what it said of volumes and of the container."""
    done = scene.run([*command, *arguments], cwd=FOLDER / project)
    if done.returncode:
        raise DemoError(f"Compose failed in {project}: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return "\n".join(_telling(done.stderr))


def _telling(text: str) -> Iterator[str]:
    """The end of each action, not its progress; networks are no part of the story."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for line in re.split(r"[\r\n]+", plain):
        if re.search(r"network", line, re.IGNORECASE):
            continue
        if re.search(r"Creating volume|(done|Created|Started|Removed)\s*$", line):
            yield line.strip()


def wait_for_database(scene: Scene) -> None:
    """Wait for the server over TCP: the temporary one of a first start, which runs the init script, has none."""
    wait_until(lambda: psql(scene, "SELECT 1").returncode == 0, READY_SECONDS, "The database's first answer")


def psql(scene: Scene, query: str) -> subprocess.CompletedProcess[str]:
    """Ask the database one thing; unaligned rows without a header on stdout."""
    scene.environment["PGPASSWORD"] = scene.environment["KNOWLEDGE_OS_PASSWORD"]
    there = ["docker", "exec", "--env", "PGPASSWORD", CONTAINER]
    return scene.run([*there, *_client(), "--tuples-only", "--no-align", "--command", query])


def grow(scene: Scene) -> None:
    """Fill the database with a year of use."""
    there = ["docker", "exec", "--interactive", "--env", "PGPASSWORD", CONTAINER]
    scene.must([*there, *_client(), "--quiet", "--set", "ON_ERROR_STOP=1"], stdin=HERE / "grown.sql")


def _client() -> list[str]:
    return ["psql", "--no-psqlrc", "--host", "127.0.0.1", "--username", "admin", "--dbname", "knowledge_os"]


def cluster_number(scene: Scene) -> str:
    """The system identifier of the cluster that answers now: initdb gives each its own."""
    return psql(scene, "SELECT system_identifier FROM pg_control_system()").stdout.strip()
