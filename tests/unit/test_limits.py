"""From when on a backup, a check or a proof that did not come is missed: by the schedule, or by an explicit key."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Config
from tasks.cron import longest_gap, overdue_after
from tasks.limits import backup_limit, check_limit, proof_limit, verify_limit

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def config(api: dict[str, Any] | None = None, of_all: dict[str, str] | None = None, **rules: Any) -> Config:
    target = {"container": "c", "volume": "v", "database": "d", "storages": ["a"], **rules}
    document = {"storages": {"a": {"type": "local", "path": "a"}}, "targets": {"t": target}}
    return Config.model_validate(document | {"api": api or {}, "schedules": of_all or {}})


@pytest.mark.parametrize(
    ("line", "gap"),
    [
        ("* * * * *", MINUTE),
        ("*/15 * * * *", 15 * MINUTE),
        ("0 * * * *", HOUR),
        ("0 2 * * *", DAY),
        ("0 2,14 * * *", 12 * HOUR),
        ("0 1,2 * * *", 23 * HOUR),
        ("*/15 9-17 * * 1-5", 63 * HOUR + 15 * MINUTE),  # Friday 17:45 to Monday 9:00
        ("0 4 * * 0", 7 * DAY),
        ("0 4 * * sun", 7 * DAY),
        ("0 2 1 * *", 31 * DAY),
        ("30 2 1 1,7 *", 184 * DAY),
        ("*/5 * * 6 *", 336 * DAY + 5 * MINUTE),  # over a leap day
        ("0 0 29 2 *", 1461 * DAY),
        ("never", None),
    ],
)
def test_the_longest_time_between_two_runs(line: str, gap: timedelta | None) -> None:
    assert longest_gap(line) == gap


HOURS = st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True).map(lambda found: ",".join(map(str, found)))
DATES = st.sampled_from(["*", "1", "15", "1,20"])
WEEKDAYS = st.sampled_from(["*", "1-5", "0", "mon,thu"])


@settings(max_examples=40, deadline=None)
@given(hours=HOURS, date=DATES, weekday=WEEKDAYS)
def test_it_is_what_two_years_of_runs_show(hours: str, date: str, weekday: str) -> None:
    line = f"10,40 {hours} {date} * {weekday}"
    runs = CronSim(line, datetime(2024, 1, 1))
    seen = [next(runs) for _ in range(4000)]
    assert longest_gap(line) == max(later - earlier for earlier, later in pairwise(seen))


@pytest.mark.parametrize("line", ["*/15 * * * *", "0 * * * *", "0 2 * * *", "30 2 * * *", "0 4 * * 0"])
def test_nothing_is_missed_when_the_clocks_change(line: str) -> None:
    """A year of runs in a zone that changes them: none is later than its limit."""
    limit = overdue_after(line)
    assert limit is not None
    runs = CronSim(line, datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")))
    for earlier, later in pairwise(each.timestamp() for each in (next(runs) for _ in range(366))):
        assert later - earlier <= limit.total_seconds()


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("*/15 * * * *", 75 * MINUTE),
        ("* * * * *", 61 * MINUTE),
        ("0 * * * *", 3 * HOUR),
        ("0 2 * * *", 26 * HOUR),
        ("0 3 * * 6", 170 * HOUR),
        ("never", None),
    ],
)
def test_a_run_is_overdue_after_the_longest_gap_and_a_margin(line: str, limit: timedelta | None) -> None:
    assert overdue_after(line) == limit


def test_the_defaults_follow_the_default_schedules() -> None:
    plain = config()
    assert backup_limit(plain, "t") == 26 * HOUR
    assert verify_limit(plain, "t") == check_limit(plain, "t") == 75 * MINUTE
    assert proof_limit(plain, "t") == 14 * DAY


def test_a_targets_own_schedule_counts_and_the_files_for_what_it_does_not_say() -> None:
    own = config(None, {"verify": "0 * * * *", "backup": "0 2 * * *"}, schedules={"backup": "0 3 * * 6"})
    assert backup_limit(own, "t") == 170 * HOUR
    assert verify_limit(own, "t") == 3 * HOUR


def test_an_explicit_key_wins_also_where_nothing_is_scheduled() -> None:
    never = dict.fromkeys(("backup", "verify", "drill"), "never")
    for schedules in ({}, never):
        explicit = config(
            {"stale_after_hours": 5}, schedules, max_age_hours=7, max_silence_minutes=11, prove_every_days=13
        )
        assert backup_limit(explicit, "t") == 7 * HOUR
        assert verify_limit(explicit, "t") == 11 * MINUTE
        assert proof_limit(explicit, "t") == 13 * DAY
        assert check_limit(explicit, "t") == 5 * HOUR


def test_nothing_is_expected_of_a_flow_that_is_never_scheduled() -> None:
    silent = config(None, {"verify": "never", "drill": "never"})
    assert verify_limit(silent, "t") is None
    assert proof_limit(silent, "t") is None
    assert check_limit(silent, "t") == backup_limit(silent, "t") == 26 * HOUR, "a backup looks, too"
    nothing = config(None, {"verify": "never", "backup": "never"})
    assert backup_limit(nothing, "t") is None
    assert check_limit(nothing, "t") is None
    assert proof_limit(config(prove_every_days=0), "t") is None
