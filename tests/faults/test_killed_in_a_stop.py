"""A restore killed while the engine stops, starts, creates or renames for it: `recover` waits for the engine's rest."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.bed.labels import Bed
from tests.faults.restore_scene import Scene, Scenes
from tests.faults.slow_stop import slow_image

SIGKILLED = -9
STOP_SECONDS = 4.0


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
