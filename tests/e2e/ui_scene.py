"""A target with a month of history behind it, served by `rollcall serve`: what a newcomer finds in the UI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.config import load
from tasks.history.records import Observation
from tasks.history.store import open_history
from tests.bed import labels
from tests.bed.labels import Bed
from tests.bed.ports import free_port
from tests.bed.postgres import PASSWORD, USER, PostgresServer, PostgresServers
from tests.bed.serving import Served, served

TARGET = "knowledge_os"
EXPERTS, NODES, DOMAINS = 85, 26_337, 12
GOOD = (
    "CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL)",
    f"INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, {EXPERTS}) AS n",
    f"CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(n::text) AS content FROM generate_series(1, {NODES}) AS n",
    f"CREATE TABLE domains AS SELECT n AS id, 'domain ' || n AS name FROM generate_series(1, {DOMAINS}) AS n",
)
LOSS = (
    "DELETE FROM experts WHERE id > 1",
    "DELETE FROM knowledge_nodes WHERE id > 27",
    "DELETE FROM domains WHERE id > 1",
)
DAYS = 28


@dataclass
class Scene:
    """The served target. `counts`: the rows of each table now, read from the database itself."""

    here: Served
    server: PostgresServer
    bed: Bed

    @property
    def ui(self) -> str:
        """Where the browser goes."""
        return str(self.here.said["ui"])

    def counts(self) -> tuple[int, int, int]:
        """(experts, knowledge_nodes, domains)."""
        container = self.bed.client.containers.get(self.server.container)
        # A container that was stopped may have another address, and another container may have its old one.
        address = container.attrs["NetworkSettings"]["Networks"][self.server.network]["IPAddress"]
        server = replace(self.server, host=address)
        tables = ("experts", "knowledge_nodes", "domains")
        experts, nodes, domains = (int(server.value(f"SELECT count(*) FROM {each}")) for each in tables)
        return experts, nodes, domains

    def lose_rows(self) -> None:
        """The accident."""
        self.server.execute(*LOSS)


@contextmanager
def ui_scene(folder: Path, bed: Bed, servers: PostgresServers) -> Iterator[Scene]:
    """Start it all; ended with the block. What the restore keeps is removed with the bed's own volumes."""
    name = bed.name("x")[-6:]
    container, volume = f"knowledge-{name}", f"knowledge-data-{name}"
    server = servers(version=17, container=container, volume=volume, command=["-c", "fsync=off"])
    server.execute(*GOOD)
    file = _configure(folder, server)
    _remember(file)
    try:
        with served(file, {"UI_PASSWORD": PASSWORD}) as here:
            yield Scene(here, server, bed)
    finally:
        for each in bed.client.volumes.list(filters={"label": f"io.rollcall.target={TARGET}"}):
            owner = (each.attrs["Labels"] or {}).get("io.rollcall.owner")
            if owner == load(str(file)).owner(TARGET):
                servers.remove_all()
                labels.remove(each)


def _configure(folder: Path, server: PostgresServer) -> Path:
    target = {
        "container": server.container,
        "volume": server.volume,
        "database": server.database,
        "user": USER,
        "password": {"env": "UI_PASSWORD"},
        "tables": {"experts": {"min": 80}, "knowledge_nodes": {"min": 10_000}},
        "storages": ["local", "offsite"],
    }
    never = dict.fromkeys(("backup", "verify", "drill"), "never")
    document = {
        "storages": {name: {"type": "local", "path": str(folder / name)} for name in ("local", "offsite")},
        "targets": {TARGET: target},
        "schedules": never,
        "serve": {"port": free_port(), "grace": 30},
        "api": {"port": free_port()},
    }
    file = folder / "targets.yaml"
    file.write_text(json.dumps(document, indent=1))
    return file


def _remember(file: Path) -> None:
    """A month in which the tables grew to what they are, as nightly checks would have seen it."""
    now = datetime.now(UTC)
    with open_history(load(str(file)).history) as history:
        for day in range(DAYS, 0, -1):
            counts = {
                "public.experts": EXPERTS - day // 3,
                "public.knowledge_nodes": NODES - 97 * day,
                "public.domains": DOMAINS,
            }
            seen = Observation(
                id=f"day-{day}",
                target=TARGET,
                checked_at=now - timedelta(days=day),
                kind="verify",
                verdict="healthy",
                counts=counts,
                accepted=True,
            )
            history.record(seen)
