"""Carry out the steps of a plan by its journal: do, or undo; from the beginning, or from wherever a run was stopped."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tasks.alerts import progress
from tasks.errors import NeedsRecover, Refused, RollcallError, RolledBack
from tasks.models import Difference
from tasks.restore.end_state import prove_live, prove_undone, settle_policy
from tasks.restore.hands import Hands
from tasks.restore.plan import Plan
from tasks.restore.records import STARTS
from tasks.restore.steps import STEPS

log = logging.getLogger("rollcall")

REBUILDING = 0.9


def rebuild(hands: Hands) -> list[Difference]:
    """The first step alone, where the plan rebuilds: nothing is stopped by it. Return in what that differs from its
    backup. Raise RolledBack, NeedsRecover."""
    _perform_all(hands, ("rebuild",))
    found = hands.journal.facts.get("rebuilt", {}).get("differences", [])
    return [Difference.model_validate(each) for each in found]


def give_up(hands: Hands, error: BaseException) -> None:
    """Undo what was begun, because nobody accepts it. Raise Refused where a person did not, and nothing but a staging
    volume was touched, which is removed; else RolledBack; NeedsRecover."""
    raise _undone(hands, error) from error


def carry_out(hands: Hands) -> None:
    """Every step of the plan that is not done, in order. Raise RolledBack if one failed and all were undone;
    NeedsRecover if what failed could not be undone, or failed after the commit."""
    _perform_all(hands, [step.name for step in hands.plan.steps])
    hands.journal.end()


def _perform_all(hands: Hands, names: Sequence[str]) -> None:
    """These steps, in the plan's order, but for those that are done."""
    try:
        with progress.shown("restore", hands.plan.target) as meter:
            for (number, step), share in zip(enumerate(hands.plan.steps, 1), _shares(hands.plan), strict=True):
                if step.name not in names or hands.journal.is_done(step.name):
                    continue
                log.info("%s: %s", hands.plan.target, step.does)
                with meter.stage(f"step {number} of {len(hands.plan.steps)}, {step.name}", share):
                    perform(hands, step.name)
    except BaseException as error:
        raise _undone(hands, error) from error


def _undone(hands: Hands, error: BaseException) -> RollcallError:
    """Undo what was begun; what is to be raised of that. Raise NeedsRecover where it cannot be undone."""
    if hands.journal.committed:
        return NeedsRecover(unfinished(hands, error))
    refused = isinstance(error, Refused) and not hands.journal.touched
    if refused:
        hands.journal.write("undoing", "", {"refused": True})
    down = _undo_for(hands, error)
    if refused:
        return Refused(str(error))
    return RolledBack(f"{_sentence(error)} Every step was undone{as_it_was(down)}{written_meanwhile(hands)}")


def _shares(plan: Plan) -> list[float]:
    """What part of the way each step is: rebuilding takes nearly all of the time, where there is any."""
    others = max(1, len(plan.steps) - plan.rebuilds)
    rest = (1 - REBUILDING if plan.rebuilds else 1.0) / others
    return [REBUILDING if step.name == "rebuild" else rest for step in plan.steps]


def perform(hands: Hands, name: str) -> None:
    """One step, with its facts in the journal before it begins and after it ends."""
    act = STEPS[name]
    hands.journal.write("starting", name, act.prepare(hands))
    facts = act.do(hands)
    hands.journal.write("done", name, facts)


def roll_back(hands: Hands, *, killed: bool = False) -> list[str]:
    """Undo every step that was begun, the last one first, and prove that all is as it was before.

    killed: whoever began them is dead, and a call of theirs may still be at work in the engine. Return sentences about
    dependants that do not run again. Raise what the undo meets: the journal stays.
    """
    for name in reversed(hands.journal.started()):
        log.info("%s: undoing: %s", hands.plan.target, name)
        hands.journal.write("undoing", name)
        STEPS[name].undo(hands)
        hands.journal.write("undone", name)
    down = prove_undone(hands) if killed or hands.journal.touched else []
    hands.journal.end()
    return down


def as_it_was(down: Sequence[str]) -> str:
    """What an undone restore may say of the end: all is as before, or which dependants do not run."""
    return f". {' '.join(down)}" if down else ": all is as it was before it."


def written_meanwhile(hands: Hands) -> str:
    """Where that is which clients wrote to the restored data before it was put aside again; nothing where they could
    not. Begins with a space."""
    journal, plan = hands.journal, hands.plan
    if not any(line.event == "starting" and line.step in STARTS for line in journal.lines):
        return ""
    volume = journal.header.staging if plan.rebuilds else plan.pinned
    return (
        f" What clients may have written between the start of {plan.container} on the restored data and the undoing is "
        f"in the volume {volume}, which is kept."
    )


def finish(hands: Hands) -> None:
    """Do what is left of a committed restore, its container running. Raise NeedsRecover where that does not."""
    prove_live(hands)
    for step in hands.plan.steps:
        if not hands.journal.is_done(step.name):
            perform(hands, step.name)
    settle_policy(hands)
    hands.journal.end()


def _undo_for(hands: Hands, error: BaseException) -> list[str]:
    log.warning("%s: %s Undoing.", hands.plan.target, _sentence(error))
    try:
        return roll_back(hands)
    except BaseException as worse:
        raise NeedsRecover(unfinished(hands, worse)) from worse


def unfinished(hands: Hands, error: BaseException) -> str:
    """The sentence about a restore that neither went on nor could be undone."""
    target = hands.plan.target
    return f"{_sentence(error)} The restore of {target} is neither finished nor undone: run rollcall recover {target}"


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "Stopped by hand."
    return str(error) if isinstance(error, RollcallError) else f"{type(error).__name__}: {error}."
