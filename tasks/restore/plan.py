"""Decide what a restore will do: pure, printable, comparable by its hash."""

from __future__ import annotations

import hashlib
import json

from tasks.models import Model
from tasks.restore.blockers import blockers, is_right
from tasks.restore.facts import Mending, Request, Situation, Source, World
from tasks.restore.moving import exchanged, taken_over_from
from tasks.restore.notes import notes


class Step(Model):
    """One journalled step: what it does and how it is undone, in words."""

    name: str
    does: str
    undo: str
    downtime: bool = False


class Plan(Model):
    """What a restore will do, and everything a person needs to say yes or no to it.

    exchanged: the folder in the volumes that changes places, empty for all that is in them. taken_over_from: the volume
    whose PGDATA has files that are not PostgreSQL's own and are taken over.
    """

    target: str
    situation: Situation
    container: str
    container_id: str
    image_id: str
    destination: str
    pgdata: str
    mounted: str | None
    pinned: str
    pinned_exists: bool
    source: Source | None
    counts_now: dict[str, int] | None
    counts_after: dict[str, int]
    dependants: list[str] = []
    steps: list[Step] = []
    kept: list[str] = []
    mending: Mending | None = None
    blockers: list[str] = []
    notes: list[str] = []
    safety_backup: bool = True
    databases_now: list[str] = []
    leave_behind: list[str] = []
    accept: list[str] = []
    exchanged: str = ""
    taken_over_from: str | None = None
    hash: str = ""

    @property
    def rebuilds(self) -> bool:
        """Whether data is rebuilt in a staging volume first."""
        return self.situation in ("restore", "both")

    @property
    def reattaches(self) -> bool:
        """Whether the container is re-created on the pinned volume."""
        return self.situation in ("reattach", "both")


# What may change while a person reads without making the plan another one.
_PASSING: dict[str, bool | dict[str, bool]] = {
    "counts_now": True, "counts_after": True, "notes": True, "hash": True, "source": {"passed": True},
}  # fmt: skip


def make_plan(world: World, source: Source | None, request: Request) -> Plan:
    """The plan for the situation found. With blockers it must not be carried out."""
    situation = situation_of(world, source)
    plan = Plan(
        target=world.target,
        situation=situation,
        container=world.container,
        container_id=world.container_id,
        image_id=world.image_id,
        destination=world.destination,
        pgdata=world.pgdata,
        mounted=world.mounted,
        pinned=world.pinned,
        pinned_exists=world.pinned_exists,
        source=source,
        counts_now=world.counts,
        counts_after=source.counts if source else {},
        dependants=[each.name for each in world.dependants if each.running],
        mending=world.mending if situation in ("reattach", "both") else None,
        blockers=blockers(world, source, request, situation),
        notes=notes(world, source, situation),
        safety_backup=world.answers,
        databases_now=_countable(world),
        leave_behind=sorted(request.leave_behind),
        accept=sorted(request.accept),
        exchanged=exchanged(world, source),
        taken_over_from=taken_over_from(world),
    )
    plan = plan.model_copy(update={"steps": steps(plan, world), "kept": kept(plan, world)})
    return plan.model_copy(update={"hash": hash_of(plan)})


def situation_of(world: World, source: Source | None) -> Situation:
    """Which of the situations it is: whether data must be rebuilt, and whether the wrong volume is mounted."""
    astray = world.mounted != world.pinned
    if source is None:
        return "nothing"
    if source.kind == "pinned":
        return "reattach" if astray else "nothing"
    return "both" if astray else "restore"


def hash_of(plan: Plan) -> str:
    """A short hash of what the plan does: equal exactly if it would do the same to the same things."""
    content = plan.model_dump(mode="json", exclude=_PASSING)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _countable(world: World) -> list[str]:
    """The databases that are held against those of a rebuilt volume: a closed one is not found there by asking."""
    return [name for name in world.databases or [] if name not in world.closed] if is_right(world) else []


def steps(plan: Plan, world: World) -> list[Step]:
    """The journalled steps in order; each is one of tasks/restore/steps.py."""
    if plan.situation == "nothing":
        return []
    rebuilt = [_rebuild(plan)] if plan.rebuilds else []
    return [*rebuilt, *(_reattach(plan, world) if plan.reattaches else _swap(plan, world))]


def _rebuild(plan: Plan) -> Step:
    what = "a copy of volume" if plan.source and plan.source.kind == "volume" else "backup"
    name = plan.source.name if plan.source else ""
    return Step(
        name="rebuild",
        does=f"Rebuild {what} {name} in a staging volume, on a scratch server that nobody reaches; prove it equal.",
        undo="An unproven staging volume is removed; a proven one is kept.",
    )


def _stop_dependants(plan: Plan) -> list[Step]:
    if not plan.dependants:
        return []
    names = ", ".join(reversed(plan.dependants))
    return [Step(name="stop dependants", does=f"Stop {names}.", undo="Start them again.", downtime=True)]


