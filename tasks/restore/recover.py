"""Bring an interrupted restore to an end: finish it if it was committed, else undo it."""

from __future__ import annotations

import logging
from typing import Literal

from tasks.checks.lock import is_held
from tasks.config import Config
from tasks.containers.engine import engine, has_container, identity_of
from tasks.errors import NeedsRecover, Refused
from tasks.models import Finding, Model
from tasks.restore.cutover import sweep
from tasks.restore.execute import finish, roll_back
from tasks.restore.hands import Hands
from tasks.restore.journal import Journal, active_path, interrupted

log = logging.getLogger("rollcall")


class Recovery(Model):
    """What `recover` did, and in words what that means."""

    target: str
    outcome: Literal["nothing to do", "finished", "undone"]
    run: str | None = None
    words: str


def recover(config: Config, target: str) -> Recovery:
    """Finish or undo what the journal tells of; the caller holds the target's lock. Doing it again does no harm.

    Raise NeedsRecover if it cannot be done now: the sentence says what is in the way, and the journal stays.
    """
    config.target(target)
    journal = Journal.active(config.state, target)
    if journal is None:
        return Recovery(target=target, outcome="nothing to do", words=f"No restore of {target} was interrupted.")
    hands = Hands(config, journal)
    _refuse_another_engine(hands)
    sweep(config, target)
    if journal.committed:
        finish(hands)
        words = f"The restore {hands.run} of {target} was committed, and is finished now."
        return Recovery(target=target, outcome="finished", run=hands.run, words=words)
    roll_back(hands)
    words = f"The restore {hands.run} of {target} is undone: all is as it was before it."
    return Recovery(target=target, outcome="undone", run=hands.run, words=words)


def _refuse_another_engine(hands: Hands) -> None:
    """On another engine nothing of the restore is to be found, so all of it would seem undone: raise NeedsRecover.

    An engine's id is lost with its key file, on a machine that is set up anew around its volumes, say. One of the
    same name that has the restore's container is the same one: the ids of containers are random.
    """
    begun_on, target = hands.journal.header.engine, hands.plan.target
    if begun_on is None:
        return
    with engine(hands.docker) as client:
        here = identity_of(client)
        same = here.id == begun_on.id or (here.name == begun_on.name and has_container(client, hands.live))
    if not same:
        raise NeedsRecover(
            f"The restore of {target} was interrupted on the Docker engine of {begun_on.name} (id {begun_on.id}), and "
            f"the configuration or DOCKER_HOST leads to that of {here.name} (id {here.id}) now, where nothing was "
            f"touched: lead it to the first one again, then run rollcall recover {target}"
        )


def recover_first(config: Config, target: str) -> None:
    """What every run that changes a target does first, under its lock. Raise what `recover` raises."""
    if active_path(config.state, target).exists():
        log.warning("%s", recover(config, target).words)


def refuse_interrupted(config: Config, target: str) -> None:
    """Raise Refused where a restore has not ended: whoever asks to touch nothing must not end it either."""
    if active_path(config.state, target).exists():
        raise Refused(interrupted(target))


def interruption_findings(config: Config, target: str) -> list[Finding]:
    """`restore.interrupted`, critical, where a restore has not ended; a notice while one is at work."""
    try:
        if Journal.active(config.state, target) is None:
            return []
        message = interrupted(target)
    except NeedsRecover as error:
        message = str(error)
    if is_held(config.state, target):
        message = f"A restore of {target} is at work now; what is found meanwhile may be half-way."
        return [Finding(code="restore.running", severity="notice", message=message)]
    return [Finding(code="restore.interrupted", severity="critical", message=message)]
