"""A person says yes: at the terminal by typing the target's name, in Prefect's UI in a form; or a script did before."""

from __future__ import annotations

import sys
from typing import Literal

from tasks import orchestration
from tasks.errors import Refused
from tasks.restore.plan import Plan
from tasks.restore.words import plan_markdown, plan_text

How = Literal["form", "terminal", "given"]

FORM_SECONDS = 30 * 60.0


def ask(plan: Plan, how: How, approver: str) -> str:
    """Show the plan, ask, and return who approved it. Raise Refused for any answer but the target's name.

    approver: who sits at the terminal, or who said --yes.
    """
    if plan.blockers:
        raise Refused(f"The restore of {plan.target} cannot begin: {' '.join(plan.blockers)}")
    if how == "given":
        return approver
    if how == "terminal":
        typed, who = _at_terminal(plan), approver
    else:
        typed, who = orchestration.ask_for_approval(plan_markdown(plan), plan.target, FORM_SECONDS)
    if typed.strip() != plan.target:
        raise Refused(f"Not approved: {typed.strip() or 'nothing'!r} was typed where {plan.target!r} approves.")
    if not who.strip():
        raise Refused("Not approved: the name of who approves was left empty.")
    return who.strip()


def _at_terminal(plan: Plan) -> str:
    print(
        f"{plan_text(plan)}\n\nType {plan.target} to do this; anything else leaves all as it is: ",
        end="",
        file=sys.stderr,
    )
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise Refused("Nobody answered. In a script, approve with --yes; to see the plan alone: --dry-run.")
    return line
