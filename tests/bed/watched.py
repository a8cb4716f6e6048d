"""The incident before a watcher's eyes: one container name, the right volume, then a wrong one under it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from docker.errors import NotFound
from docker.models.containers import Container

from tests.bed import images
from tests.bed.labels import Bed, remove
from tests.bed.postgres import PASSWORD, PORT, USER, archive
from tests.bed.progress import ROOT, BedError, wait_until
from tests.bed.recorder import HttpRecorder

DATABASE = "knowledge_os"
FAST = ["-c", "fsync=off"]
SCHEMA = """
    CREATE TABLE experts AS SELECT n AS id FROM generate_series(1, {experts}) AS n;
    CREATE TABLE knowledge_nodes AS SELECT n AS id FROM generate_series(1, {nodes}) AS n;
"""
RIGHT, WRONG = {"experts": 85, "nodes": 26_337}, {"experts": 1, "nodes": 27}
READY_SECONDS = 180


@dataclass
class Incident:
    """One target: `container` is a name that different containers bear one after the other."""

    bed: Bed
    name: str
    version: int = 17
    volumes: list[str] = field(default_factory=list)

    @property
    def container(self) -> str:
        """The container's name."""
        return f"{self.name}_postgres"

    @property
    def pinned(self) -> str:
        """The right volume, as the project `atra` would call it."""
        return f"atra_{self.name}_postgres_data"

    @property
    def wrong(self) -> str:
        """The other one, as a project of the target's name would call it."""
        return f"{self.name}_postgres_data"

    def up(self, volume: str, rows: dict[str, int] | None = None, **options: Any) -> Container:
        """Put a new container of the name on `volume` in the place of the present one, and start it.

        rows: what an init script makes, on an empty volume. `options` go to the engine's create.
        """
        self.down()
        if volume not in self.volumes:
            self.make_volume(volume)
        given: dict[str, Any] = {
            "name": self.container,
            "environment": {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": DATABASE},
            "labels": self.bed.labels,
            "volumes": {volume: {"bind": images.RECIPES[self.version].volume, "mode": "rw"}},
            "shm_size": "64m",
        }
        box = self.bed.client.containers.create(
            images.tag(self.version), options.pop("command", FAST), **given | options
        )
        if rows:
            box.put_archive("/docker-entrypoint-initdb.d", archive({"schema.sql": SCHEMA.format(**rows)}))
        box.start()
        return box

    def down(self) -> None:
        """Remove the container of the name, if there is one."""
        self.bed.remove_container(self.container)

    def make_volume(self, name: str, **labels: str) -> None:
        """Make a volume, with labels besides the bed's own."""
        self.bed.client.volumes.create(name, labels=self.bed.labels | labels)
        self.volumes.append(name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume of ours."""
        self.bed.remove_volume(name)

    def accepting(self, seconds: float = READY_SECONDS) -> float:
        """When (time.time()) the container's server first accepted a connection, asked every 10 ms."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.answers():
                return time.time()
            time.sleep(0.01)
        raise BedError(f"{self.container} took no connection in {seconds} s")

    def said_ready(self) -> float:
        """When (time.time()) the server last wrote in its log that it accepts connections. (The first time is that of
        the image's init scripts, which nobody can connect to.)"""
        box = self.bed.client.containers.get(self.container)
        lines = box.logs(timestamps=True).decode(errors="replace").splitlines()
        ready = [line.split(" ")[0] for line in lines if "ready to accept connections" in line]
        return datetime.fromisoformat(ready[-1]).timestamp()

    def answers(self) -> bool:
        """Whether a connection can be made now."""
        try:
            self.connect().close()
        except (NotFound, psycopg.OperationalError):
            return False
        return True

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection. Raise docker's NotFound or psycopg's OperationalError while there can be none."""
        box = self.bed.client.api.inspect_container(self.container)
        # While it has no address, one that nobody answers at.
        host = box["NetworkSettings"]["IPAddress"] or "127.0.0.255"
        return psycopg.connect(
            host=host, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=2, autocommit=True
        )

    def target(self, folder: Path) -> dict[str, Any]:
        """Its section of a configuration in `folder`."""
        (folder / "password").write_text(PASSWORD)
        return {
            "container": self.container,
            "volume": self.pinned,
            "database": DATABASE,
            "user": USER,
            "password": {"file": str(folder / "password")},
            "tables": {"experts": {"min": 80}, "knowledge_nodes": {"min": 10_000}},
            "storages": ["local"],
        }

    def remove(self) -> None:
        """Remove the container and the volumes, those too that a restore has kept."""
        self.down()
        for kept in self.bed.client.volumes.list():
            if str(kept.name).startswith(f"{self.pinned}.rollcall-"):
                remove(kept)
        for name in self.volumes:
            self.remove_volume(name)


def configure(folder: Path, recorder: HttpRecorder, incidents: list[Incident], **rules: Any) -> Path:
    """A configuration with a target for each incident, and the web hook to tell; `rules` go to every target."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "backups").mkdir(exist_ok=True)
    (folder / "hook").write_text(recorder.apprise_url)
    document = {
        "storages": {"local": {"type": "local", "path": "./backups"}},
        "notify": [{"url": {"file": str(folder / "hook")}}],
        "targets": {each.name: each.target(folder) | rules for each in incidents},
    }
    path = folder / "targets.yaml"
    path.write_text(json.dumps(document, indent=1))
    return path


@contextmanager
def watching(
    config: Path, host: str | None = None, more: Sequence[str] = (), seconds: float = 180
) -> Iterator[list[str]]:
    """`rollcall watch` as a process of its own, on the engine at `host`: the lines that it prints.

    seconds: until it must say that it watches.

    It ends as by Ctrl-C. Raise BedError if it does not end with 0.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "deployments", "watch", "--config", str(config), *more],
        cwd=ROOT,
        env=env | ({"DOCKER_HOST": host} if host else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reader.start()
        try:
            wait_for_line(lines, "watching", seconds=seconds)
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)
            reader.join(30)
    if process.returncode:
        raise BedError(f"rollcall watch ended with {process.returncode}: {' | '.join(lines)}")


def told(recorder: HttpRecorder, *words: str) -> list[str]:
    """The titles of all messages so far that hold all these words."""
    titles = [str(each["title"]) for each in list(recorder.messages)]
    return [title for title in titles if all(word in title for word in words)]


def wait_for_line(lines: list[str], *words: str, seconds: float = 180, since: int = 0) -> str:
    """The first line from number `since` on that holds all these words. Raise BedError if none comes."""

    def found() -> list[str]:
        return [line for line in lines[since:] if all(word in line for word in words)]

    wait_until(lambda: bool(found()), seconds, f"a line with {words}", lambda: " | ".join(lines))
    return found()[0]