def _start_dependants(plan: Plan) -> list[Step]:
    if not plan.dependants:
        return []
    names = ", ".join(plan.dependants)
    does = f"Start {names}, in this order; one that does not come up is told, and undoes nothing."
    return [Step(name="start dependants", does=does, undo="")]


def _hold(plan: Plan) -> Step:
    return Step(
        name="hold restart policy",
        does=f"Set the restart policy of {plan.container} to `no`, so that nothing starts it half-way.",
        undo="Set it back.",
    )


def _stop(plan: Plan) -> Step:
    return Step(
        name="stop container", does=f"Stop {plan.container}: from here on the database is down.",
        undo="Start it again.", downtime=True,
    )  # fmt: skip


def _exchange(plan: Plan, *, downtime: bool) -> Step:
    what = f"the folders {plan.exchanged}" if plan.exchanged else "the data folders"
    return Step(
        name="exchange",
        does=f"Exchange {what} of {plan.pinned} and the staging volume.",
        undo="Exchange them back.",
        downtime=downtime,
    )


def _verify(plan: Plan) -> Step:
    return Step(
        name="verify", does=f"Wait until {plan.container} answers; check volume, cluster and rows.",
        undo="", downtime=True,
    )  # fmt: skip


def _commit(plan: Plan) -> Step:
    return Step(name="commit", does="Record the cluster and its rows as the ones to expect from now on.", undo="")


def _release(plan: Plan) -> Step:
    return Step(
        name="release restart policy", does=f"Set the restart policy of {plan.container} to what it was.", undo=""
    )


def _end(plan: Plan, *more: Step) -> list[Step]:
    """From the commit on nothing is undone: not for a dependant either, which comes last and may be sick for long."""
    return [_commit(plan), *more, _release(plan), *_start_dependants(plan)]


def _swap(plan: Plan, world: World) -> list[Step]:
    """The container stays; what its volume holds is exchanged."""
    return [
        _hold(plan),
        *_stop_dependants(plan),
        _stop(plan),
        _exchange(plan, downtime=True),
        Step(name="start container", does=f"Start {plan.container}.", undo="Stop it.", downtime=True),
        _verify(plan),
        *_end(plan),
    ]


def _create(plan: Plan) -> str:
    """A plain one: its labels say that it is this run's, and no others."""
    labels = plan.mending is not None and "labels" in plan.mending.dropped
    return f"Create the volume {plan.pinned}{', without the labels of the compose file' if labels else ''}."


def _hide_old(plan: Plan) -> Step:
    return Step(
        name="hide old from compose",
        does=f"Keep the old {plan.container} without Compose's labels: the next `up` would bring it back otherwise.",
        undo="",
    )


def _reattach(plan: Plan, world: World) -> list[Step]:
    """The container is re-created with the pinned volume in the place of the wrong one."""
    chosen: list[Step] = []
    if plan.rebuilds:
        if not plan.pinned_exists:
            chosen.append(Step(name="create pinned volume", does=_create(plan), undo="Remove it, empty."))
        chosen.append(_exchange(plan, downtime=False))
    chosen += [
        _hold(plan),
        Step(
            name="create replacement",
            does=f"Create a replacement of {plan.container} that differs in its data volume alone: {plan.pinned}.",
            undo="Remove the replacement.",
        ),
        *_stop_dependants(plan),
        _stop(plan),
        Step(
            name="put old aside", does=f"Rename {plan.container} out of the way; it is kept.",
            undo="Give it its name back.", downtime=True,
        ),
        Step(
            name="name replacement", does=f"Name the replacement {plan.container}.",
            undo="Take the name back.", downtime=True,
        ),
        Step(name="start replacement", does="Start the replacement.", undo="Stop it.", downtime=True),
        _verify(plan),
    ]  # fmt: skip
    if plan.mending and plan.mending.by_hand is None:
        chosen.append(
            Step(
                name="mend compose file",
                does=f"Pin the volume in {plan.mending.path}; the original is kept beside it.",
                undo="Put the original back.",
            )
        )
    hidden = [_hide_old(plan)] if world.by_compose else []
    return [*chosen, *_end(plan, *hidden)]


def kept(plan: Plan, world: World) -> list[str]:
    """What is still there afterwards, and for how long at least."""
    if plan.situation == "nothing":
        return []
    found = []
    if plan.safety_backup:
        found.append("a backup of what is there now, in every storage that answers")
    if plan.rebuilds and plan.pinned_exists:
        found.append(
            f"what {plan.pinned} holds now, in the staging volume, for {world.keep_days} days at least "
            f"(rollcall kept {plan.target})"
        )
    if plan.reattaches:
        found.append(f"the volume {plan.mounted}, untouched, and the old container, stopped, under another name")
    return found
