"""Rotation: what stays, what goes, and what can never go."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import Retention
from tasks.storage.retention import Kept, RetentionPlan, plan

NOW = datetime(2026, 2, 1, 3, 0, tzinfo=UTC)


def nightly(days: int, quarantined: bool = False, proven: bool = False, name: str = "b") -> list[Kept]:
    return [Kept(f"{name}{day}", NOW - timedelta(days=day), quarantined, proven) for day in range(days)]


def kept(done: RetentionPlan) -> set[str]:
    return {identifier for identifier, _ in done.keep}


def deleted(done: RetentionPlan) -> set[str]:
    return {identifier for identifier, _ in done.delete}


def test_a_year_of_nightly_backups_leaves_days_weeks_and_months() -> None:
    done = plan(nightly(365), Retention(last=7, daily=7, weekly=4, monthly=12), NOW, frozen=False)
    assert {f"b{day}" for day in range(7)} <= kept(done)
    # Sundays of the last four ISO weeks (1 February 2026 is one), the last days of the months before.
    assert {"b7", "b14", "b21"} <= kept(done)
    assert {"b1", "b32", "b63"} <= kept(done)
    assert len(done.keep) == 7 + 3 + 11 - 1
    assert len(done.keep) + len(done.delete) == 365


def test_several_backups_a_day_leave_the_newest_of_the_day() -> None:
    entries = [Kept(f"h{hour}", NOW - timedelta(hours=hour), False, False) for hour in range(72)]
    done = plan(entries, Retention(last=1, daily=3, weekly=0, monthly=0), NOW, frozen=False)
    assert kept(done) == {"h0", "h4", "h28"}


def test_when_backups_stop_nothing_is_deleted_by_time_alone() -> None:
    entries = nightly(7)
    assert plan(entries, Retention(), NOW + timedelta(days=3650), frozen=False).delete == []


def test_while_the_verdict_is_critical_nothing_goes_and_the_plan_says_why() -> None:
    done = plan(nightly(400), Retention(), NOW, frozen=True)
    assert done.delete == []
    assert done.frozen is not None
    assert "critical" in done.frozen


def test_a_week_on_the_wrong_volume_costs_no_good_backup() -> None:
    good = [Kept(f"g{day}", NOW - timedelta(days=day), False, False) for day in range(30, 37)]
    done = plan([*nightly(30, quarantined=True, name="q"), *good], Retention(), NOW, frozen=False)
    assert deleted(done) == set()


def test_quarantined_backups_expire_once_there_is_a_good_one() -> None:
    old = [Kept("q", NOW - timedelta(days=91), True, False)]
    assert deleted(plan(old, Retention(), NOW, frozen=False)) == set()
    assert deleted(plan([*old, *nightly(1)], Retention(), NOW, frozen=False)) == {"q"}


def test_the_newest_proven_backup_stays_however_old() -> None:
    proven = Kept("proven", NOW - timedelta(days=700), False, True)
    rule = Retention(last=1, daily=0, weekly=0, monthly=0)
    assert kept(plan([*nightly(50), proven], rule, NOW, frozen=False)) == {"b0", "proven"}


def test_backups_from_the_future_take_nobodys_place() -> None:
    future = [Kept(f"f{day}", NOW + timedelta(days=day), False, False) for day in range(1, 60)]
    rule = Retention(last=3, daily=0, weekly=0, monthly=0)
    alone = kept(plan(nightly(10), rule, NOW, frozen=False))
    assert kept(plan([*nightly(10), *future], rule, NOW, frozen=False)) == alone | {each.id for each in future}


def test_a_clock_set_back_deletes_nothing() -> None:
    assert plan(nightly(400), Retention(), NOW - timedelta(days=4000), frozen=False).delete == []


def test_days_are_those_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    early = Kept("early", datetime(2026, 1, 31, 8, 0, tzinfo=tokyo), False, False)
    late = Kept("late", datetime(2026, 1, 31, 10, 0, tzinfo=tokyo), False, False)
    done = plan([early, late], Retention(last=1, daily=2, weekly=0, monthly=0), NOW, frozen=False)
    assert deleted(done) == set()


entries_strategy = st.lists(
    st.builds(
        Kept,
        id=st.uuids().map(str),
        created_at=st.integers(-800 * 24, 60 * 24).map(lambda hours: NOW + timedelta(hours=hours)),
        aside=st.booleans(),
        proven=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda entry: entry.id,
)
rules = st.builds(
    Retention,
    last=st.integers(1, 5),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    quarantined_days=st.integers(1, 100),
)


def newest(entries: list[Kept]) -> set[str]:
    """The newest by time; of several at the same instant at least one of them must stay."""
    top = max((entry.created_at for entry in entries), default=None)
    return {entry.id for entry in entries if entry.created_at == top}


@given(entries_strategy, rules)
def test_every_backup_is_either_kept_or_deleted(entries: list[Kept], rule: Retention) -> None:
    done = plan(entries, rule, NOW, frozen=False)
    assert kept(done) | deleted(done) == {entry.id for entry in entries}
    assert len(done.keep) + len(done.delete) == len(entries)
    assert all(reason for _, reason in done.keep + done.delete)


@given(entries_strategy, rules)
def test_the_newest_good_and_the_newest_proven_never_go(entries: list[Kept], rule: Retention) -> None:
    gone = deleted(plan(entries, rule, NOW, frozen=False))
    for now_and_ever in (entries, [entry for entry in entries if entry.created_at <= NOW]):
        good = [entry for entry in now_and_ever if not entry.aside]
        for protected in (good, [entry for entry in good if entry.proven]):
            assert not protected or newest(protected) - gone
    proven = [entry for entry in entries if entry.proven]
    assert not proven or newest(proven) - gone


@given(entries_strategy, rules)
def test_rotation_never_empties_the_catalogue(entries: list[Kept], rule: Retention) -> None:
    assert bool(plan(entries, rule, NOW, frozen=False).keep) is bool(entries)


@given(entries_strategy, rules)
def test_rotating_twice_deletes_nothing_more(entries: list[Kept], rule: Retention) -> None:
    first = kept(plan(entries, rule, NOW, frozen=False))
    again = plan([entry for entry in entries if entry.id in first], rule, NOW, frozen=False)
    assert again.delete == []


@given(entries_strategy, rules)
def test_frozen_deletes_nothing(entries: list[Kept], rule: Retention) -> None:
    done = plan(entries, rule, NOW, frozen=True)
    assert done.delete == []
    assert kept(done) == {entry.id for entry in entries}


@given(entries_strategy, rules, st.integers(0, 4000))
def test_a_clock_set_back_never_deletes_a_good_backup_more(entries: list[Kept], rule: Retention, days: int) -> None:
    good = {entry.id for entry in entries if not entry.aside and entry.created_at > NOW - timedelta(days=days)}
    assert not deleted(plan(entries, rule, NOW - timedelta(days=days), frozen=False)) & good


@given(entries_strategy, rules)
def test_the_order_of_the_catalogue_does_not_matter(entries: list[Kept], rule: Retention) -> None:
    assert plan(list(reversed(entries)), rule, NOW, frozen=False) == plan(entries, rule, NOW, frozen=False)


@pytest.mark.parametrize("frozen", [True, False])
def test_no_backups_is_a_plan_too(frozen: bool) -> None:
    done = plan([], Retention(), NOW, frozen)
    assert (done.keep, done.delete) == ([], [])
