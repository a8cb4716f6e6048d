"""What a former `rollcall serve` left: runs that came due while it was away, and runs that it never saw the end of.

Decided here, purely; done by applied.py. What was missed is caught up, once, however often it was missed. A scheduled
backup or drill that was cut off is started again, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim

UNFINISHED = {"RUNNING", "PENDING", "PAUSED", "CANCELLING"}
STOPPED_BY_US = "Runner is shutting down"
"""How Prefect's runner begins the message of a run that it ends because it stops itself."""
CAUGHT_UP = {"backup", "drill"}
"""Flows whose every missing run matters. A check comes round again by itself."""


@dataclass(frozen=True)
class Run:
    """A flow run as Prefect knows it. `scheduled`: by a schedule, not by a person."""

    id: str
    flow: str
    target: str
    state: str
    due: datetime
    scheduled: bool
    message: str = ""

    @property
    def name(self) -> str:
        """The deployment's full name."""
        return f"{self.flow}/{self.target}"


@dataclass(frozen=True)
class Decision:
    """What becomes of a run: it is skipped, declared dead, waited for, or started again; and why, in words."""

    run: Run
    what: Literal["skip", "dead", "wait", "again"]
    why: str


def decide(runs: Sequence[Run], now: datetime, alive: Callable[[str, str], bool]) -> list[Decision]:
    """What becomes of each run that is overdue, unfinished or was cut off; nothing for all others.

    alive: whether a process is at work on that flow and target right now (its lock is held).
    """
    overdue = [run for run in runs if run.state == "SCHEDULED" and run.due <= now]
    skipped = _all_but_the_newest([run for run in overdue if run.scheduled])
    caught_up = {run.name for run in overdue}
    decisions = [
        Decision(run, "skip", "Missed while rollcall serve was stopped; a later one stands for it.") for run in skipped
    ]
    for run in runs:
        if run.state in UNFINISHED:
            if alive(run.flow, run.target):
                decisions.append(Decision(run, "wait", "Its process outlived the rollcall serve that started it."))
                continue
            decisions.append(Decision(run, "dead", "Its process ended with the rollcall serve that started it."))
        elif not (run.state == "CANCELLED" and run.message.startswith(STOPPED_BY_US)):
            continue
        if run.scheduled and run.flow in CAUGHT_UP and run.name not in caught_up and run == _newest(runs, run.name):
            decisions.append(Decision(run, "again", "It was cut off when rollcall serve stopped."))
    return decisions


DST_STEP = timedelta(minutes=61)
"""By how much two readers of a cron line may differ on the day that the clocks change."""


def was_missed(cron: str, timezone: str, runs: Sequence[Run], since: datetime, now: datetime) -> datetime | None:
    """When a run of one deployment should have come due and none did, in whatever state; None if all is well.

    Prefect drops the runs that it has planned when a deployment is made anew, and plans again some seconds later; what
    came due in between never was. runs: all that have come due; since: how long the schedule has been what it is.
    """
    # In UTC before anything is reckoned: within a zone, Python subtracts as if its clocks never changed.
    due = next(CronSim(cron, now.astimezone(ZoneInfo(timezone)), reverse=True)).astimezone(UTC)
    if due < since or any(run.due > due - DST_STEP for run in runs):
        return None
    return due


def _all_but_the_newest(overdue: Sequence[Run]) -> list[Run]:
    return [run for run in overdue if run != _newest(overdue, run.name)]


def _newest(runs: Sequence[Run], name: str) -> Run:
    """The deployment's last run that has come due, in whatever state; future ones are not among `runs`."""
    return max((run for run in runs if run.name == name), key=lambda run: (run.due, run.id))
