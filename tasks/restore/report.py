"""What came of a restore, as data: from its journal."""

from __future__ import annotations

from datetime import datetime

from tasks.models import Difference, Model
from tasks.restore.dependants import unwell
from tasks.restore.hands import Hands
from tasks.restore.journal import Journal
from tasks.restore.plan import Plan


class RestoreReport(Model):
    """What came of a restore; `restore-volume --json` prints exactly this.

    outcome: `planned` where nothing was to be done but to show the plan. downtime_seconds: from the stop of the
    container to its first answer. database: the target's own. counts: rows by database and table after the cut-over;
    rebuilt: the same of what was proven aside before it, empty where nothing was rebuilt; differences: in which
    that is not what its manifest says, all accepted. timings: seconds by step.
    warnings: what is not as it should be although the data is, a sentence each: dependants that did not come up.
    """

    target: str
    outcome: str
    plan: Plan
    run: str | None = None
    approved_by: str | None = None
    safety_backup: str | None = None
    staging: str | None = None
    old_container: str | None = None
    database: str | None = None
    counts: dict[str, dict[str, int]] = {}
    rebuilt: dict[str, dict[str, int]] = {}
    differences: list[Difference] = []
    system_identifier: str | None = None
    downtime_seconds: float | None = None
    total_seconds: float | None = None
    timings: dict[str, float] = {}
    warnings: list[str] = []


def report_of(hands: Hands, safety_backup: str | None) -> RestoreReport:
    """The report of a restore that is done, from its journal."""
    journal, plan = hands.journal, hands.plan
    facts = journal.facts
    ended = journal.lines[-1].at
    return RestoreReport(
        target=plan.target,
        outcome="done",
        plan=plan,
        run=hands.run,
        approved_by=journal.header.approved_by,
        safety_backup=safety_backup,
        staging=journal.header.staging if plan.rebuilds else None,
        old_container=hands.names[1] if plan.reattaches else None,
        database=hands.config.target(plan.target).database,
        counts=facts["counts_found"],
        rebuilt=facts.get("rebuilt", {}).get("counts", {}),
        differences=facts.get("rebuilt", {}).get("differences", []),
        system_identifier=facts["identity"]["system_identifier"],
        downtime_seconds=_seconds(facts["stopped_at"], facts["answered_at"]),
        total_seconds=round((ended - journal.header.begun_at).total_seconds(), 3),
        timings=_timings(journal),
        warnings=unwell(hands),
    )


def _seconds(start: str, end: str) -> float:
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)


def _timings(journal: Journal) -> dict[str, float]:
    begun = {line.step: line.at for line in journal.lines if line.event == "starting"}
    done = {line.step: line.at for line in journal.lines if line.event == "done"}
    return {name: round((done[name] - at).total_seconds(), 3) for name, at in begun.items() if name in done}
