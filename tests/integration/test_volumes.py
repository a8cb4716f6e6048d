"""What the engine says of volumes, and our own being made and removed with care."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from tasks.containers.engine import OUR_LABEL
from tasks.containers.volumes import (
    RUN_LABEL,
    STORY_LABEL,
    Volume,
    VolumeUser,
    create_volume,
    find_volume,
    list_volumes,
    remove_ours,
)
from tasks.errors import EngineError
from tests.bed import images
from tests.bed.labels import Bed, pause

LABELS = {RUN_LABEL: "20260201T020000-abc", STORY_LABEL: "a test"}


@pytest.fixture
def name(bed: Bed) -> Iterator[str]:
    """A name for a volume; what carries it is removed after the test."""
    chosen = bed.name("volume")
    yield chosen
    bed.remove_volume(chosen)


def create(bed: Bed, name: str, **labels: str) -> Volume:
    return create_volume(bed.client, name, LABELS | bed.labels | labels)


def container(bed: Bed, volume: str, mode: str = "rw", **labels: str) -> str:
    """A container that mounts the volume, created but not started."""
    made = bed.client.containers.create(
        images.tag(17),
        ["-c", "sleep 300"],
        entrypoint="sh",
        name=bed.name("user"),
        labels=bed.labels | labels,
        volumes={volume: {"bind": "/data", "mode": mode}},
    )
    return str(made.name)


def test_a_volume_is_found_with_all_that_the_engine_says(bed: Bed, name: str) -> None:
    made = create(bed, name)

    assert made == find_volume(bed.client, name)
    assert made in list_volumes(bed.client)
    assert (made.name, made.driver, made.options, made.users) == (name, "local", {}, [])
    assert made.labels == LABELS | bed.labels
    assert made.mountpoint.endswith(f"{name}/_data")
    assert made.created_at.startswith("20")


def test_no_volume_of_the_name_is_none_and_no_error(bed: Bed, name: str) -> None:
    assert find_volume(bed.client, name) is None


def test_users_are_those_that_run_and_those_that_are_stopped(bed: Bed, name: str) -> None:
    create(bed, name)
    running, stopped = container(bed, name), container(bed, name, "ro")
    bed.client.containers.get(running).start()
    try:
        volume = find_volume(bed.client, name)
        assert volume is not None
        ids = {each: str(bed.client.containers.get(each).id) for each in (running, stopped)}
        assert sorted(volume.users, key=lambda user: not user.running) == [
            VolumeUser(container=running, id=ids[running], running=True, destination="/data", read_only=False),
            VolumeUser(container=stopped, id=ids[stopped], running=False, destination="/data", read_only=True),
        ]
        pause(bed.client.containers.get(running))
        paused = find_volume(bed.client, name)
        assert paused is not None
        assert {user.container for user in paused.users if user.running} == {running}
    finally:
        bed.remove_container(running)
        bed.remove_container(stopped)


def test_a_bind_mount_of_the_volumes_folder_is_a_user_too(bed: Bed, name: str) -> None:
    user = container(bed, create(bed, name).mountpoint)
    try:
        volume = find_volume(bed.client, name)
        assert volume is not None
        assert [each.container for each in volume.users] == [user]
    finally:
        bed.remove_container(user)


def test_a_volume_that_is_there_is_never_taken_for_a_new_one(bed: Bed, name: str) -> None:
    create(bed, name)
    with pytest.raises(EngineError, match="already"):
        create(bed, name)


def test_of_two_runs_that_create_at_once_only_one_succeeds(bed: Bed, name: str) -> None:
    together = threading.Barrier(8)

    def attempt(number: int) -> bool:
        client = docker.from_env(timeout=120)
        together.wait()
        try:
            create_volume(client, name, bed.labels | {RUN_LABEL: str(number)})
        except EngineError:
            return False
        finally:
            client.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_our_volume_is_removed_and_gone_already_is_fine(bed: Bed, name: str) -> None:
    create(bed, name)
    remove_ours(bed.client, name)
    assert find_volume(bed.client, name) is None
    remove_ours(bed.client, name)


def test_a_volume_that_is_not_ours_is_never_removed(bed: Bed, name: str) -> None:
    bed.client.volumes.create(name, labels=bed.labels)
    with pytest.raises(EngineError, match="not made by Rollcall"):
        remove_ours(bed.client, name)
    assert find_volume(bed.client, name) is not None


def test_our_volume_stays_while_even_a_stopped_container_mounts_it(bed: Bed, name: str) -> None:
    create(bed, name)
    user = container(bed, name)
    try:
        with pytest.raises(EngineError, match=user):
            remove_ours(bed.client, name)
        assert find_volume(bed.client, name) is not None
    finally:
        bed.remove_container(user)


def test_who_mounts_it_while_a_helper_is_waited_for_keeps_it(bed: Bed, name: str) -> None:
    create(bed, name)
    helper = container(bed, name, "ro", **{OUR_LABEL: bed.run_id})
    with ThreadPoolExecutor(1) as pool:
        try:
            removing = pool.submit(remove_ours, bed.client, name)
            user = container(bed, name)
            with pytest.raises(EngineError, match=user):
                removing.result(120)
        finally:
            bed.remove_container(helper)
    assert find_volume(bed.client, name) is not None
    bed.remove_container(user)


def test_a_helper_that_only_looks_is_no_user_and_its_end_is_awaited(bed: Bed, name: str) -> None:
    create(bed, name)
    helper = container(bed, name, "ro", **{OUR_LABEL: bed.run_id})
    bed.client.containers.get(helper).start()
    try:
        volume = find_volume(bed.client, name)
        assert volume is not None
        assert volume.users == []
        ending = threading.Timer(1, bed.remove_container, [helper])
        ending.start()
        remove_ours(bed.client, name)
        assert find_volume(bed.client, name) is None
        ending.join()
    finally:
        bed.remove_container(helper)
