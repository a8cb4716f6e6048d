"""Projects for the real Compose program: a folder made from a text, brought up and down, nothing left behind."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.bed import compose_programs
from tests.bed.labels import Bed, remove
from tests.bed.progress import BedError, wait_until

LABELS_HERE = "BED_LABELS"
"""Where a compose text says `labels: BED_LABELS`, the run's own labels are written."""

PROJECT_LABEL = "com.docker.compose.project"
COMPOSE_SECONDS = 300


def compose_command() -> tuple[str, ...]:
    """How Compose is called by the environment as it is now: the fixtures `compose` and `every_compose` change it."""
    return _command(os.environ.get(compose_programs.VARIABLE, ""))


@cache
def _command(_: str) -> tuple[str, ...]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ("docker", "compose") if plugin.returncode == 0 else ("docker-compose",)


@dataclass(frozen=True)
class ComposeProject:
    """A folder with compose files, under a project name that no other run uses."""

    bed: Bed
    name: str
    folder: Path

    @property
    def file(self) -> Path:
        """The file that Compose reads when it is given none."""
        return self.folder / "docker-compose.yml"

    def write(self, text: str, name: str = "docker-compose.yml") -> Path:
        """Write a file of the project; `labels: BED_LABELS` in it becomes the run's labels."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(LABELS_HERE, json.dumps(self.bed.labels)))
        return path

    def compose(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        files: tuple[str, ...] = (),
        seconds: float = COMPOSE_SECONDS,
    ) -> str:
        """Run Compose in the folder; return all that it says. Raise BedError if it fails.

        env: the whole environment, for one that lacks what ours has.
        """
        given = [each for file in files for each in ("-f", file)]
        command = [*compose_command(), "--project-name", self.name, *given, *arguments]
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if ran.returncode:
            raise BedError(f"{' '.join(command)} ended with {ran.returncode}: {ran.stdout}")
        return ran.stdout

    def up(self, *services: str, files: tuple[str, ...] = (), env: dict[str, str] | None = None) -> str:
        """`up -d`; return what Compose says."""
        return self.compose("up", "-d", *services, files=files, env=env)

    def down(self, *options: str, files: tuple[str, ...] = ()) -> str:
        """`down`; return what Compose says."""
        return self.compose("down", *options, files=files)

    def container(self, service: str = "db") -> dict[str, Any]:
        """The inspect JSON of the service's one running container. Raise BedError if it has not exactly one."""
        labels = [f"{PROJECT_LABEL}={self.name}", f"com.docker.compose.service={service}"]
        found = self.bed.client.api.containers(filters={"label": labels})
        if len(found) != 1:
            raise BedError(f"{service} has {len(found)} running containers.")
        inspected: dict[str, Any] = self.bed.client.api.inspect_container(found[0]["Id"])
        return inspected

    def remove(self) -> None:
        """Remove every container (its anonymous volumes too), volume and network of the project."""
        ours = {"label": f"{PROJECT_LABEL}={self.name}"}
        client = self.bed.client
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            remove(container)
        for volume in client.volumes.list(filters=ours):
            remove(volume)
        for network in client.networks.list(filters=ours):
            remove(network)


@contextmanager
def compose_project(bed: Bed, folder: Path, text: str = "", stem: str = "project") -> Iterator[ComposeProject]:
    """A project in a new folder below `folder`, with `text` as its compose file; removed when the context ends."""
    name = bed.name(stem)
    project = ComposeProject(bed, name, folder / name)
    project.folder.mkdir(parents=True)
    if text:
        project.write(text)
    try:
        yield project
    finally:
        project.remove()


def answers_query(bed: Bed, container: str, query: str, user: str = "admin", database: str = "knowledge_os") -> str:
    """What psql inside the container prints for `query`, once the real server (the one with a TCP port) answers."""
    box = bed.client.containers.get(container)
    line = ["psql", "-h", "127.0.0.1", "-U", user, "-d", database, "-v", "ON_ERROR_STOP=1", "-Atc", query]
    said: list[str] = []

    def asked() -> bool:
        code, output = box.exec_run(line, environment=_password(box.attrs))
        said.append(output.decode(errors="replace").strip())
        return bool(code == 0)

    wait_until(asked, 180, f"an answer of {container}", lambda: said[-1] if said else "")
    return said[-1]


def _password(inspected: dict[str, Any]) -> dict[str, str]:
    pairs = dict(each.partition("=")[::2] for each in inspected["Config"]["Env"])
    return {"PGPASSWORD": pairs.get("POSTGRES_PASSWORD", "")}
