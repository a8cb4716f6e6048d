"""Differences of definitions: which are of the print alone, and which are real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tasks.databases import reprint
from tasks.databases.connect import Login, connect
from tasks.models import Difference, Tally
from tasks.restore.compare import judge_proof


def prove(
    expected: Mapping[str, Tally],
    found: Mapping[str, Tally],
    not_made: Sequence[Difference],
    login: Callable[[str], Login],
) -> list[Difference]:
    """Everything in which the databases that were rebuilt differ from their backup, the data first.

    A definition that only prints in another way is none. login: leads to a rebuilt database. Raise DatabaseError.
    """
    differences = judge_proof(expected, found, not_made)
    for database in sorted({each.database for each in differences if each.kind == "definition"}):
        texts = expected[database].definitions, found[database].definitions
        differences = list(_settled(differences, database, *texts, login(database)))
    return differences


def _settled(
    differences: Iterable[Difference],
    database: str,
    before: Mapping[str, str],
    now: Mapping[str, str],
    login: Login,
) -> Iterator[Difference]:
    """All of them but those of this database's definitions that only print in another way; the others with both
    texts."""
    with connect(login) as connection:
        for each in differences:
            name = each.object
            if each.kind != "definition" or each.database != database or name not in before or name not in now:
                yield each
            elif name.startswith("extension "):
                yield _versions(each, before[name], now[name])
            elif each.why or not reprint.same(connection, name, before[name], now[name]):
                yield each.model_copy(update={"expected": before[name], "found": now[name]})


def _versions(difference: Difference, before: str, now: str) -> Difference:
    """pg_dump records no version of an extension: a restore makes the image's default one."""
    expected, found = json.loads(before)[0], json.loads(now)[0]
    if expected == found:
        return difference.model_copy(update={"expected": before, "found": now})
    name = difference.object.removeprefix("extension ")
    cause = difference.why or f"the image cannot make version {expected}"
    why = f"{cause}; in the database that was backed up, ALTER EXTENSION {name} UPDATE makes it version {found}"
    return difference.model_copy(
        update={
            "kind": "extension_version", "expected": f"version {expected}", "found": f"version {found}", "why": why,
        }
    )  # fmt: skip
