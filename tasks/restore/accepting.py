"""Which named differences a person has accepted, and how to accept the others. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from tasks.models import Difference
from tasks.restore.compare import in_words

ALL_DEFINITIONS = "all-definitions"
MOST_NAMED = 5


def unaccepted(
    differences: Iterable[Difference], names: Sequence[str], known: Sequence[Difference] = ()
) -> list[Difference]:
    """Those that nobody has accepted: by name, as one just like it among `known`, or as any definition at all.

    What is of the data itself is accepted by its own name alone.
    """
    return [
        each
        for each in differences
        if each.object not in names
        and f"{each.database}: {each.object}" not in names
        and (
            each.blocking or (ALL_DEFINITIONS not in names and _without_reason(each) not in map(_without_reason, known))
        )
    ]


def _without_reason(difference: Difference) -> Difference:
    """PostgreSQL may give its reasons in other words the next time."""
    return difference.model_copy(update={"why": None})


def options(differences: Sequence[Difference]) -> str:
    """What to add to a command line so that these are accepted."""
    if len(differences) > MOST_NAMED and not any(each.blocking for each in differences):
        return f"--accept-differences {ALL_DEFINITIONS}"
    names = dict.fromkeys(each.object for each in differences)
    return " ".join(f"--accept-differences {shlex.quote(each)}" for each in names)


def texts(differences: Sequence[Difference]) -> list[str]:
    """Both texts of the first definitions that differ, a line each."""
    found: list[str] = []
    for each in differences[:MOST_NAMED]:
        if each.kind == "definition" and each.expected and each.found:
            found += [f"{each.object}, in the backup: {each.expected}", f"{each.object}, rebuilt: {each.found}"]
    return found


def named(differences: Sequence[Difference]) -> str:
    """`2 definitions differ: app: …; app: …`: the first of them."""
    counted = "1 definition differs" if len(differences) == 1 else f"{len(differences)} definitions differ"
    more = f" and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
    return f"{counted}: {'; '.join(in_words(each) for each in differences[:MOST_NAMED])}{more}"
