"""A target in each of the situations that a restore is for, and what must hold whichever way the restore ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import docker
from docker.models.containers import Container

from tests.bed import images
from tests.bed.labels import Bed, remove
from tests.bed.ports import free_port
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import wait_until
from tests.faults.victim import HELPER_LABEL, Outcome, Runs, Victim, make_victim

Situation = Literal["restore", "reattach", "both"]
Scenes = Callable[..., AbstractContextManager["Scene"]]
"""`scenes(situation, version)`, and what `scene` takes besides."""

GOOD = """
    CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL);
    INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n;
    CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(n::text) AS content FROM generate_series(1, 2000) AS n;
"""
BAD = """
    CREATE TABLE IF NOT EXISTS experts (id serial PRIMARY KEY, name text NOT NULL);
    CREATE TABLE IF NOT EXISTS knowledge_nodes (id integer, content text);
    DELETE FROM experts WHERE id > 1;
    DELETE FROM knowledge_nodes WHERE id > 27;
    INSERT INTO knowledge_nodes VALUES (0, 'what only the bad one holds');
"""
CONTENT = """
    SELECT coalesce((SELECT string_agg(e::text, ',' ORDER BY id) FROM experts AS e), '') || '/' ||
           coalesce((SELECT string_agg(k::text, ',' ORDER BY id) FROM knowledge_nodes AS k), '')
"""


FAST = ["-c", "fsync=off"]


def content(server: PostgresServer) -> str:
    """A checksum over every row of every table."""
    return hashlib.sha256(str(server.value(CONTENT)).encode()).hexdigest()


@dataclass
class Scene:
    """A target that needs a restore. old, new: checksums of what is there now, and of what belongs there."""

    situation: Situation
    victim: Victim
    servers: PostgresServers
    server: PostgresServer
    wrong: str
    old: str
    new: str
    dependants: list[str]

    @property
    def pinned(self) -> str:
        """The pinned volume's name."""
        return self.server.volume

    @property
    def mounted_before(self) -> str:
        """What the container mounts before a restore, and after one that was undone."""
        return self.pinned if self.situation == "restore" else self.wrong

    def restore(self, *more: str, at: str = "nowhere", action: str = "kill") -> Outcome:
        """Run `restore-volume --yes` from the source that the situation is for."""
        source = () if self.situation == "reattach" else ("--backup", "latest")
        return self.victim.start(
            "restore-volume", self.victim.name, "--yes", "--json", *source, *more, at=at, action=action
        ).ended()

    def recover(self, at: str = "nowhere") -> Outcome:
        """Run `recover`."""
        return self.victim.start("recover", self.victim.name, "--json", at=at, action="kill").ended()

    def container(self) -> Container:
        """The one container of the target's name."""
        return self.victim.engine.containers.get(self.server.container)

    def mounted(self) -> str:
        """The volume behind its PGDATA."""
        destination = images.RECIPES[self.server.version].volume
        return next(each["Name"] for each in self.container().attrs["Mounts"] if each["Destination"] == destination)

    def state(self) -> Literal["old", "new"]:
        """Which of the two complete contents the target serves. Fails if it serves anything else."""
        found = content(self.servers.ready(self.server))
        assert found in (self.old, self.new), "what is served is neither the whole old nor the whole new content"
        return "new" if found == self.new else "old"

    def is_consistent(self) -> Literal["old", "new"]:
        """What must hold after every end of a restore; the state it is in."""
        state = self.serves_as_it_must()
        assert self.victim.helpers() == []
        return state

    def serves_as_it_must(self) -> Literal["old", "new"]:
        """What must hold after it for those who use the database; the state it is in."""
        state = self.state()
        assert self.mounted() == (self.pinned if state == "new" else self.mounted_before)
        box = self.container()
        assert box.attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
        new = {"name": f"{self.server.container}.new-"}
        assert self.victim.engine.api.containers(all=True, filters=new) == []
        for name in self.dependants:
            wait_until(lambda name=name: self._runs(name), 120, f"{name} to run")  # type: ignore[misc]
        assert self._running_servers() == 1
        return state

    def _runs(self, name: str) -> bool:
        return self.victim.engine.containers.get(name).status == "running"

    def _running_servers(self) -> int:
        """Who runs on one of the volumes: not the helpers of anybody's runs, other tests' too, that look into all."""
        volumes = {self.pinned, self.wrong, *self.staging()}
        running = [each for each in self.victim.engine.api.containers() if HELPER_LABEL not in each["Labels"]]
        return sum(any(mount.get("Name") in volumes for mount in each["Mounts"]) for each in running)

    def staging(self) -> list[str]:
        """Volumes that a restore of this target made and kept."""
        found = self.victim.engine.volumes.list(filters={"label": f"io.rollcall.target={self.victim.name}"})
        return sorted(each.name for each in found if each.name != self.pinned)

    def other_copy(self, state: str) -> None:
        """The content that is not served is whole all the same: on a volume, or in a backup."""
        if state == "old" and self.situation == "reattach":
            self.holds(self.pinned, self.new)
        elif state == "old":
            assert self.victim.is_whole()
        elif self.situation == "restore":
            (kept,) = self.staging()
            self.holds(kept, self.old)
        else:
            self.holds(self.wrong, self.old)

    def holds(self, volume: str, expected: str) -> None:
        """A server started on a copy-free look at `volume` serves `expected`."""
        looking = self.servers(version=self.server.version, volume=volume, database=self.server.database)
        try:
            assert content(looking) == expected
        finally:
            self.victim.engine.containers.get(looking.container).stop(timeout=30)
            self.victim.engine.containers.get(looking.container).remove(v=True)

    def forget_kept(self) -> None:
        """Remove the kept volumes, so that the next cell begins as this one did."""
        for each in self.staging():
            remove(self.victim.engine.volumes.get(each))


