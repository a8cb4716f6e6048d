"""Which named differences a person has accepted, and how to accept the others. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from tasks.models import Difference
from tasks.restore.compare import in_words

ALL_DEFINITIONS = "all-definitions"
MOST_NAMED = 5
HARMLESS = ("view ", "materialized view ", "extension ", "statistics ")


def unaccepted(
    differences: Iterable[Difference], names: Sequence[str], known: Sequence[Difference] = ()
) -> list[Difference]:
    """Those that nobody has accepted: by name, as one just like it among `known`, or as any definition at all.

    What is of the data itself is accepted by its own name alone, which says the database and both numbers.
    """
    alike = [_without_reason(each) for each in known]
    return [
        each
        for each in differences
        if name_of(each) not in names
        and (each.blocking or (not {each.object, ALL_DEFINITIONS} & set(names) and _without_reason(each) not in alike))
    ]


def name_of(difference: Difference) -> str:
    """What accepts just this one: nobody accepts a loss in another database, or of more rows, by it."""
    if difference.blocking:
        return in_words(_without_reason(difference))
    return f"{difference.database}: {difference.object}"


def _without_reason(difference: Difference) -> Difference:
    """PostgreSQL may give its reasons in other words the next time."""
    return difference.model_copy(update={"why": None})


def options(differences: Sequence[Difference]) -> str:
    """What to add to a command line so that these are accepted. The word for all of them is advised only where each
    is still there and guards nothing: it would accept a missing policy or constraint in later drills too."""
    if len(differences) > MOST_NAMED and all(_is_harmless(each) for each in differences):
        return f"--accept-differences {ALL_DEFINITIONS}"
    names = dict.fromkeys(name_of(each) for each in differences)
    return " ".join(f"--accept-differences {shlex.quote(each)}" for each in names)


def _is_harmless(difference: Difference) -> bool:
    return difference.kind in ("definition", "extension_version") and difference.object.startswith(HARMLESS)


def texts(differences: Sequence[Difference]) -> list[str]:
    """What a person reads before the answer, a line each: both texts of the first definitions that differ, and every
    difference that `named` leaves out."""
    found: list[str] = []
    for each in differences[:MOST_NAMED]:
        if each.kind == "definition" and each.expected and each.found:
            found += [f"{each.object}, in the backup: {each.expected}", f"{each.object}, rebuilt: {each.found}"]
    return [*found, *(in_words(each) for each in differences[MOST_NAMED:])]


def named(differences: Sequence[Difference]) -> str:
    """`2 definitions differ: app: …; app: …`: the first of them."""
    counted = "1 definition differs" if len(differences) == 1 else f"{len(differences)} definitions differ"
    more = f" and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
    return f"{counted}: {'; '.join(in_words(each) for each in differences[:MOST_NAMED])}{more}"
