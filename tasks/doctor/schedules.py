"""Whether Prefect will really run something: each target's deployments, their schedules, and runs of them to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.config import Config
from tasks.cron import NEVER
from tasks.doctor.diagnosis import Diagnosis, wrong
from tasks.sections import Schedules

Deployment = Mapping[str, Any]
Ask = Callable[[str, Mapping[str, Any]], Any]
"""The answer of Prefect's API to a POST of this body to this path, as JSON."""

FLOWS = ("backup", "verify", "drill")
PAGE = 200


def schedule_diagnoses(config: Config, ask: Ask) -> list[Diagnosis]:
    """One for each target."""
    flows = {each["id"]: each["name"] for each in _all(ask, "/flows/filter")}
    deployments = [{**each, "flow": flows.get(each["flow_id"], "")} for each in _all(ask, "/deployments/filter")]
    return [
        _of_target(target, config.schedules_of(target), deployments, lambda each: _ahead(ask, each))
        for target in config.targets
    ]


def _of_target(
    target: str, schedules: Schedules, deployments: Sequence[Deployment], ahead: Callable[[Deployment], bool]
) -> Diagnosis:
    """Whether every flow that the configuration schedules has a run to come, and by just that schedule."""
    lacking, planned, never = [], [], []
    for flow in FLOWS:
        cron = getattr(schedules, flow)
        mine = [each for each in deployments if each["flow"] == flow and _target_of(each) == target]
        if cron == NEVER:
            never.append(flow)
        elif lack := _lacking(flow, (cron, schedules.timezone), mine, ahead):
            lacking.append(lack)
        else:
            planned.append(flow)
    subject = f"{target}: schedules"
    if lacking:
        words = f"{'; '.join(lacking)}: start rollcall serve anew, or use rollcall deploy and a worker."
        return wrong(subject, words[0].upper() + words[1:])
    said = [f"Runs of {', '.join(planned)} are scheduled in Prefect."] if planned else []
    said += [f"By the configuration, {', '.join(never)}: never."] if never else []
    return Diagnosis(subject=subject, well=True, words=" ".join(said))


def _target_of(deployment: Deployment) -> str | None:
    return (deployment["parameters"] or {}).get("target")


def _lacking(
    flow: str, wanted: tuple[str, str], mine: Sequence[Deployment], ahead: Callable[[Deployment], bool]
) -> str | None:
    """What keeps the flow from running as it should; None if nothing does."""
    if not mine:
        return f"{flow} has no deployment"
    if not any(ahead(each) for each in mine):
        return f"no run of {flow} is scheduled{' (it is paused)' * all(each.get('paused') for each in mine)}"
    found = [_line(each["schedule"]) for one in mine for each in one.get("schedules") or [] if each.get("active")]
    if wanted not in found:
        there = ", ".join(f"{cron} {timezone}" for cron, timezone in found)
        return f"{flow} is scheduled otherwise ({there}) than the configuration says ({' '.join(wanted)})"
    return None


def _line(schedule: Mapping[str, Any]) -> tuple[str, str]:
    """Cron line and time zone; another kind of schedule has an empty line."""
    return " ".join(str(schedule.get("cron") or "").split()), str(schedule.get("timezone") or "UTC")


def _ahead(ask: Ask, deployment: Deployment) -> bool:
    """Whether the deployment has a run that is still to come."""
    later = {"expected_start_time": {"after_": datetime.now(UTC).isoformat()}}
    scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    body = {"flow_runs": {**scheduled, **later}, "deployments": {"id": {"any_": [deployment["id"]]}}}
    return bool(ask("/flow_runs/count", body))


def _all(ask: Ask, path: str) -> list[Deployment]:
    """Every page of it."""
    found: list[Deployment] = []
    while True:
        page = ask(path, {"limit": PAGE, "offset": len(found)})
        found += page
        if len(page) < PAGE:
            return found
