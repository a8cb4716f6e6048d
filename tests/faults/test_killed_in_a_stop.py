"""A restore killed while the engine stops, starts, creates or renames for it: `recover` waits for the engine's rest."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator

import pytest

from tests.bed.labels import Bed
from tests.faults.restore_scene import Scene, Scenes
from tests.faults.slow_stop import slow_image

SIGKILLED = -9
ENTRYPOINT = "/usr/local/bin/docker-entrypoint.sh"
STOP_SECONDS = 4.0


def executable(name: str, text: str) -> bytes:
    """A file that may be run, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text.encode()), 0o755
        made.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def slow(bed: Bed) -> Iterator[str]:
    """An image whose server takes seconds to stop."""
    with slow_image(bed, 17, "entry point", STOP_SECONDS) as name:
        yield name


def stays(made: Scene, state: str, seconds: float) -> None:
    """Fails unless the target serves that, for so long."""
    over = time.monotonic() + seconds
    while True:
        assert made.is_consistent() == state
        if time.monotonic() > over:
            return
        time.sleep(0.5)


def test_a_restore_killed_while_the_database_stops_is_undone_and_the_database_runs(scenes: Scenes, slow: str) -> None:
    with scenes("reattach", 17, image=slow) as made:
        assert made.restore(at="inside stop").code == SIGKILLED
        made.recover().went_well()
        stays(made, "old", STOP_SECONDS + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "state"), [("after hold restart policy", "old"), ("after commit", "new")])
def test_a_database_that_went_down_after_the_kill_is_started(scenes: Scenes, at: str, state: str) -> None:
    """An engine that restarts meanwhile does not start it: the restart policy is `no` until the restore's end."""
    with scenes("restore", 17) as made:
        assert made.restore(at=at).code == SIGKILLED
        made.container().stop(timeout=30)
        made.recover().went_well()
        assert made.is_consistent() == state


@pytest.mark.slow
def test_what_does_not_come_up_is_not_called_undone(scenes: Scenes) -> None:
    """One sentence with the end of the container's own log, exit 1; and `recover` can be run again."""
    with scenes("restore", 17) as made:
        assert made.restore(at="after stop container").code == SIGKILLED
        box = made.container()
        whole, _ = box.get_archive(ENTRYPOINT)
        good = b"".join(whole)
        box.put_archive("/usr/local/bin", executable("docker-entrypoint.sh", "#!/bin/sh\necho no disk here\nexit 3\n"))
        outcome = made.recover()
        assert outcome.code == 1, outcome.stderr
        assert "exit code 3. The end of its log: " in outcome.sentence
        assert "no disk here" in outcome.sentence
        assert f"rollcall recover {made.victim.name}" in outcome.sentence
        box.put_archive("/usr/local/bin", good)
        made.recover().went_well()
        assert made.is_consistent() == "old"
