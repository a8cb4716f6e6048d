"""What becomes of the runs that a former `rollcall serve` left, decided from plain data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deployments.serving.left_over import STOPPED_BY_US, Run, decide, was_missed

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
TONIGHT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


def run(flow: str, due: datetime, state: str = "SCHEDULED", scheduled: bool = True, message: str = "") -> Run:
    return Run(f"{flow}-{due:%d%H%M}-{state}", flow, "shop", state, due, scheduled, message)


def decided(*runs: Run, alive: bool = False) -> list[tuple[str, str]]:
    return [(each.run.id, each.what) for each in decide(runs, NOW, lambda _flow, _target: alive)]


def test_of_many_missed_runs_the_last_one_is_kept() -> None:
    nights = [run("backup", TONIGHT - timedelta(days=day)) for day in range(3)]
    checks = [run("verify", NOW - timedelta(minutes=15 * n)) for n in range(1, 100)]

    skipped = decided(*nights, *checks)

    assert {what for _, what in skipped} == {"skip"}
    assert {each.id for each in (*nights, *checks)} - {identity for identity, _ in skipped} == {
        nights[0].id,
        checks[0].id,
    }


def test_a_run_that_a_person_asked_for_is_never_skipped() -> None:
    asked = run("backup", TONIGHT - timedelta(hours=1), scheduled=False)

    assert decided(asked, run("backup", TONIGHT)) == []


def test_runs_that_ended_are_left_alone() -> None:
    assert decided(*(run("backup", TONIGHT, state) for state in ("COMPLETED", "FAILED", "CRASHED"))) == []
    assert decided(run("backup", TONIGHT, "CANCELLED", message="Deployment concurrency limit reached.")) == []


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "PAUSED", "CANCELLING"])
def test_a_run_whose_process_is_gone_is_declared_dead(state: str) -> None:
    verify, restore = run("verify", TONIGHT, state), run("restore-volume", TONIGHT, state, scheduled=False)

    assert decided(verify, restore) == [(verify.id, "dead"), (restore.id, "dead")]


def test_a_run_whose_process_lives_is_waited_for() -> None:
    backup = run("backup", TONIGHT, "RUNNING")

    assert decided(backup, alive=True) == [(backup.id, "wait")]


@pytest.mark.parametrize("flow", ["backup", "drill"])
def test_a_scheduled_run_that_died_or_was_cut_off_is_started_again(flow: str) -> None:
    died = run(flow, TONIGHT, "RUNNING")
    assert decided(died) == [(died.id, "dead"), (died.id, "again")]

    cut_off = run(flow, TONIGHT, "CANCELLED", message=f"{STOPPED_BY_US}.")
    assert decided(cut_off) == [(cut_off.id, "again")]


def test_a_run_that_was_cut_off_is_not_started_again_where_a_later_one_stands_for_it() -> None:
    cut_off = run("backup", TONIGHT - timedelta(days=1), "CANCELLED", message=f"{STOPPED_BY_US}.")

    assert decided(cut_off, run("backup", TONIGHT)) == []  # overdue: it runs late
    assert decided(cut_off, run("backup", TONIGHT, "COMPLETED")) == []
    assert decided(cut_off, run("backup", TONIGHT, scheduled=False)) == []


def test_what_a_person_started_is_not_started_again() -> None:
    asked = run("backup", TONIGHT, "RUNNING", scheduled=False)

    assert decided(asked) == [(asked.id, "dead")]


LONG_AGO = NOW - timedelta(days=300)


def test_a_run_that_fell_between_two_plans_is_noticed() -> None:
    before = [run("backup", TONIGHT - timedelta(days=1), "COMPLETED")]

    assert was_missed("0 2 * * *", "UTC", before, LONG_AGO, NOW) == TONIGHT
    assert was_missed("0 2 * * *", "UTC", [], LONG_AGO, NOW) == TONIGHT


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CRASHED", "RUNNING", "SCHEDULED"])
def test_a_run_that_came_due_was_not_missed_however_it_ended(state: str) -> None:
    assert was_missed("0 2 * * *", "UTC", [run("backup", TONIGHT, state)], LONG_AGO, NOW) is None


def test_a_schedule_that_is_new_has_missed_nothing() -> None:
    assert was_missed("0 2 * * *", "UTC", [], NOW - timedelta(minutes=5), NOW) is None


@pytest.mark.parametrize(
    ("timezone", "due"),
    [("Europe/Berlin", datetime(2027, 3, 28, 0, 0, tzinfo=UTC)), ("UTC", datetime(2027, 3, 28, 2, 0, tzinfo=UTC))],
)
def test_the_day_the_clocks_change_is_no_miss(timezone: str, due: datetime) -> None:
    """Prefect runs what the clocks jump over an hour early; a strict reader of the line would say: an hour later."""
    now = datetime(2027, 3, 28, 9, 0, tzinfo=UTC)

    assert was_missed("0 2 * * *", timezone, [run("backup", due, "COMPLETED")], LONG_AGO, now) is None
