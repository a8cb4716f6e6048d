"""How a restore ends, proven before it is said: undone, all is as it was found; finished, the restored data is served.

A call of a killed run may still be at work in the engine (see tasks/containers/at_rest.py). So what an undo has done is
done again where that does no harm, and the end is watched, before the journal is closed.
"""

from __future__ import annotations

import logging
import time

from tasks.config import Target
from tasks.containers import at_rest, recreate
from tasks.containers.engine import engine, inspect_container
from tasks.errors import ContainerStopped, NeedsRecover, RollcallError
from tasks.restore.cutover import first_answer
from tasks.restore.dependants import down_still
from tasks.restore.hands import Hands
from tasks.restore.steps import STEPS

log = logging.getLogger("rollcall")

TRIES = 3
# Whose undo changes nothing where it is undone, and takes away what came of a late call.
AGAIN = ("put old aside", "hold restart policy", "create replacement", "create pinned volume", "rebuild")


def prove_undone(hands: Hands) -> list[str]:
    """Return once the target's container is as the restore found it: called so, running, answering, its restart policy;
    one that was restarted again and again is so again.

    What it returns are sentences about dependants that do not run again. Raise NeedsRecover where the container is not
    as it was: what it came to, with the end of its log.
    """
    wrong = ""
    for _ in range(TRIES):
        try:
            _as_before(hands)
            if not (wrong := _difference(hands)):
                return down_still(hands)
        except ContainerStopped as error:
            wrong = str(error)
        except RollcallError as error:
            raise _not_undone(hands, str(error)) from error
    raise _not_undone(hands, wrong)


def _not_undone(hands: Hands, why: str) -> NeedsRecover:
    plan = hands.plan
    return NeedsRecover(
        f"The steps of the restore of {plan.target} are undone, and {plan.container} is not as it was before it: {why} "
        f"Fix that, then run rollcall recover {plan.target}"
    )


def _as_before(hands: Hands) -> None:
    """Undo once more what may have come late; start the container, if it ran, and watch it."""
    begun = {line.step for line in hands.journal.lines if line.event == "starting"}
    for name in AGAIN:
        if name in begun:
            STEPS[name].undo(hands)
    before, container = hands.journal.header.before, hands.plan.container_id
    with engine(hands.docker, recreate.STOP_PATIENCE) as client:
        if before.looping:
            at_rest.leave_restarting(client, container)
        elif before.running:
            patience = _rules(hands).start_wait if before.healthy else None
            at_rest.start_for_good(client, container, patience)
        else:
            at_rest.stop_for_good(client, container)


def _difference(hands: Hands) -> str:
    """The first thing that is not as it was, in a sentence; empty where all is."""
    plan, before = hands.plan, hands.journal.header.before
    with engine(hands.docker) as client:
        found = inspect_container(client, plan.container_id)
        if (name := found["Name"].lstrip("/")) != plan.container:
            return f"It is called {name}."
        if recreate.policy_of(found) != before.restart_policy:
            return f"Its restart policy is {recreate.policy_of(found)['Name']}."
        if at_rest.is_there(client, hands.names[0]):
            return f"The replacement {hands.names[0]} is there."
    if before.running and plan.safety_backup:
        seen = first_answer(hands.config, plan.target, _rules(hands))
        if (seen.container.id, seen.container.volume) != (plan.container_id, plan.mounted):
            return f"What answers is the container {seen.container.name} on the volume {seen.container.volume}."
    return ""


def prove_live(hands: Hands) -> None:
    """Return once the container of a committed restore runs on the pinned volume, and answers. It is started where it
    does not run: an engine that was restarted did not do so, for until the restore's end the restart policy is `no`.

    Raise NeedsRecover.
    """
    plan = hands.plan
    try:
        with engine(hands.docker) as client:
            at_rest.start_for_good(client, hands.live, _rules(hands).start_wait)
        seen = first_answer(hands.config, plan.target, _rules(hands))
    except RollcallError as error:
        raise NeedsRecover(
            f"The restore of {plan.target} is committed, and {plan.container} does not run as it should: {error} Fix "
            f"that, then run rollcall recover {plan.target}"
        ) from error
    if (seen.container.id, seen.container.volume) != (hands.live, plan.pinned):
        raise NeedsRecover(
            f"The restore of {plan.target} is committed, and what answers is {seen.container.name} on the volume "
            f"{seen.container.volume} instead of {plan.pinned}: fix that, then run rollcall recover {plan.target}"
        )


def settle_policy(hands: Hands) -> None:
    """Return once the restart policy has been what it is to be for as long as a late call may take."""
    wanted, over = hands.journal.header.before.restart_policy, time.monotonic() + at_rest.LATE
    with engine(hands.docker) as client:
        while time.monotonic() < over:
            if recreate.policy_of(inspect_container(client, hands.live)) != wanted:
                recreate.set_restart_policy(client, hands.live, wanted)
            time.sleep(at_rest.ASK_EVERY)


def _rules(hands: Hands) -> Target:
    return hands.config.target(hands.plan.target)
