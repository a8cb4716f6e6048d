"""Whether to tell anyone, and why: every change at once, and a reminder after a cool-down. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tasks.models import Finding, Verdict

Reason = Literal["new", "worse", "changed", "better", "recovered", "reminder"]

REMIND_EVERY = timedelta(hours=1)
REMIND_OF_WARNING_EVERY = timedelta(days=1)

_LEVEL: dict[Verdict, int] = {"healthy": 0, "warning": 1, "critical": 2}
# Checks come by schedule, a little early or late: without this an hourly check would remind every other hour.
_EARLY = timedelta(seconds=30)
_AT_ONCE = timedelta(seconds=60)


@dataclass(frozen=True)
class LastAlert:
    """The newest alert of a target: what it said, when (UTC, aware), and whether it reached everybody.

    missed: the destinations that it did not reach, where others were; empty also where nobody was.
    """

    verdict: Verdict
    fingerprint: str
    sent_at: datetime
    delivered: bool
    missed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """Why to send an alert, and to whom alone (None: to everybody)."""

    reason: Reason
    only: frozenset[str] | None = None


def fingerprint(findings: Sequence[Finding]) -> str:
    """SHA-256 over which codes befall which tables; order, wording, row numbers and notices do not matter."""
    wrong = {(finding.code, finding.table or "") for finding in findings if finding.severity != "notice"}
    return hashlib.sha256(json.dumps(sorted(wrong)).encode()).hexdigest()


def decide(
    verdict: Verdict,
    findings: Sequence[Finding],
    last: LastAlert | None,
    now: datetime,
    remind_every: timedelta = REMIND_EVERY,
) -> Reason | None:
    """Why to send an alert now (UTC, aware), or None to stay silent.

    A change of verdict, or of which findings there are while not healthy, is told at once; an alert that reached
    nobody is tried again at once; an unchanged critical is repeated after `remind_every`, a warning once a day.
    """
    before: Verdict = last.verdict if last else "healthy"
    if verdict != before:
        return _change(before, verdict)
    if last is None:
        return None
    if not last.delivered and not last.missed:
        # Nobody may have heard of it: say it as news, for a reminder would refer to what was never read.
        return _as_news(verdict)
    if verdict == "healthy":
        return None
    if fingerprint(findings) != last.fingerprint:
        return "changed"
    return "reminder" if _due(verdict, now - last.sent_at, remind_every) else None


def decide_whom(
    verdict: Verdict,
    findings: Sequence[Finding],
    last: LastAlert | None,
    now: datetime,
    remind_every: timedelta,
    destinations: Collection[str],
) -> Decision | None:
    """The same, and for whom: where everybody else has heard it, it is tried again for those alone that it missed."""
    reason = decide(verdict, findings, last, now, remind_every)
    if reason is not None:
        return Decision(reason)
    if last is None or last.delivered:
        return None
    left = last.missed & frozenset(destinations)
    return Decision(_as_news(verdict), left) if left else None


def decide_failure(
    told_at: datetime | None,
    missed: Collection[str],
    ended_at: datetime | None,
    now: datetime,
    remind_every: timedelta,
    destinations: Collection[str],
) -> Decision | None:
    """Whom to tell of a run that failed, by when just this was told last, whom that missed, and when something last
    came to its end: all after the cool-down, or where something ended since; else those alone that it missed."""
    # What is dated in the future, for the clock was set back, silences nothing.
    if told_at is None or not -_AT_ONCE < now - told_at < remind_every:
        return Decision("new")
    if ended_at is not None and told_at < ended_at < now + _AT_ONCE:
        return Decision("new")
    left = frozenset(missed) & frozenset(destinations)
    return Decision("new", left) if left else None


def missed_by(sent: Decision, undelivered: Collection[str], destinations: Collection[str]) -> list[str]:
    """Whom an alert missed that others have heard, sorted; empty also where nobody has."""
    nobody = sent.only is None and set(undelivered) >= set(destinations)
    return [] if nobody else sorted(undelivered)


def _as_news(verdict: Verdict) -> Reason:
    return "recovered" if verdict == "healthy" else "new"


def _change(before: Verdict, verdict: Verdict) -> Reason:
    if before == "healthy":
        return "new"
    if verdict == "healthy":
        return "recovered"
    return "worse" if _LEVEL[verdict] > _LEVEL[before] else "better"


def _due(verdict: Verdict, elapsed: timedelta, remind_every: timedelta) -> bool:
    """True after the cool-down; also when the last alert lies in the future (the clock was set back), and not only
    because of two runs at once the other one was first."""
    wait = remind_every if verdict == "critical" else max(remind_every, REMIND_OF_WARNING_EVERY)
    return elapsed < -_AT_ONCE or elapsed + min(_EARLY, wait / 20) >= wait
