"""A `down --volumes` killed with SIGKILL at any point: every row is on its volume still, or in a proven backup."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.labels import Bed
from tests.bed.progress import wait_until
from tests.faults.slow_stop import slow_image
from tests.faults.victim import RUN_SECONDS, Runs
from tests.integration.down_scene import CONTENT, DELETE, DownScene, down_scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SIGKILLED = -9
ON_THE_VOLUME = ["project stopped", "before compose down", "after compose down", "one volume removed"]


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DownScene]:
    with down_scene(bed, tmp_path, monkeypatch) as made:
        yield made


def asked(scene: DownScene, point: str, *options: str) -> dict[str, Any]:
    """The driver's request for a `down` that is killed there."""
    output = scene.config.parent
    (output / "stdin").write_text(DELETE)
    return {
        "command": ["down", str(scene.project.folder), *options, "--config", str(scene.config)],
        "environment": {**os.environ, "PREFECT_API_URL": "", "FAULTS_FOLDER": str(output)},
        "at": point,
        "action": "kill",
        **{name: str(output / name) for name in ("stdin", "stdout", "stderr")},
    }


def killed(runs: Runs, scene: DownScene, point: str) -> None:
    """Run it, and have it killed there."""
    output = scene.config.parent
    pid, ended = runs.ask(asked(scene, point, "--volumes")), []
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


def test_a_down_killed_while_a_database_stops_is_made_good_by_the_next_one(
    runs: Runs, bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one finds it running, and about to end; and rows that no backup holds, for it still took some."""
    with (
        slow_image(bed, 17, "entry point", 12.0) as image,
        down_scene(bed, tmp_path, monkeypatch, image) as made,
    ):
        killed(runs, made, "inside stop")
        made.ask("INSERT INTO experts VALUES (86, 'written while it was about to stop')")
        before = made.ask(CONTENT)
        report = made.down(DELETE, volumes=True)
        assert made.volume() in report.removed
        made.project.up()
        made.ask("SELECT 1")
        made.restore()
        assert made.ask(CONTENT) == before


def test_what_brings_a_killed_downs_database_back_does_so_while_it_stops(
    runs: Runs, bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/safe-down.md says: a stop of Compose's own ends with the one that is at work."""
    with (
        slow_image(bed, 17, "entry point", 4.0) as image,
        down_scene(bed, tmp_path, monkeypatch, image) as made,
    ):
        before = made.ask(CONTENT)
        killed(runs, made, "inside stop")
        made.project.compose("stop", "--timeout", "60")
        made.project.up()
        time.sleep(6)  # longer than the stop that was at work
        assert made.ask(CONTENT) == before
