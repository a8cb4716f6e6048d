"""The demo is the first thing anybody runs: it plays to its end, tells the truth, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.bed import images
from tests.bed.labels import Bed, remove
from tests.bed.progress import wait_until

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "deployments.demo"]
LABEL = "rollcall.demo"
KEY_LINES = (
    "STORED",
    "HEALTHY knowledge_os",
    "CRITICAL knowledge_os",
    "volume.mismatch",
    "cluster.changed",
    "atra_knowledge_postgres_data",
    "knowledge_os_postgres_data",
    "26,337",
    "┃ CRITICAL knowledge_os: ",
    "QUARANTINED",
    "Rotation is frozen",
    "most likely in atra_knowledge_postgres_data",
    "REATTACH",
    "RESTORED knowledge_os",
    "┃ RESTORED knowledge_os",
    "┃ RECOVERED knowledge_os",
    "table.missing",
    "atra_knowledge_postgres_data.rollcall-",
    "Caught",
)


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"KEEP", "FORCE_COLOR"}}


@pytest.fixture(autouse=True)
def clean_after(environment: dict[str, str]) -> Iterator[None]:
    """Only what carries the demo's label; a test that failed must not leave servers to the next."""
    yield
    subprocess.run([*DEMO, "--clean"], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=240)


def left(engine: docker.DockerClient) -> list[str]:
    return [
        *(each.name or "" for each in engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)),
        *(each.name or "" for each in engine.volumes.list(filters={"label": LABEL})),
        *(each.name or "" for each in engine.networks.list(filters={"label": LABEL})),
    ]


def own_processes() -> list[str]:
    """Command lines of servers that play in the demo's folder."""
    lines = [file.read_bytes().replace(b"\0", b" ").decode() for file in _command_lines()]
    return [line for line in lines if str(ROOT / ".demo") in line]


def _command_lines() -> Iterator[Path]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            file.read_bytes()
        except OSError:
            continue
        yield file


@pytest.mark.timeout(1800)
def test_the_demo_tells_its_story_and_leaves_nothing(engine: docker.DockerClient, environment: dict[str, str]) -> None:
    done = subprocess.run(
        DEMO, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1700, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    missing = [line for line in KEY_LINES if line not in done.stdout]
    assert not missing, done.stdout
    assert "\x1b" not in done.stdout, "colours belong on a terminal"
    assert len(done.stdout.splitlines()) <= 200
    assert left(engine) == []
    assert own_processes() == []


def test_a_volume_of_that_name_that_the_demo_did_not_make_stops_it_before_it_touches_anything(
    engine: docker.DockerClient, environment: dict[str, str], bed: Bed
) -> None:
    labels = bed.labels
    volume = engine.volumes.create("knowledge_os_postgres_data", labels=labels)
    try:
        done = subprocess.run(DEMO, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False)
        still_there = engine.volumes.get("knowledge_os_postgres_data").attrs["Labels"]
    finally:
        remove(volume)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "the volume knowledge_os_postgres_data, which the demo did not make" in done.stderr
    assert still_there == labels


def test_a_volume_that_somebody_looks_into_just_now_goes_too(
    engine: docker.DockerClient, environment: dict[str, str], bed: Bed
) -> None:
    name = bed.name("looked-into")
    engine.volumes.create(name, labels={LABEL: "test", **bed.labels})
    looking = engine.containers.create(
        images.tag(17), ["600"], entrypoint=["sleep"], name=bed.name("looking"), labels=bed.labels,
        volumes={name: {"bind": "/there", "mode": "ro"}},
    )  # fmt: skip
    log = ROOT / ".demo/logs/demo.log"
    with subprocess.Popen([*DEMO, "--clean"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as cleaning:
        wait_until(lambda: log.exists() and "volume is in use" in log.read_text(), 180, "a try to remove the volume")
        remove(looking)
        assert cleaning.wait(180) == 0
    assert left(engine) == []


@pytest.mark.timeout(1000)
def test_a_demo_that_is_interrupted_takes_everything_with_it(
    engine: docker.DockerClient, environment: dict[str, str]
) -> None:
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        deadline = time.monotonic() + 400
        while not left(engine):
            assert demo.poll() is None, demo.communicate()
            assert time.monotonic() < deadline, "the demo made nothing"
            time.sleep(0.2)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=400)
    assert demo.returncode == 1
    assert said.strip().splitlines() == ["demo: Stopped by hand; what it had made is removed."]
    assert left(engine) == []
    assert own_processes() == []
