"""Targets for the fault tests: a small and a large database on one server, and servers that may be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers, create_database
from tests.faults.restore_scene import Scene, Scenes, Situation, scene
from tests.faults.victim import Runs, Victim, make_victim

SMALL = """
    CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL);
    INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n;
    CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(random()::text) || md5(random()::text) AS content
        FROM generate_series(1, 20000) AS n;
"""
LARGE = """
    CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL);
    INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n;
    CREATE TABLE knowledge_nodes AS SELECT n AS id,
        (SELECT string_agg(md5(random()::text || (n * part)::text), '') FROM generate_series(1, 32) AS part) AS content
        FROM generate_series(1, 14000) AS n;
"""


@pytest.fixture(scope="session")
def small_database(postgres17: PostgresServer) -> PostgresServer:
    """A database of about 3 MB on the shared server; tests read it, and none changes it."""
    return _filled(postgres17, SMALL)


@pytest.fixture(scope="session")
def large_database(postgres17: PostgresServer) -> PostgresServer:
    """A database of about 14 MB that compresses to half: enough for two parts of an upload."""
    return _filled(postgres17, LARGE)


def _filled(server: PostgresServer, script: str) -> PostgresServer:
    database = create_database(server, "faults")
    database.execute(*script.split(";\n")[:-1])
    return database


@pytest.fixture
def own_server(postgres: PostgresServers) -> PostgresServer:
    """A database of about 14 MB on a server of the test's own, which may be stopped and killed."""
    server = postgres(version=17, command=["-c", "fsync=off"])
    server.execute(*LARGE.split(";\n")[:-1])
    return server


@pytest.fixture(scope="session")
def runs() -> Iterator[Runs]:
    """What forks a process for every run."""
    driver = Runs()
    yield driver
    driver.stop()


@pytest.fixture
def victim_of(
    tmp_path: Path, engine: docker.DockerClient, runs: Runs, request: pytest.FixtureRequest
) -> Callable[[PostgresServer], Victim]:
    """Makes the target of a test: `victim_of(server)`. Its name is the test's own, so that its helpers are known."""
    name = f"victim-{abs(hash(request.node.nodeid)):x}"
    return lambda server: make_victim(name, tmp_path, server, engine, runs)


@pytest.fixture
def victim(victim_of: Callable[[PostgresServer], Victim], small_database: PostgresServer) -> Victim:
    """A target on the small database, backed up to one folder."""
    return victim_of(small_database)


@pytest.fixture
def scenes(
    tmp_path: Path, bed: Bed, engine: docker.DockerClient, runs: Runs, postgres: PostgresServers
) -> Iterator[Scenes]:
    """Makes scenes, each in a folder of its own."""
    numbers = iter(range(1000))

    def make(situation: Situation, version: int, **more: Any) -> AbstractContextManager[Scene]:
        folder = tmp_path / f"scene{next(numbers)}"
        folder.mkdir()
        return scene(situation, version, folder, bed, postgres, runs, **more)

    return make
