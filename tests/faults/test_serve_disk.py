"""`rollcall serve` on a disk that is full, or cannot be written to: one sentence, and on again once there is room."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bed import disk
from tests.bed.postgres import PostgresServer
from tests.bed.progress import BedError, run, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import BIN, clean_environment, own_ports, served
from tests.bed.target import NAME, target_for
from tests.bed.watched import told

pytestmark = pytest.mark.slow

SECONDS = 120
MEBIBYTES = 48


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of little room, for the state folder alone."""
    place = disk.mount(tmp_path / "small", MEBIBYTES)
    yield place
    disk.unmount(place)


@pytest.fixture
def file(
    small: Path,
    postgres15: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
    http_recorder: HttpRecorder,
    tmp_path: Path,
) -> Path:
    server = fresh_database(postgres15)
    target = target_for(server, tmp_path, databases=[server.database], roles=False)
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    never = dict.fromkeys(("backup", "verify", "drill"), "never")
    document: dict[str, Any] = json.loads(target.file.read_text()) | own_ports(grace=5)
    document |= {"state": str(small / "state"), "history": f"sqlite:///{small}/state/history.db", "schedules": never}
    document |= {"notify": [{"url": {"file": str(tmp_path / "hook")}}]}
    target.file.write_text(json.dumps(document))
    return target.file


def fill(place: Path) -> Path:
    """Take all the room there is; return what to remove to make room again."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as taken:
        try:
            while True:
                taken.write(bytes(4096))
        except OSError:
            return ballast


def rollcall(command: str, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    line = [BIN / "rollcall", command, *more, "--config", str(file)]
    return subprocess.run(line, env=clean_environment(), capture_output=True, text=True, timeout=SECONDS, check=False)


def test_a_full_disk_is_one_sentence(file: Path, small: Path) -> None:
    fill(small)
    refused = rollcall("serve", file)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"rollcall: The state folder {small}/state cannot be written to: No space left on device; "
        "make room on its disk.\n"
    )


def test_a_state_folder_that_cannot_be_written_to_is_one_sentence(file: Path, small: Path) -> None:
    run(["mount", "-o", "remount,ro", str(small)])
    refused = rollcall("serve", file)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"rollcall: The state folder {small}/state cannot be written to: Read-only file system; "
        "check `state` and its rights.\n"
    )


def test_a_disk_that_runs_full_meanwhile_is_told_and_all_goes_on_when_there_is_room(
    file: Path, small: Path, http_recorder: HttpRecorder
) -> None:
    with served(file) as here:
        health = f"{here.said['status_api']}/healthz"
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED"
        ballast = fill(small)
        failed = rollcall("verify", file, NAME)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1].startswith("rollcall: ")
        assert "full" in failed.stderr.splitlines()[-1]
        assert "Traceback" not in failed.stderr
        assert told(http_recorder, "FAILED", "verify")
        time.sleep(15)  # for the server and the runner to meet it
        assert here.process.poll() is None, here.log.read_text()

        ballast.unlink()

        def runs_again() -> bool:
            try:
                return bool(here.run("verify", NAME)["state"]["type"] == "COMPLETED")
            except (BedError, OSError):
                return False

        wait_until(runs_again, SECONDS, "a run after there is room", here.log.read_text)
        wait_until(lambda: httpx.get(health, trust_env=False).status_code == 200, SECONDS, "that all is well")
        assert here.stop() == 0