def dependant(bed: Bed, version: int) -> str:
    """A container that only runs."""
    name = bed.name("dependant")
    bed.client.containers.run(
        images.tag(version), ["86400"], entrypoint=["sleep"], name=name, detach=True, labels=bed.labels,
        network_mode="none", stop_signal="SIGKILL",
    )  # fmt: skip
    return name


def _statements(script: str) -> list[str]:
    return script.strip().split(";\n")


@contextmanager
def scene(
    situation: Situation,
    version: int,
    folder: Path,
    bed: Bed,
    servers: PostgresServers,
    runs: Runs,
    *,
    healthcheck: str = "",
    publish: bool = False,
    environment: dict[str, str] | None = None,
    storages: Callable[[Victim], None] = lambda victim: None,
    image: str | None = None,
) -> Iterator[Scene]:
    """A target with a good backup in that situation; what restores made of it is removed with it.

    healthcheck: a shell command for the container; publish: whether it publishes a port of the loopback address.
    environment: what runs have in theirs besides. storages: changes where the good backup goes.
    image: what the container is made from, instead of the version's own.
    """
    name = f"scene-{situation}-{version}-{bed.name('x')[-6:]}"
    more = {"healthcheck": healthcheck, "publish": free_port() if publish else None, "image": image}
    good = servers(version=version, command=FAST, **more)
    good.execute(*_statements(GOOD))
    victim = make_victim(name, folder, good, bed.client, runs)
    victim.environment |= environment or {}
    victim.target["databases"] = None
    del victim.target["databases"]
    victim.target["roles"] = True
    victim.target["tables"] = {"experts": {"min": 80}}
    boxes = [dependant(bed, version) for _ in range(2)]
    victim.target["dependents"] = list(boxes)
    storages(victim)
    victim.backup().went_well()
    new = content(good)
    server, wrong = _spoil(situation, good, bed, servers, more)
    made = Scene(situation, victim, servers, server, wrong, content(server), new, boxes)
    bed.client.containers.get(server.container).update(restart_policy={"Name": "always"})
    try:
        yield made
    finally:
        _remove(bed, made)


def _spoil(
    situation: Situation, good: PostgresServer, bed: Bed, servers: PostgresServers, more: dict[str, Any]
) -> tuple[PostgresServer, str]:
    """Bring the situation about: rows gone, or the container on another volume, or the pinned volume gone as well."""
    if situation == "restore":
        good.execute(*_statements(BAD))
        return good, bed.name("never-made")
    box = bed.client.containers.get(good.container)
    box.stop(timeout=30)
    box.remove(v=True)
    if situation == "both":
        remove(bed.client.volumes.get(good.volume))
    wrong = bed.name("wrong-data")
    bad = servers(version=good.version, container=good.container, volume=wrong, command=FAST, **more)
    bad.execute(*_statements(BAD))
    return replace(bad, volume=good.volume), wrong


def _remove(bed: Bed, made: Scene) -> None:
    """Containers that a restore put aside or made; volumes that it made; the dependants."""
    for name in made.dependants:
        bed.remove_container(name)
    mine = {"name": made.server.container}
    for each in bed.client.containers.list(all=True, ignore_removed=True, filters=mine):
        remove(each)
    for name in [*made.staging(), made.wrong, made.pinned]:
        with suppress(docker.errors.NotFound):
            remove(bed.client.volumes.get(name))
