"""The bed's watcher outside says what healthchecks.io would say."""

from __future__ import annotations

import pytest

from tests.bed.outside import Call, Signal, State, state_of

PERIOD, GRACE = 60.0, 30.0


@pytest.mark.parametrize(
    ("calls", "now", "state"),
    [
        ([], 0, "new"),
        ([(0, "start")], 30, "new"),
        ([(0, "start")], 31, "down"),
        ([(0, "start"), (5, "success")], 60, "up"),
        ([(0, "success")], 60, "up"),
        ([(0, "success")], 61, "late"),
        ([(0, "success")], 91, "down"),
        ([(0, "success"), (100, "success")], 101, "up"),
        ([(0, "success"), (50, "start")], 80, "late"),
        ([(0, "success"), (50, "start")], 81, "down"),
        ([(0, "success"), (1, "fail")], 2, "down"),
        ([(0, "fail"), (1, "success")], 2, "up"),
    ],
)
def test_a_check_is_called_late_and_down_when_it_is(
    calls: list[tuple[float, Signal]], now: float, state: State
) -> None:
    assert state_of([Call(at, signal) for at, signal in calls], PERIOD, GRACE, now) == state
