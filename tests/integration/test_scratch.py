"""A scratch server is reached by nobody else, ends with whoever started it, and says in a sentence why it fails."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest

from tasks.containers.engine import OUR_LABEL
from tasks.containers.leashed import ProgramFailed
from tasks.containers.scratch import Scratch, scratch_server
from tasks.containers.scratch_place import Place
from tasks.containers.volumes import RUN_LABEL, create_volume
from tasks.errors import EngineError, RestoreFailed
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.progress import ROOT, wait_until

VERSION = 17
INITDB = ["--username=my admin", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
PLACE = Place(destination=images.RECIPES[VERSION].volume, pgdata=images.RECIPES[VERSION].pgdata)


@pytest.fixture
def owner(bed: Bed) -> str:
    return bed.name("scratch")


@pytest.fixture
def volume(engine: docker.DockerClient, bed: Bed) -> str:
    name = bed.name("scratch-data")
    create_volume(engine, name, {RUN_LABEL: "test", **bed.labels})
    return name


@pytest.fixture
def started(
    engine: docker.DockerClient, volume: str, owner: str
) -> Iterator[Callable[..., AbstractContextManager[Scratch]]]:
    """Starts a server on a new cluster; arguments win. Whatever happened, nothing of it is left."""

    def start(**given: Any) -> AbstractContextManager[Scratch]:
        usual: dict[str, Any] = {
            "image_id": images.tag(VERSION), "volume": volume, "place": PLACE, "owner": owner, "major": VERSION,
            "initdb": INITDB, "superuser": "my admin", "deadline": 120,
        }  # fmt: skip
        return scratch_server(engine, **(usual | given))

    yield start
    assert containers(engine, owner) == []


def containers(engine: docker.DockerClient, owner: str) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {"label": f"{OUR_LABEL}={owner}"}
    return [each.attrs for each in engine.containers.list(all=True, filters=wanted, ignore_removed=True)]


def test_nobody_but_us_reaches_it_and_it_may_do_nothing(
    started: Callable[..., AbstractContextManager[Scratch]], engine: docker.DockerClient, owner: str, volume: str
) -> None:
    with started() as server:
        (found,) = containers(engine, owner)
        host, network = found["HostConfig"], found["NetworkSettings"]
        assert host["NetworkMode"] == "none"
        assert not network["Ports"]
        assert not network["Networks"]["none"]["IPAddress"]
        assert (host["CapDrop"], host["CapAdd"] or []) == (["ALL"], [])
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["ReadonlyRootfs"]
        assert host["RestartPolicy"]["Name"] == "no"
        assert found["Config"]["User"] == "999:999"
        assert found["Config"]["Entrypoint"] == ["sh"]
        assert {each.get("Name") or "bind" for each in found["Mounts"]} == {volume, "bind"}
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        with psycopg.connect(host=str(server.socket), user=server.user, dbname="postgres") as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
            assert connection.execute("SHOW archive_mode").fetchone() == ("off",)
        folder = server.socket.parent
    assert not folder.exists()


def test_a_program_gets_its_input_and_its_failure_is_told(
    started: Callable[..., AbstractContextManager[Scratch]],
) -> None:
    with started() as server:
        much = [b"x" * 100_000] * 30
        assert server.run(["wc", "-c"], much).strip() == "3000000"
        with pytest.raises(ProgramFailed, match=r"psql failed \(exit 3\): .*division by zero"):
            server.run(
                ["psql", "-U", server.user, "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-f", "-"], [b"SELECT 1/0"]
            )
        with pytest.raises(RestoreFailed, match=r"sleep did not end within 0\.5 s"):
            server.run(["sleep", "60"], deadline=0.5)
        with pytest.raises(RestoreFailed, match="nowhere"):
            server.run(["nowhere"])


def test_it_stops_cleanly_and_what_it_wrote_is_there_for_the_next(
    started: Callable[..., AbstractContextManager[Scratch]],
) -> None:
    with started() as server:
        server.run(["psql", "-U", server.user, "-d", "postgres", "-c", "CREATE TABLE kept AS SELECT 1"])
        first = server.stop()
        server.sync()
        assert first["Database cluster state"] == "shut down"
    with started(initdb=None, superuser="") as server:
        assert server.user == "my admin"
        assert server.run(["psql", "-U", server.user, "-d", "postgres", "-Atc", "TABLE kept"]).strip() == "1"
        assert server.stop()["Database system identifier"] == first["Database system identifier"]


def test_one_that_ends_before_its_time_says_so(started: Callable[..., AbstractContextManager[Scratch]]) -> None:
    with started() as server:
        server.run(["sh", "-c", f"kill -9 $(head -n 1 {PLACE.pgdata}/postmaster.pid)"])
        with pytest.raises(RestoreFailed, match=r"The scratch server on the volume .* has ended"):
            server.run(["psql", "-U", server.user, "-d", "postgres", "-c", "SELECT 1"])


def test_one_that_does_not_start_says_why(started: Callable[..., AbstractContextManager[Scratch]]) -> None:
    wrong = {"lc_monetary": "tlh_QO"}
    with pytest.raises(RestoreFailed, match=r'does not start: .*lc_monetary.*"tlh_QO"'), started(settings=wrong):
        pass


def test_an_image_of_another_major_version_is_refused(started: Callable[..., AbstractContextManager[Scratch]]) -> None:
    with (
        pytest.raises(RestoreFailed, match=r"The data is of PostgreSQL 15, and the image runs .*17"),
        started(major=15),
    ):
        pass


def test_an_image_that_is_gone_is_named(started: Callable[..., AbstractContextManager[Scratch]]) -> None:
    with pytest.raises(docker.errors.NotFound), started(image_id="sha256:" + "0" * 64):
        pass


def test_pgdata_outside_of_the_volume_is_refused(started: Callable[..., AbstractContextManager[Scratch]]) -> None:
    outside = Place(destination=PLACE.destination, pgdata="/somewhere/else")
    with pytest.raises(EngineError, match="is not on the volume"), started(place=outside):
        pass


def test_a_full_disk_is_told_as_one(
    started: Callable[..., AbstractContextManager[Scratch]],
    engine: docker.DockerClient,
    bed: Bed,
    small_disk: Callable[[int], Path],
) -> None:
    small = bed.name("small")
    options = {"type": "none", "o": "bind", "device": str(small_disk(80))}
    engine.volumes.create(small, driver="local", driver_opts=options, labels=bed.labels)
    fill = "CREATE TABLE much AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 100000) AS n"
    with (
        pytest.raises(RestoreFailed, match=f"The disk that holds the volume {small} is full"),
        started(volume=small) as server,
    ):
        server.run(["psql", "-U", server.user, "-d", "postgres", "-c", fill], deadline=120)
    bed.remove_volume(small)


SERVE = """
import sys, time
from tests.bed import engine as engines
from tests.integration.test_scratch import INITDB, PLACE, VERSION
from tests.bed import images
from tasks.containers.scratch import scratch_server
with scratch_server(engines.connect(), image_id=images.tag(VERSION), volume=sys.argv[1], place=PLACE, owner=sys.argv[2],
                    major=VERSION, initdb=INITDB, superuser="my admin") as server:
    print("ready", flush=True)
    server.run(["sleep", "600"], deadline=600)
"""


def test_it_ends_with_the_process_that_started_it_however_that_ends(
    engine: docker.DockerClient, volume: str, owner: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, volume, owner], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(containers(engine, owner)) == 1
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: containers(engine, owner) == [], 120, "the end of the scratch container")
