"""The watcher on the real engine: what happens to a target is noticed, checked and told, once and at once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.watcher import watch
from tasks.config import load
from tests.bed.labels import Bed
from tests.bed.progress import wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.watched import RIGHT, WRONG, Incident, configure, told, wait_for_line

Watch = Callable[[Path], list[str]]


@pytest.fixture
def incident(bed: Bed) -> Iterator[Incident]:
    made = Incident(bed, f"knowledge{secrets.token_hex(3)}_os")
    yield made
    made.remove()


@pytest.fixture
def watching() -> Iterator[Watch]:
    """Starts a watcher in a thread; its lines are in the list. It has ended when the test has."""
    stop, threads = threading.Event(), list[threading.Thread]()

    def start(config: Path) -> list[str]:
        lines: list[str] = []
        arguments = (load(str(config)), stop, str(config))
        threads.append(threading.Thread(target=watch, args=arguments, kwargs={"say": lines.append}))
        threads[-1].start()
        wait_for_line(lines, "watching")
        return lines

    yield start
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def checked(lines: list[str], since: int = 0) -> int:
    """Wait for a check's outcome; return how many lines there are then."""
    wait_for_line(lines, "checked in", since=since)
    return len(lines)


def test_a_wrong_volume_under_the_containers_name_is_told_at_once(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen = checked(lines)
    assert told(http_recorder, "CRITICAL") == []

    incident.up(incident.wrong, WRONG)
    accepted = incident.accepting()
    wait_until(lambda: bool(told(http_recorder, "wrong volume")), 30, "the alert", lambda: " | ".join(lines))
    print(f"\ntold {time.time() - accepted:.2f} s after it accepted connections", *lines, sep="\n")
    assert "CRITICAL" in told(http_recorder, "wrong volume")[0]
    assert wait_for_line(lines, "started", f"on {incident.wrong}", since=seen)

    seen = checked(lines, seen)
    incident.up(incident.pinned)
    wait_for_line(lines, "checked in", since=seen)
    assert len(told(http_recorder, "CRITICAL")) == 1
    assert told(http_recorder, "BETTER"), "what is left is that there is no backup"
