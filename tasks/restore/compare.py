"""Is what was rebuilt what was backed up? Exactly, or it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.databases.schema import describe_difference
from tasks.errors import NotEqual
from tasks.models import Tally

MOST_NAMED = 5


def differences(expected: Tally, found: Tally) -> list[str]:
    """Everything in which two tallies differ, a phrase each; none if they are equal.

    The rows of a materialised view are no part of a backup: a restore fills the view from its definition, which is
    compared. Only whether it is filled must be the same; `refreshed` tells where the rows became others.
    """
    told = _unequal("rows in {}", expected.counts, found.counts)
    told += _unequal("the materialised view {}", _filled(expected), _filled(found))
    told += _unequal("the position of {}", _positions(expected), _positions(found))
    if expected.large_objects != found.large_objects:
        told.append(f"large objects: {found.large_objects:,} instead of {expected.large_objects:,}")
    if expected.schema_fingerprint != found.schema_fingerprint:
        told += _definitions(expected, found) or ["the schema's fingerprint differs"]
    return told


def refreshed(expected: Tally, found: Tally) -> list[str]:
    """Materialised views that have other rows now, a phrase each: they were stale when the backup was taken."""
    both = expected.materialized_views.keys() & found.materialized_views.keys()
    pairs = {name: (expected.materialized_views[name], found.materialized_views[name]) for name in sorted(both)}
    return [
        f"{name} was filled anew and has {now:,} rows, {before:,} when the backup was taken"
        for name, (before, now) in pairs.items()
        if before is not None and now is not None and before != now
    ]


def _filled(tally: Tally) -> dict[str, str]:
    return {name: "empty" if rows is None else "filled" for name, rows in tally.materialized_views.items()}


def _positions(tally: Tally) -> dict[str, str]:
    return {
        name: f"{each.last_value}, {'used' if each.is_called else 'not used yet'}"
        for name, each in tally.sequences.items()
    }


def _definitions(expected: Tally, found: Tally) -> list[str]:
    difference = describe_difference(expected.schema_objects, found.schema_objects)
    told = [f"the {name}: missing" for name in difference.removed]
    told += [f"the {name}: not in the backup" for name in difference.added]
    return told + [f"the definition of the {name} differs" for name in difference.changed]


def _unequal(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    told = []
    for name in sorted({*expected, *found}):
        subject = what.format(name)
        if name not in found:
            told.append(f"{subject}: missing")
        elif name not in expected:
            told.append(f"{subject}: not in the backup")
        elif expected[name] != found[name]:
            told.append(f"{subject}: {_shown(found[name])} instead of {_shown(expected[name])}")
    return told


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def require_equal(expected: Mapping[str, Tally], found: Mapping[str, Tally], source: str) -> None:
    """Raise NotEqual that names the first differences; also where there was nothing to compare."""
    told = [f"the database {name}: missing" for name in expected if name not in found]
    told += [f"the database {name}: not in the backup" for name in found if name not in expected]
    for name in expected:
        if name in found:
            told += [f"{name}: {each}" for each in differences(expected[name], found[name])]
    if told:
        more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        raise NotEqual(
            f"What was rebuilt from {source} is not what it should be: {'; '.join(told[:MOST_NAMED])}{more}.", told
        )
    if not any(tally.counts for tally in expected.values()):
        nothing = f"{source} holds no table, so nothing could be compared, and nothing is proven."
        raise NotEqual(nothing[0].upper() + nothing[1:], [nothing])
