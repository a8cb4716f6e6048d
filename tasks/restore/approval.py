"""A person says yes: at the terminal by typing the target's name, in Prefect's UI in a form; or a script did before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from tasks import orchestration
from tasks.errors import NotEqual, Refused
from tasks.models import Difference
from tasks.restore.accepting import named, options, texts, unaccepted
from tasks.restore.compare import not_equal
from tasks.restore.plan import Plan
from tasks.restore.words import differences_markdown, plan_markdown, plan_text

How = Literal["form", "terminal", "given"]

FORM_SECONDS = 30 * 60.0


class Asking(NamedTuple):
    """How a person is asked. who: sits at the terminal, or has approved beforehand; the form asks for the name."""

    how: How
    who: str = ""


_asking = Asking("form")


@contextmanager
def asked(how: How, who: str) -> Iterator[None]:
    """Within the block this process asks so. For the command line alone: no field of a deployment's form leads here, or
    whoever may start a run could also approve it."""
    global _asking  # noqa: PLW0603 - what asks is a property of the process, and no parameter of a run
    before, _asking = _asking, Asking(how, who)
    try:
        yield
    finally:
        _asking = before


def ask(plan: Plan) -> str:
    """Show the plan, ask, and return who approved it. Raise Refused for any answer but the target's name."""
    if plan.blockers:
        raise Refused(f"The restore of {plan.target} cannot begin: {' '.join(plan.blockers)}")
    how, who = _asking
    if how == "given":
        return who
    if how == "terminal":
        typed = _at_terminal(plan)
    else:
        typed, who = orchestration.ask_for_approval(plan_markdown(plan), plan.target, FORM_SECONDS)
    if typed.strip() != plan.target:
        raise Refused(f"Not approved: {typed.strip() or 'nothing'!r} was typed where {plan.target!r} approves.")
    if not who.strip():
        raise Refused("Not approved: the name of who approves was left empty.")
    return who.strip()


def require_data(plan: Plan, differences: Sequence[Difference]) -> None:
    """Raise NotEqual where rows, sequences or large objects differ and nobody has accepted just that by its name."""
    if left := unaccepted([each for each in differences if each.blocking], plan.accept):
        error = not_equal(left, _source(plan))
        raise NotEqual(f"{error} If it is well so all the same: {options(left)}", error.differences)


def ask_about(plan: Plan, differences: Sequence[Difference]) -> None:
    """Ask about the definitions that differ in what was rebuilt, where the approved plan did not name them. Nothing was
    stopped yet. Raise Refused for any answer but the target's name, and where nobody can be asked."""
    how, _ = _asking
    source = plan.source
    # Whoever approved the plan by hand saw what it named; a script accepts no more than a drill's person did.
    known = [] if source is None else source.accepted if how == "given" else source.differences
    left = unaccepted(differences, plan.accept, known)
    if not left:
        return
    said = f"Every row of {_source(plan)} was rebuilt and proven; {named(left)}."
    advice = f"To restore it all the same: {options(left)}"
    if how == "given":
        raise Refused(f"{said} Nobody has accepted that, so nothing was touched. {advice}")
    both = "".join(f"\n  {each}" for each in texts(left))
    question = (
        f"{said}{both}\n\nNothing was stopped yet. Type {plan.target} to go on; anything else leaves all as it is: "
    )
    if how == "terminal":
        typed = read_line(question, advice)
    else:
        typed, _ = orchestration.ask_for_approval(differences_markdown(left, said), plan.target, FORM_SECONDS)
    if typed.strip() != plan.target:
        answer = f"That was not accepted: {typed.strip() or 'nothing'!r} was typed, so nothing was touched."
        raise Refused(f"{said} {answer} {advice}")


def _source(plan: Plan) -> str:
    return f"backup {plan.source.name}" if plan.source else "the source"


def _at_terminal(plan: Plan) -> str:
    return read_line(
        f"{plan_text(plan)}\n\nType {plan.target} to do this; anything else leaves all as it is: ",
        "In a script, approve with --yes; to see the plan alone: --dry-run.",
    )


def asking() -> Asking:
    """How this process asks."""
    return _asking


def read_line(prompt: str, advice: str) -> str:
    """What is typed at the terminal behind the prompt. Raise Refused, with the advice, where nobody answers."""
    print(prompt, end="", file=sys.stderr)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Refused("Not approved: stopped by hand; nothing was touched.") from None
    if not line:
        raise Refused(f"Nobody answered. {advice}")
    return line
