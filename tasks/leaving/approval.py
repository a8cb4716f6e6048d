"""A person says yes to a `down`: by the project's name; to losing volumes, by words that no option stands for."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tasks.errors import Refused
from tasks.leaving.plan import DownPlan
from tasks.leaving.words import plan_text, short
from tasks.restore.approval import asking, read_line

THE_WORDS = "DELETE VOLUMES"


def ask(plan: DownPlan) -> str:
    """Show the plan, have the project's name typed if volumes stay, and return who approved it.

    Where volumes go, `ask_for_volumes` asks, once the backups are proven. Raise Refused: something is in the way, or
    anything else was typed.
    """
    print(f"{plan_text(plan)}\n", file=sys.stderr)
    if plan.blockers:
        raise Refused(f"Project {plan.project} is not brought down: {' '.join(plan.blockers)}")
    how, who = asking()
    if how == "form":
        raise Refused("A down is approved at a terminal alone: rollcall down")
    if how == "terminal" and not plan.going:
        _typed(
            plan.project,
            f"Type {plan.project} to do this; anything else leaves all as it is: ",
            "In a script, approve with --yes; to see the plan alone: --dry-run.",
        )
    return who


def ask_for_volumes(plan: DownPlan, backups: Mapping[str, str]) -> None:
    """Have the words typed: --yes does not stand for them. Raise Refused for anything else."""
    if not plan.going:
        return
    lines = [f"{target} is in backup {backup}, proven just now." for target, backup in backups.items()]
    lines += [f"For good: the volume {short(each.name)} ({each.holds})." for each in plan.going]
    text = "\n".join(lines)
    _typed(
        THE_WORDS,
        f"{text}\nType {THE_WORDS} to remove; anything else leaves all as it is: ",
        f"Nothing stands for {THE_WORDS} but typing it.",
    )


def _typed(wanted: str, prompt: str, advice: str) -> None:
    typed = read_line(prompt, advice).strip()
    if typed != wanted:
        raise Refused(f"Not approved: {typed or 'nothing'!r} was typed where {wanted!r} approves. Nothing was touched.")
