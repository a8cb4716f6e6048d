"""From a request to an approved plan to the journal of a restore that begins."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.config import Config
from tasks.containers import recreate
from tasks.containers.engine import engine, identity_of, inspect_container
from tasks.errors import Refused
from tasks.restore.facts import Request
from tasks.restore.hands import Hands
from tasks.restore.journal import Before, Header, Journal
from tasks.restore.plan import Plan, make_plan
from tasks.restore.source import choose_source
from tasks.restore.world import expected_rows, observe_world
from tasks.storage.catalogue import new_id


def propose(config: Config, target: str, request: Request) -> Plan:
    """Observe, choose the source, plan. Nothing is touched. Raise Refused where there is nothing to plan with."""
    world = observe_world(config, target)
    source = choose_source(config, world, request, expected_rows(config, target))
    return make_plan(world, source, request)


def confirm_unchanged(config: Config, target: str, request: Request, approved: Plan) -> None:
    """Observe again: what was approved must still be what would be done. Raise Refused if it is not."""
    now = propose(config, target, request)
    if now.hash != approved.hash:
        raise Refused(
            f"Not begun: while plan {approved.hash} was read, the world changed, and it would be {now.hash} now "
            f"({_first_change(approved, now)}). Ask again."
        )


def _first_change(before: Plan, after: Plan) -> str:
    for name in Plan.model_fields:
        if name not in ("hash", "counts_now", "counts_after", "notes") and getattr(before, name) != getattr(
            after, name
        ):
            return f"{name.replace('_', ' ')} differs"
    return "its details differ"


def begin(config: Config, plan: Plan, approved_by: str) -> Hands:
    """Write the journal: from here on the restore ends done, undone, or by `recover`."""
    with engine(config.target(plan.target).docker) as client:
        here = identity_of(client)
        found = inspect_container(client, plan.container_id)
    now = datetime.now(UTC)
    run = new_id(now, secrets.token_hex(3))
    header = Header(
        run=run,
        plan=plan,
        approved_by=approved_by,
        owner=config.owner(plan.target),
        staging=f"{plan.pinned}.rollcall-{run}",
        begun_at=now,
        engine=here,
        before=as_found(found, now),
    )
    return Hands(config, Journal.begin(config.state, header))


def as_found(found: Mapping[str, Any], now: datetime) -> Before:
    """How the container is, from its inspect JSON (pure). One that ends again and again runs in between, for less than
    the ten seconds after which the engine takes a restart for a success (moby, restartmanager)."""
    state = found["State"]
    started = datetime.fromisoformat(f"{state['StartedAt'][:19]}+00:00")
    young = found.get("RestartCount", 0) > 0 and now - started < timedelta(seconds=10)
    looping = state["Status"] == "restarting" or (state["Status"] == "running" and young)
    return Before(
        running=state["Status"] in ("running", "restarting"),
        looping=looping,
        healthy=recreate.is_well(found) and not looping,
        restart_policy=recreate.policy_of(found),
    )
