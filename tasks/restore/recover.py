"""Bring an interrupted restore to an end: finish it if it was committed, else undo it."""

from __future__ import annotations

import logging
from typing import Literal

from tasks.checks.lock import is_held, sharing
from tasks.config import Config
from tasks.containers.engine import engine, has_container, identity_of
from tasks.errors import NeedsRecover, Refused, RollcallError
from tasks.models import Finding, Model
from tasks.restore.cutover import sweep
from tasks.restore.dependants import unwell
from tasks.restore.execute import as_it_was, finish, roll_back, unfinished, written_meanwhile
from tasks.restore.hands import Hands
from tasks.restore.journal import Journal, active_path, beside, interrupted

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
        words = f"No restore of {target} was interrupted. {beside(config.state, target, sharing(config, target)) or ''}"
        return Recovery(target=target, outcome="nothing to do", words=words.rstrip())
    hands = Hands(config, journal)
    _refuse_another_engine(hands)
    sweep(config, target)
    if journal.committed:
        finish(hands)
        words = " ".join([f"The restore {hands.run} of {target} was committed, and is finished now.", *unwell(hands)])
        return Recovery(target=target, outcome="finished", run=hands.run, words=words)
    try:
        down = roll_back(hands, killed=True)
    except NeedsRecover:
        raise
    except RollcallError as error:
        raise NeedsRecover(unfinished(hands, error)) from error
    words = f"The restore {hands.run} of {target} is undone{as_it_was(down)}{written_meanwhile(hands)}"
    return Recovery(target=target, outcome="undone", run=hands.run, words=words)


def _refuse_another_engine(hands: Hands) -> None:
    """On another engine nothing of the restore is to be found, so all of it would seem undone: raise NeedsRecover.

    An engine's id is lost with its key file, on a machine that is set up anew around its volumes, say. One of the
    same name that has the restore's container is the same one: the ids of containers are random.
    """
    begun_on, target = hands.journal.header.engine, hands.plan.target
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
    """What every run that changes a target does first, under its lock. Raise what `recover` raises; NeedsRecover too
    where a restore of another target on its container or volume has not ended: that one is not ended by the way."""
    if other := beside(config.state, target, sharing(config, target)):
        raise NeedsRecover(other)
    if active_path(config.state, target).exists():
        log.warning("%s", recover(config, target).words)


def refuse_interrupted(config: Config, target: str, *, others_only: bool = False) -> None:
    """Raise Refused where a restore has not ended: whoever asks to touch nothing must not end it either.

    others_only: only where it is one of another target on the same container or volume.
    """
    if active_path(config.state, target).exists() and not others_only:
        raise Refused(interrupted(target))
    if other := beside(config.state, target, sharing(config, target)):
        raise Refused(other)


def interruption_findings(config: Config, target: str) -> list[Finding]:
    """`restore.interrupted`, critical, where a restore of the target, or of another one on its container or volume, has
    not ended; a notice while it is at work."""
    return [
        finding
        for each in sorted(sharing(config, target), key=lambda name: name != target)
        for finding in _interruption(config, each, target)
    ]


def _interruption(config: Config, restored: str, target: str) -> list[Finding]:
    try:
        if Journal.active(config.state, restored) is None:
            return []
        message = interrupted(restored)
    except NeedsRecover as error:
        message = str(error)
    if restored != target:
        message = f"{restored} is on the container or volume of {target} too. {message}"
    if is_held(config.state, restored):
        message = f"A restore of {restored} is at work now; what is found meanwhile may be half-way."
        return [Finding(code="restore.running", severity="notice", message=message)]
    return [Finding(code="restore.interrupted", severity="critical", message=message)]
