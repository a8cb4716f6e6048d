"""A call of the engine whose client is dead may still be at work: what is done after it comes after it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import docker
import pytest

from tasks.containers import at_rest, by_helper, recreate, volumes
from tasks.containers.engine import OUR_LABEL
from tasks.containers.volumes import RUN_LABEL
from tasks.errors import EngineError
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.progress import wait_until

STOPS_LATE = "trap 'sleep 3; exit 0' INT TERM; while :; do sleep 0.1; done"
KILLED_CLIENT = "import docker, sys; docker.from_env(timeout=300).api.stop(sys.argv[1], timeout=60)"

Box = Callable[..., str]


@pytest.fixture
def box(bed: Bed) -> Iterator[Box]:
    """Makes a container that runs a line of shell; returns its name."""
    made: list[str] = []

    def make(script: str, started: bool = True) -> str:
        name = bed.name("at-rest")
        host = bed.client.api.create_host_config(network_mode="none", tmpfs={"/var/lib/postgresql/data": ""})
        bed.client.api.create_container(
            images.tag(17), ["-c", script], entrypoint=["sh"], name=name, labels=bed.labels, host_config=host
        )
        made.append(name)
        if started:
            bed.client.api.start(name)
        return name

    yield make
    for each in made:
        bed.remove_container(each)


def runs(client: docker.DockerClient, name: str) -> bool:
    return bool(client.api.inspect_container(name)["State"]["Running"])


def asked_to_stop(client: docker.DockerClient, name: str) -> None:
    """The engine is at work on a stop of the container, and whoever asked for it is dead."""
    since = int(time.time()) - 1
    asking = subprocess.Popen([sys.executable, "-c", KILLED_CLIENT, name])
    for event in client.api.events(since=since, decode=True, filters={"container": name, "event": "kill"}):
        assert event["Action"] == "kill"
        break
    asking.kill()
    asking.wait()
    assert runs(client, name)


def logged(bed: Bed, name: str, times: int) -> None:
    """A shell that has just been started has printed nothing yet."""
    wait_until(lambda: bed.client.api.logs(name) == b"booked\n" * times, 30, f"so many bookings: {times}")


def test_a_start_meanwhile_is_lost_and_one_after_a_stop_of_our_own_stays(bed: Bed, box: Box) -> None:
    """The first half is what the engine does, and why the second is needed."""
    lost, stays = box(STOPS_LATE), box(STOPS_LATE)
    for each in (lost, stays):
        asked_to_stop(bed.client, each)
    recreate.start(bed.client, lost)
    recreate.stop(bed.client, stays)
    at_rest.start_for_good(bed.client, stays, 30)
    wait_until(lambda: not runs(bed.client, lost), 30, "the end of the container whose start was lost")
    assert runs(bed.client, stays)


def test_one_that_a_late_stop_ends_is_started_again(bed: Bed, box: Box) -> None:
    late = box("while :; do sleep 0.1; done")
    timer = threading.Timer(2, lambda: docker.from_env().api.kill(late))
    timer.start()
    at_rest.start_for_good(bed.client, late, 30)
    timer.join()
    assert runs(bed.client, late)


def test_one_that_does_not_come_up_is_named_with_the_end_of_its_own_log(bed: Bed, box: Box) -> None:
    broken = box("echo 'FATAL:  could not read /run/secrets/pw' >&2; exit 3", False)
    with pytest.raises(EngineError, match=r"exit code 3\. The end of its log: FATAL: could not read /run/secrets/pw"):
        at_rest.start_for_good(bed.client, broken, 30)
    assert "could not read /run/secrets/pw" in at_rest.not_running(bed.client, [broken])[0]


def test_a_job_that_has_done_its_work_is_not_run_again_and_one_that_a_stop_ended_is(bed: Bed, box: Box) -> None:
    job, failed = box("echo booked; sleep 1; exit 0", False), box("echo booked; exit 3")
    for times in (1, 2):  # The kill before a start, in the same second, did not end what the start began.
        bed.client.api.start(job)
        logged(bed, job, times)
        bed.client.api.kill(job)
    bed.client.api.start(job)
    stopped = box("trap 'exit 0' TERM INT; while :; do sleep 0.1; done")
    bed.client.api.stop(stopped)
    wrong = at_rest.not_running(bed.client, [job, failed, stopped])
    assert [name for name in (job, failed, stopped) if name in " ".join(wrong)] == [failed]
    assert runs(bed.client, stopped)
    logged(bed, job, 3)
    logged(bed, failed, 1)


def test_one_that_is_restarted_again_and_again_is_not_waited_for(
    bed: Bed, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    looping = box("echo not today; exit 4", False)
    bed.client.containers.get(looping).update(restart_policy={"Name": "always"})
    monkeypatch.setattr(recreate, "RESTARTS", 2)
    with pytest.raises(EngineError, match=r"exit code 4\. The end of its log: not today"):
        at_rest.start_for_good(bed.client, looping, 300)


def test_a_container_goes_with_its_name_and_a_free_name_stays_free(bed: Bed, box: Box) -> None:
    """What is created to see whether the name is free does not stay."""
    name = box("exit 0", False)
    image = bed.client.api.inspect_image(images.tag(17))["Id"]  # type: ignore[no-untyped-call]
    for _ in range(2):
        at_rest.remove_for_good(bed.client, name, image)
        assert not at_rest.is_there(bed.client, name)


def test_a_volume_goes_with_the_helpers_that_have_it(bed: Bed) -> None:
    name, owner = bed.name("at-rest-data"), bed.name("owner")
    bed.client.volumes.create(name, labels={**bed.labels, RUN_LABEL: "r"})
    host = bed.client.api.create_host_config(binds=[f"{name}:/data"], tmpfs={"/var/lib/postgresql/data": ""})
    for _ in range(2):
        bed.client.api.create_container(
            images.tag(17), ["true"], labels={**bed.labels, OUR_LABEL: owner}, host_config=host
        )
    at_rest.remove_volume_for_good(bed.client, name, owner)
    assert not bed.has_volume(name)


def test_a_helper_that_never_started_keeps_no_volume(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run was killed while the engine made it: its volumes could not be removed, by anybody."""
    name, labels = bed.name("at-rest-data"), {**bed.labels, OUR_LABEL: bed.name("down")}
    bed.client.volumes.create(name, labels={**bed.labels, RUN_LABEL: "r"})
    host = bed.client.api.create_host_config(binds=[f"{name}:/data:ro"], tmpfs={"/var/lib/postgresql/data": ""})
    made = bed.client.api.create_container(images.tag(17), ["true"], labels=labels, host_config=host)["Id"]
    assert made not in [each["Id"] for each in by_helper.never_started(bed.client)]
    monkeypatch.setattr(by_helper, "NEVER_STARTED_SECONDS", -60.0)
    assert made in [each["Id"] for each in by_helper.never_started(bed.client)]
    monkeypatch.setattr(volumes, "STUCK_SECONDS", 0.5)
    volumes.remove_ours(bed.client, name)
    assert not bed.has_volume(name)
    assert not at_rest.is_there(bed.client, made)
