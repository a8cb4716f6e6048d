"""How a target stands now: what may be called healthy, and what may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.history.records import Run
from tasks.history.standing import LastCheck, Standing, standing_of
from tasks.models import Finding, Severity

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FEWER = Finding(code="rows.dropped", severity="critical", message="public.experts has 1 row.", table="public.experts")


def finding(code: str, severity: Severity = "critical") -> Finding:
    return Finding(code=code, severity=severity, message="")


def check(age: timedelta = timedelta(minutes=5), **given: Any) -> LastCheck:
    fields: dict[str, Any] = {"verdict": "healthy", "findings": [], "counts": {"public.experts": 85}, "seen": True}
    return LastCheck(at=NOW - age, **(fields | given))


def run(kind: str, outcome: str, age: timedelta) -> Run:
    return Run(target="t", kind=kind, started_at=NOW - age, ended_at=NOW - age, outcome=outcome, message="No rights.")


def standing(seen: LastCheck | None, *runs: Run) -> Standing:
    return standing_of("t", seen, {each.kind: each for each in runs}, NOW, stale_after=HOUR)


def codes(found: Standing) -> list[str]:
    return [each.code for each in found.findings]


def test_a_fresh_check_without_findings_is_healthy() -> None:
    found = standing(check())
    assert (found.verdict, found.healthy, found.stale, found.identity_ok) == ("healthy", True, False, True)
    assert found.findings == []


def test_a_target_that_was_never_checked_is_not_healthy_and_says_what_to_do() -> None:
    found = standing(None)
    assert (found.verdict, found.healthy, found.stale, found.identity_ok) == ("warning", False, True, None)
    assert (found.counts, found.checked_at) == ({}, None)
    assert [each.message for each in found.findings] == ["t was never checked; run: rollcall verify t"]


@pytest.mark.parametrize(("age", "stale"), [(HOUR, False), (HOUR + timedelta(seconds=1), True)])
def test_a_check_older_than_expected_is_not_called_healthy(age: timedelta, stale: bool) -> None:
    found = standing(check(age))
    assert (found.stale, found.verdict == "warning", codes(found)) == (stale, stale, ["check.stale"] if stale else [])
    assert found.identity_ok is (None if stale else True)
    assert found.counts == {"public.experts": 85}


def test_an_old_critical_verdict_stays_critical() -> None:
    found = standing(check(50 * HOUR, verdict="critical", findings=[FEWER]))
    assert (found.verdict, codes(found)) == ("critical", ["rows.dropped", "check.stale"])
    assert found.findings[1].message.startswith("t was last checked 50.0 hours ago, and 1.0 are the most: nobody knows")


def test_a_warning_is_not_healthy_and_a_notice_is() -> None:
    warned = check(verdict="warning", findings=[finding("backup.stale", "warning")])
    noticed = check(findings=[finding("server.upgraded", "notice")])
    assert (standing(warned).healthy, standing(noticed).healthy) == (False, True)


def test_a_recorded_verdict_is_never_made_better_than_it_was() -> None:
    assert standing(check(verdict="critical", findings=[])).verdict == "critical"


@pytest.mark.parametrize(
    ("seen", "ok"),
    [
        (check(findings=[finding("volume.mismatch")]), False),
        (check(findings=[finding("volume.mismatch")], seen=False), False),
        (check(80 * HOUR, findings=[finding("cluster.rewound")]), False),
        (check(findings=[finding("cluster.pinned", "notice")]), True),
        (check(findings=[FEWER]), True),
        (check(findings=[finding("container.stopped")], seen=False), None),
        (check(findings=[finding("history.lost")]), None),
        (check(findings=[finding("history.unknown")]), None),
    ],
)
def test_identity_is_right_wrong_or_unknown(seen: LastCheck, ok: bool | None) -> None:
    assert standing(seen).identity_ok is ok


def test_a_check_that_failed_since_is_a_warning_with_its_reason() -> None:
    failed = run("verify", "failed", timedelta(minutes=1))
    found = standing(check(), failed)
    assert (found.verdict, found.stale, codes(found)) == ("warning", False, ["check.failed"])
    assert found.findings[0].message == "t could not be checked at 2026-02-01 11:59 UTC: No rights."
    assert codes(standing(None, failed)) == ["check.failed", "check.missing"]


@pytest.mark.parametrize(
    "other",
    [run("verify", "failed", timedelta(minutes=6)), run("verify", "done", timedelta(0)), run("drill", "failed", -HOUR)],
)
def test_a_failure_before_the_check_and_other_runs_say_nothing_of_it(other: Run) -> None:
    assert standing(check(), other).healthy
