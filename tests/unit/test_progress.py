"""How far a run is: read at any moment, never past what is done, and never the run's own business."""

from __future__ import annotations

import logging
import threading

import pytest

from tasks.alerts import progress
from tasks.alerts.meter import Meter, Reading, duration, measured
from tasks.backups.expected import in_proportion
from tasks.containers.scratch import newest_in
from tests.bed.progress import wait_until

GB = 1_000_000_000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (1_200_000_000, 2_200_000_000, 10.0, "1.2 GB of about 2.2 GB, 120 MB/s, about 8 s left"),
        (1_000_000, 1_000_000_000, 10.0, "1.0 MB of about 1.0 GB, 100 kB/s, about 2 h 46 min left"),
        (1_200_000_000, 0, 10.0, "1.2 GB, 120 MB/s"),
        (0, GB, 10.0, "0 bytes of about 1.0 GB"),
        (500, 1000, 0.5, "500 bytes of about 1.0 kB"),
        # An estimate that was too low is not held against what is there.
        (1500, 1000, 10.0, "1.5 kB, 150 bytes/s"),
    ],
)
def test_what_is_done_is_told_as_far_as_it_is_known(done: int, total: int, seconds: float, words: str) -> None:
    assert measured(done, total, seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(14.2, "14 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_a_duration_is_told_in_units_that_people_use(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_stages_within_stages_add_up_to_the_whole_and_never_go_back() -> None:
    meter = Meter(Clock())
    seen = [meter.read().percent]
    with meter.stage("step 1 of 2, rebuild", 0.9):
        with meter.stage("fetching", 0.2, done=lambda: 50, total=lambda: 100):
            seen.append(meter.read().percent)
        seen.append(meter.read().percent)
        with meter.stage("loading", 0.8, done=lambda: 10 * GB, total=lambda: GB):
            told = meter.read()
            seen.append(told.percent)
    seen.append(meter.read().percent)
    with meter.stage("step 2 of 2, verify", 0.1):
        seen.append(meter.read().percent)

    assert told.words == "step 1 of 2, rebuild, loading: 10.0 GB"
    assert seen == [0.0, 9.0, 18.0, 89.3, 90.0, 90.0]


def test_a_run_is_at_99_per_cent_until_it_is_over_and_a_total_is_asked_for_once() -> None:
    asked: list[int] = []
    meter = Meter(Clock())
    with meter.stage("dumping shop", done=lambda: 7, total=lambda: asked.append(1) or 7, note=lambda: "3 tables"):
        assert [meter.read().percent for _ in range(3)] == [99.0] * 3
        assert meter.read().words == "dumping shop: 7 bytes of about 7 bytes; 3 tables"
    assert asked == [1]
    assert meter.read() == Reading("", 99.0)


def test_a_stage_that_fails_leaves_the_meter_as_the_one_around_it_left_it() -> None:
    meter = Meter(Clock())
    with pytest.raises(KeyError), meter.stage("outer", 0.5), meter.stage("inner"):
        raise KeyError
    assert meter.read() == Reading("", 50.0)


def test_a_dump_is_expected_to_be_what_the_last_one_was_in_proportion_to_the_disk() -> None:
    assert in_proportion(size=1_000, of_all=4_000, dumped=8_000) == 2_000
    assert in_proportion(size=1_000, of_all=4_000, dumped=0) == 1_000
    assert in_proportion(size=1_000, of_all=0, dumped=9) == 1_000


def test_the_database_that_was_made_last_is_the_one_with_the_highest_number() -> None:
    assert newest_in("8\t/data/base/9999\n20\t/data/base/16385\n4096\t/data/base/pgsql_tmp\n") == 20 * 1024
    assert newest_in("") == 0


def test_outside_of_a_run_that_is_shown_a_stage_costs_nothing_and_says_nothing() -> None:
    with progress.meter().stage("loading", done=lambda: 1 // 0):
        assert progress.meter().read() == Reading("", 0.0)


def test_a_long_run_says_now_and_then_in_its_log_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    with (
        caplog.at_level(logging.INFO, logger="rollcall"),
        progress.shown("backup", "shop", bar_seconds=0.01),
        progress.meter().stage("dumping shop", done=lambda: 500, total=lambda: 1000),
    ):
        wait_until(lambda: bool(caplog.messages), 60, "a line of progress")
    assert caplog.messages[0] == "shop: dumping shop: 500 bytes of about 1.0 kB (50 %)"


def test_a_short_run_says_nothing_of_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="rollcall"), progress.shown("backup", "shop"):
        pass
    assert caplog.messages == []


def test_what_cannot_be_measured_ends_neither_the_run_nor_its_progress(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    tried = threading.Event()

    def done() -> int:
        if not tried.is_set():
            tried.set()
            raise RuntimeError
        return 3

    with (
        caplog.at_level(logging.INFO, logger="rollcall"),
        progress.shown("drill", "shop", bar_seconds=0.01),
        progress.meter().stage("loading shop", done=done),
    ):
        wait_until(lambda: bool(caplog.messages), 60, "a line of progress")
    assert tried.is_set()
    assert caplog.messages[0] == "shop: loading shop: 3 bytes (0 %)"
