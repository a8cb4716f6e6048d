"""Complete a rebuilt cluster by the files that its server needs and no backup holds."""

from __future__ import annotations

from tasks.containers import taking_over
from tasks.containers.engine import engine, inspect_container
from tasks.errors import RestoreError
from tasks.restore import cutover
from tasks.restore.hands import Hands


def complete(hands: Hands) -> list[str]:
    """Take over the files of PGDATA that no backup holds. Raise RestoreError where the server could not start: nothing
    is stopped yet."""
    plan, staging = hands.plan, hands.journal.header.staging
    taken, volume = take_over(hands), plan.pinned if plan.pinned_exists else plan.mounted
    with engine(hands.docker) as client:
        reason = taking_over.why_not_readable(
            client, volume=staging, place=cutover.place_of(plan), image_id=plan.image_id,
            owner=hands.journal.header.owner,
            settings=taking_over.tls_settings(inspect_container(client, plan.container_id)["Config"].get("Cmd") or []),
        )  # fmt: skip
    if reason:
        raise RestoreError(
            f"With the configuration of {plan.source.name if plan.source else '?'} the server of {plan.target} would "
            f"not start: {reason.rstrip('.')}. Put the file into PGDATA of the volume {volume}, "
            "or restore by hand; the database was not stopped."
        )
    return taken


def take_over(hands: Hands) -> list[str]:
    """Once more right before the exchange: what was copied earlier may have changed until the server was stopped."""
    plan = hands.plan
    if plan.taken_over_from is None:
        return []
    with engine(hands.docker) as client:
        return taking_over.take_over(
            client, source=plan.taken_over_from, volume=hands.journal.header.staging, place=cutover.place_of(plan),
            image_id=plan.image_id, owner=hands.journal.header.owner, again=hands.journal.facts.get("taken_over", []),
            deadline=hands.config.target(plan.target).deadline,
        )  # fmt: skip
