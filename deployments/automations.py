"""Which automations a configuration asks of a Prefect server, as data, and what has to change there. Pure.

An automation that waits for an event is started by an event: each of these starts anew with every event it waits for
(`after` names it too), so it fires just `within` after the last one. For a target that never ran there is no last one:
`automations apply` emits WATCH_BEGUN when it makes an automation, and the wait starts there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.config import Config, Target
from tasks.cron import NEVER
from tasks.sections import Schedules

WATCH_BEGUN = "rollcall.watch.begun"
SHORTEST = 10.0
"""Seconds; Prefect waits no shorter."""
SILENT = 600.0
"""Seconds without a heartbeat until a run counts as dead: three of Prefect's own 180, and some."""
OUR_TAG = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.rollcall"}
DRILL_SLACK_DAYS = 1
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")

Change = Literal["create", "update", "keep", "remove"]


@dataclass(frozen=True)
class Wanted:
    """An automation as Prefect's API takes it. target: whose absence it notices; None where it is about any run."""

    name: str
    document: Mapping[str, Any]
    target: str | None = None


@dataclass(frozen=True)
class Step:
    """One automation, what becomes of it, and the id it has on the server already."""

    change: Change
    name: str
    id: str | None = None
    wanted: Wanted | None = None


def mark_of(config: Config) -> str:
    """What the descriptions of this configuration's automations end with: nothing else on the server is touched."""
    return f"[rollcall {hashlib.sha256(str(config.state).encode()).hexdigest()[:12]}]"


def wanted_automations(config: Config, blocks: Sequence[str]) -> list[Wanted]:
    """All that the configuration asks for; `blocks` are the ids of the notification blocks that deliver."""
    found = [
        each for name, target in config.targets.items() for each in _of_target(name, target, config.schedules_of(name))
    ]
    return [
        Wanted(
            each.name,
            {
                "enabled": True,
                **each.document,
                "description": f"{each.document['description']} {mark_of(config)}",
                "actions": [*each.document["actions"], *_tell(blocks, each.document["tell"])],
            },
            each.target,
        )
        for each in [*found, _crashed(), _silent()]
    ]


def steps(wanted: Sequence[Wanted], present: Sequence[Mapping[str, Any]], mark: str) -> list[Step]:
    """What has to be done so that the server has just the wanted ones of ours. present: the server's documents."""
    ours = [each for each in present if str(each.get("description", "")).endswith(mark)]
    found = {str(each["name"]): each for each in ours}
    planned = []
    for each in wanted:
        there = found.get(each.name)
        if there is None:
            planned.append(Step("create", each.name, wanted=each))
        else:
            change: Change = "keep" if holds(there, each.document) else "update"
            planned.append(Step(change, each.name, str(there["id"]), each))
    names = {each.name for each in wanted}
    kept = {step.id for step in planned}
    gone = [each for each in ours if each["name"] not in names or str(each["id"]) not in kept]
    return planned + [Step("remove", str(each["name"]), str(each["id"])) for each in gone]


def holds(there: Any, asked: Any) -> bool:
    """True where `there` says all that `asked` says; it may say more (ids, defaults), and lists have no order."""
    match asked:
        case Mapping():
            given = {key: value for key, value in asked.items() if key != "tell"}
            return isinstance(there, Mapping) and all(holds(there.get(key), value) for key, value in given.items())
        case list():
            return (
                isinstance(there, list)
                and len(there) == len(asked)
                and all(any(holds(one, each) for one in there) for each in asked)
            )
    return bool(there == asked)


def _of_target(name: str, target: Target, schedules: Schedules) -> list[Wanted]:
    """None for a flow that never runs by itself."""
    hours, minutes, days = target.max_age_hours, target.max_silence_minutes, target.prove_every_days
    verified = ["rollcall.verify.healthy", "rollcall.verify.warning", "rollcall.verify.critical"]
    found = []
    if schedules.backup != NEVER:
        stored = ["rollcall.backup.stored"]
        found.append(_absent(name, "backup", f"no good backup for {hours:g} hours", stored, hours * 3600))
    if schedules.verify != NEVER:
        found.append(_absent(name, "verify", f"nobody looked for {minutes:g} minutes", verified, minutes * 60))
    if schedules.drill != NEVER and days:
        seconds = (days + DRILL_SLACK_DAYS) * 86_400.0
        found.append(_absent(name, "drill", f"no backup proven for {days} days", ["rollcall.drill.proven"], seconds))
    return found


def _absent(target: str, what: str, said: str, expected: list[str], seconds: float) -> Wanted:
    trigger = {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": f"rollcall.target.{target}"},
        "after": [*expected, WATCH_BEGUN],
        "expect": expected,
        "threshold": 1,
        "within": max(SHORTEST, seconds),
    }
    body = f"{said[0].upper()}{said[1:]}. Is the schedule on, and the worker alive?\nNext: rollcall verify {target}"
    document = {
        "name": f"rollcall: {target} {what} is missing",
        "description": f"Fires when {target} has had {said}."
        if what != "verify"
        else f"Fires when {said} at {target}.",
        "trigger": trigger,
        "actions": [],
        "tell": (f"MISSED {target}: {said}", body),
    }
    return Wanted(str(document["name"]), document, target)


def _crashed() -> Wanted:
    document = {
        "name": "rollcall: a run crashed",
        "description": "Fires when a run with the tag rollcall crashed; such a run can tell nobody itself.",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": OUR_TAG,
            "for_each": ["prefect.resource.id"],
            "expect": ["prefect.flow-run.Crashed"],
            "threshold": 1,
            "within": 0.0,
        },
        "actions": [],
        "tell": (
            "CRASHED {{ flow_run.name }}",
            "It was ended from outside: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}\nNext: rollcall doctor",
        ),
    }
    return Wanted(str(document["name"]), document)


def _silent() -> Wanted:
    """No notification of its own: the crash that it notes is told of by the automation for crashes."""
    heartbeat = "prefect.flow-run.heartbeat"
    document = {
        "name": "rollcall: a run gives no sign of life",
        "description": "Marks a run with the tag rollcall as crashed when its heartbeat stopped.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": OUR_TAG,
            "for_each": ["prefect.resource.id"],
            "after": [heartbeat],
            "expect": [heartbeat, *(f"prefect.flow-run.{end}" for end in ENDS)],
            "threshold": 1,
            "within": SILENT,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": f"No heartbeat for {SILENT / 60:g} minutes: its process is gone.",
            }
        ],
        "tell": None,
    }
    return Wanted(str(document["name"]), document)


def _tell(blocks: Sequence[str], said: tuple[str, str] | None) -> list[dict[str, str]]:
    if said is None:
        return []
    subject, body = said
    return [
        {"type": "send-notification", "block_document_id": block, "subject": subject, "body": body} for block in blocks
    ]
