"""A `down --volumes` killed with SIGKILL at any point: every row is on its volume still, or in a proven backup."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.labels import Bed
from tests.bed.progress import wait_until
from tests.faults.victim import RUN_SECONDS, Runs
from tests.integration.down_scene import CONTENT, DELETE, DownScene, down_scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SIGKILLED = -9
ON_THE_VOLUME = ["project stopped", "before compose down", "after compose down", "one volume removed"]


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DownScene]:
    with down_scene(bed, tmp_path, monkeypatch) as made:
        yield made


def killed(runs: Runs, scene: DownScene, point: str) -> None:
    """Run it, and have it killed there."""
    output = scene.config.parent
    (output / "stdin").write_text(DELETE)
    request = {
        "command": ["down", str(scene.project.folder), "--volumes", "--config", str(scene.config)],
        "environment": {**os.environ, "PREFECT_API_URL": "", "FAULTS_FOLDER": str(output)},
        "at": point,
        "action": "kill",
        **{name: str(output / name) for name in ("stdin", "stdout", "stderr")},
    }
    pid, ended = runs.ask(request), []
    given_up = time.monotonic() + RUN_SECONDS

    def has_ended() -> bool:
        ended.append(runs.ask({"pid": pid}))
        return ended[-1] is not None

    wait_until(has_ended, given_up - time.monotonic(), f"the end of the run killed at {point}")
    assert ended[-1] == SIGKILLED, (point, ended[-1], (output / "stderr").read_text())


def test_a_down_killed_at_any_point_loses_no_row(runs: Runs, scene: DownScene) -> None:
    before = scene.ask(CONTENT)
    for point in ON_THE_VOLUME:
        killed(runs, scene, point)
        assert scene.exists(scene.volume()), point
        scene.project.up()
        assert scene.ask(CONTENT) == before, point
    killed(runs, scene, "two volumes removed")
    assert not scene.exists(scene.volume())
    scene.project.up()
    scene.ask("SELECT 1")  # Until it answers, there is no backup of what is there now, and so no restore.
    scene.restore()
    assert scene.ask(CONTENT) == before
