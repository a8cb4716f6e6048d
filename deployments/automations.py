"""Which automations a configuration asks of a Prefect server, as data, and what has to change there. Pure.

Each of those that wait for an event starts to wait anew with every such event (`after` names it too), so it fires just
`within` after the last one. For a target that never ran there is no last one: a proactive trigger that does not tell
resources apart (`for_each`) begins its first wait by itself, as soon as the server has loaded it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from tasks.config import Config
from tasks.cron import DAY, HOUR
from tasks.limits import backup_limit, proof_limit, verify_limit

SHORTEST = 10.0
"""Seconds; Prefect waits no shorter."""
SILENT = 600.0
"""Seconds without a heartbeat until a run counts as dead: three of Prefect's own 180, and some."""
OUR_TAG = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.rollcall"}
DRILL_SLACK = DAY
OURS = re.compile(r"\[rollcall [0-9a-f]{12}\]$")
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


def mark_of(installation: str) -> str:
    """What the descriptions of an installation's automations end with: nothing else on the server is touched."""
    return f"[rollcall {installation}]"


def wanted_automations(config: Config, blocks: Sequence[str], mark: str) -> list[Wanted]:
    """All that the configuration asks for; `blocks` are the ids of the notification blocks that deliver."""
    found = [each for target in config.targets for each in _of_target(config, target)]
    return [
        Wanted(
            each.name,
            {
                "enabled": True,
                **each.document,
                "description": f"{each.document['description']} {mark}",
                "actions": [*each.document["actions"], *_tell(blocks, each.document["tell"])],
            },
            each.target,
        )
        for each in [*found, _crashed(), _silent()]
    ]


def steps(
    wanted: Sequence[Wanted], present: Sequence[Mapping[str, Any]], mark: str, former: str | None = None
) -> list[Step]:
    """What has to be done so that the server has just the wanted ones of ours. present: the server's documents.

    former: the mark of an older Rollcall. What bears it is taken over where it is wanted by name, and only there: two
    hosts may have had the same.
    """
    names = {each.name for each in wanted}
    old = [each for each in present if former and _said(each).endswith(former) and each["name"] in names]
    ours = [*old, *(each for each in present if _said(each).endswith(mark))]
    found = {str(each["name"]): each for each in ours}
    planned = []
    for each in wanted:
        there = found.get(each.name)
        if there is None:
            planned.append(Step("create", each.name, wanted=each))
        else:
            change: Change = "keep" if holds(there, each.document) else "update"
            planned.append(Step(change, each.name, str(there["id"]), each))
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


def unwatched(config: Config) -> Iterator[str]:
    """A sentence for each flow of a target whose absence nobody would be told of, and why."""
    for target in config.targets:
        for what, limit, key in (
            ("backup", backup_limit, "max_age_hours"),
            ("verify", verify_limit, "max_silence_minutes"),
            ("drill", proof_limit, "prove_every_days"),
        ):
            if limit(config, target) is not None:
                continue
            why = f"{key} is 0" if getattr(config.target(target), key) == 0 else "it is never scheduled"
            yield f"{target}: no alarm for a missing {what}, for {why}; {key} in the configuration sets one."


def rivals(wanted: Sequence[Wanted], present: Sequence[Mapping[str, Any]], *marks: str) -> list[str]:
    """Targets that another installation on the same server calls by the same name: one's runs keep the other's alarms
    silent, for both are known by the name alone. marks: our own."""
    targets = {each.name: each.target for each in wanted if each.target}
    theirs = (each for each in present if OURS.search(_said(each)) and not _said(each).endswith(marks))
    return sorted({targets[str(each["name"])] for each in theirs if each["name"] in targets})


def _said(document: Mapping[str, Any]) -> str:
    return str(document.get("description") or "")


def in_words(limit: timedelta) -> str:
    """How long, in the largest unit that says it without a fraction."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (timedelta(minutes=1), "minutes")):
        if limit >= 2 * unit and limit % unit == timedelta(0):
            return f"{limit // unit} {name}"
    return f"{limit.total_seconds() / 60:g} minutes"


def _of_target(config: Config, target: str) -> Iterator[Wanted]:
    """None for what may be absent for ever."""
    if (limit := backup_limit(config, target)) is not None:
        yield _absent(target, "backup", f"no good backup for {in_words(limit)}", ["rollcall.backup.stored"], limit)
    if (limit := verify_limit(config, target)) is not None:
        verified = ["rollcall.verify.healthy", "rollcall.verify.warning", "rollcall.verify.critical"]
        yield _absent(target, "verify", f"nobody looked for {in_words(limit)}", verified, limit)
    if (limit := proof_limit(config, target)) is not None:
        said = f"no backup proven for {in_words(limit)}"
        yield _absent(target, "drill", said, ["rollcall.drill.proven"], limit + DRILL_SLACK)


def _absent(target: str, what: str, said: str, expected: list[str], limit: timedelta) -> Wanted:
    trigger = {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": f"rollcall.target.{target}"},
        "after": expected,
        "expect": expected,
        "threshold": 1,
        "within": max(SHORTEST, limit.total_seconds()),
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
    """No notification of its own: the crash that it notes is told of by the automation for crashes.

    The wait begins with the run, not with its first heartbeat: a run may die before that has reached the server.
    """
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
            "after": ["prefect.flow-run.Running", heartbeat],
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
