"""When someone is told, and why."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.alerts.decide import (
    Decision,
    LastAlert,
    Reason,
    decide,
    decide_failure,
    decide_whom,
    fingerprint,
    missed_by,
)
from tasks.models import Finding, verdict_of

NOW = datetime(2026, 2, 1, 2, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

LOST = Finding(code="rows.dropped", severity="critical", message="experts has 1 row", table="public.experts")
LOST_MORE = Finding(code="rows.dropped", severity="critical", message="nodes has 27", table="public.knowledge_nodes")
STALE = Finding(code="backup.stale", severity="warning", message="the newest backup is 30 hours old")
PINNED = Finding(code="cluster.pinned", severity="notice", message="first sight")


def alerted(*findings: Finding, ago: timedelta = timedelta(minutes=5), delivered: bool = True) -> LastAlert:
    return LastAlert(verdict_of(list(findings)), fingerprint(findings), NOW - ago, delivered)


@pytest.mark.parametrize(
    ("findings", "last", "reason"),
    [
        pytest.param([], None, None, id="healthy from the start is not news"),
        pytest.param([PINNED], None, None, id="a notice is not news"),
        pytest.param([], alerted(), None, id="healthy stays silent"),
        pytest.param([], alerted(ago=30 * DAY), None, id="healthy is never repeated"),
        pytest.param([LOST], None, "new", id="the first critical"),
        pytest.param([STALE], None, "new", id="the first warning"),
        pytest.param([LOST], alerted(), "new", id="critical after a recovery"),
        pytest.param([STALE, LOST], alerted(STALE), "worse", id="warning to critical, within the cool-down"),
        pytest.param([STALE], alerted(STALE, LOST), "better", id="critical to warning"),
        pytest.param([], alerted(LOST), "recovered", id="critical to healthy"),
        pytest.param([], alerted(STALE), "recovered", id="warning to healthy"),
        pytest.param([PINNED], alerted(STALE), "recovered", id="a notice does not hold a recovery back"),
        pytest.param([LOST, LOST_MORE], alerted(LOST), "changed", id="another table"),
        pytest.param([LOST, STALE], alerted(LOST), "changed", id="another code"),
        pytest.param([LOST], alerted(LOST, LOST_MORE), "changed", id="one table fewer"),
        pytest.param([LOST, PINNED], alerted(LOST), None, id="a notice changes nothing"),
        pytest.param([LOST], alerted(LOST, ago=HOUR / 2), None, id="critical within the cool-down"),
        pytest.param([LOST], alerted(LOST, ago=HOUR), "reminder", id="critical after the cool-down"),
        pytest.param([LOST], alerted(LOST, ago=HOUR - timedelta(seconds=9)), "reminder", id="a run that came early"),
        pytest.param([LOST], alerted(LOST, ago=HOUR - timedelta(minutes=2)), None, id="a run that came too early"),
        pytest.param([STALE], alerted(STALE, ago=2 * HOUR), None, id="a warning is not repeated every hour"),
        pytest.param([STALE], alerted(STALE, ago=DAY), "reminder", id="a warning is repeated once a day"),
        pytest.param([LOST], alerted(LOST, delivered=False), "new", id="undelivered is tried again at once"),
        pytest.param([STALE], alerted(STALE, delivered=False), "new", id="an undelivered warning too"),
        pytest.param([], alerted(delivered=False), "recovered", id="an undelivered recovery too"),
        pytest.param([LOST], alerted(STALE, delivered=False), "worse", id="undelivered, and worse by now"),
        pytest.param([LOST], alerted(LOST, ago=-DAY), "reminder", id="the clock was set back"),
        pytest.param([LOST], alerted(LOST, ago=-timedelta(seconds=5)), None, id="another run at once was first"),
    ],
)
def test_a_change_is_told_at_once_and_what_stays_is_repeated_after_a_while(
    findings: list[Finding], last: LastAlert | None, reason: Reason | None
) -> None:
    assert decide(verdict_of(findings), findings, last, NOW, HOUR) == reason


@pytest.mark.parametrize(("hours", "reason"), [(5.9, None), (6, "reminder")])
def test_the_cool_down_can_be_set(hours: float, reason: Reason | None) -> None:
    last = alerted(LOST, ago=timedelta(hours=hours))
    assert decide("critical", [LOST], last, NOW, 6 * HOUR) == reason


def test_a_cool_down_longer_than_a_day_holds_for_warnings_too() -> None:
    assert decide("warning", [STALE], alerted(STALE, ago=2 * DAY), NOW, 3 * DAY) is None


def test_every_hour_for_a_week_gives_one_reminder_an_hour() -> None:
    last: LastAlert | None = None
    told: list[Reason] = []
    for step in range(7 * 24 * 12):
        now = NOW + step * timedelta(minutes=5)
        reason = decide("critical", [LOST], last, now, HOUR)
        if reason:
            told.append(reason)
            last = LastAlert("critical", fingerprint([LOST]), now, delivered=True)
    assert told == ["new"] + ["reminder"] * (7 * 24 - 1)


def test_the_fingerprint_is_the_same_whatever_the_order_wording_and_rows() -> None:
    reworded = LOST.model_copy(update={"message": "experts has 2 rows"})
    assert fingerprint([LOST, STALE, PINNED]) == fingerprint([STALE, reworded, reworded])


def test_the_fingerprint_does_not_change_between_releases() -> None:
    stored = "e0cb74dcca6e597e9854ef1749e43a8ea5ded140768fef6904ec7e63ca0bb905"
    assert fingerprint([LOST]) == stored


def test_names_that_run_together_have_different_fingerprints() -> None:
    one = Finding(code="a", severity="warning", message="", table="bc")
    two = Finding(code="ab", severity="warning", message="", table="c")
    assert fingerprint([one]) != fingerprint([two])


BOTH = ["{env: MAIL}", "{env: SLACK}"]
SLACK = frozenset({"{env: SLACK}"})


def half_told(*findings: Finding, ago: timedelta = timedelta(minutes=5), missed: frozenset[str] = SLACK) -> LastAlert:
    return LastAlert(verdict_of(list(findings)), fingerprint(findings), NOW - ago, delivered=False, missed=missed)


@pytest.mark.parametrize(
    ("findings", "last", "decision"),
    [
        pytest.param([LOST], half_told(LOST), Decision("new", SLACK), id="again for whom it missed"),
        pytest.param([], half_told(), Decision("recovered", SLACK), id="a recovery too"),
        pytest.param([LOST], half_told(LOST, ago=HOUR), Decision("reminder"), id="a reminder is for everybody"),
        pytest.param([LOST, STALE], half_told(LOST), Decision("changed"), id="a change is for everybody"),
        pytest.param([], half_told(LOST), Decision("recovered"), id="what is better is for everybody"),
        pytest.param([LOST], half_told(LOST, missed=frozenset({"gone"})), None, id="who left the configuration"),
        pytest.param([LOST], alerted(LOST), None, id="everybody heard it"),
        pytest.param([LOST], alerted(LOST, delivered=False), Decision("new"), id="nobody heard it"),
        pytest.param([], None, None, id="nothing to tell"),
    ],
)
def test_only_those_that_an_alert_missed_are_told_again(
    findings: list[Finding], last: LastAlert | None, decision: Decision | None
) -> None:
    assert decide_whom(verdict_of(findings), findings, last, NOW, HOUR, BOTH) == decision


def test_whom_an_alert_missed_is_kept_where_others_heard_it() -> None:
    assert missed_by(Decision("new"), SLACK, BOTH) == ["{env: SLACK}"]
    assert missed_by(Decision("new"), BOTH, BOTH) == [], "nobody heard it: it is told to all again"
    assert missed_by(Decision("new", SLACK), SLACK, BOTH) == ["{env: SLACK}"]
    assert missed_by(Decision("new", SLACK), SLACK, list(SLACK)) == ["{env: SLACK}"]
    assert missed_by(Decision("new"), [], BOTH) == []


@pytest.mark.parametrize(
    ("told", "missed", "ended", "decision"),
    [
        pytest.param(None, [], None, Decision("new"), id="never told"),
        pytest.param(HOUR / 2, [], None, None, id="within the cool-down"),
        pytest.param(HOUR, [], None, Decision("new"), id="after the cool-down"),
        pytest.param(HOUR / 2, [], HOUR, None, id="what ended before changes nothing"),
        pytest.param(HOUR / 2, [], HOUR / 4, Decision("new"), id="something has ended well since"),
        pytest.param(HOUR / 2, [], -DAY, None, id="an end in the future is none"),
        pytest.param(-DAY, [], None, Decision("new"), id="the clock was set back"),
        pytest.param(HOUR / 2, list(SLACK), None, Decision("new", SLACK), id="whom it missed"),
        pytest.param(HOUR / 2, ["gone"], None, None, id="who left the configuration"),
    ],
)
def test_a_failure_is_told_again_after_a_while_or_to_whom_it_missed(
    told: timedelta | None, missed: list[str], ended: timedelta | None, decision: Decision | None
) -> None:
    told_at, ended_at = (None if ago is None else NOW - ago for ago in (told, ended))
    assert decide_failure(told_at, missed, ended_at, NOW, HOUR, BOTH) == decision
