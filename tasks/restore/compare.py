"""Is what was rebuilt what was backed up? Exactly, or it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.errors import NotEqual
from tasks.models import Tally

MOST_NAMED = 5


def differences(expected: Tally, found: Tally) -> list[str]:
    """Everything in which two tallies differ, a phrase each; none if they are equal."""
    told = _unequal("rows in {}", expected.counts, found.counts)
    told += _unequal("rows in the materialised view {}", expected.materialized_views, found.materialized_views)
    told += _unequal("the position of {}", _positions(expected), _positions(found))
    if expected.large_objects != found.large_objects:
        told.append(f"{found.large_objects:,} large objects instead of {expected.large_objects:,}")
    if expected.schema_fingerprint != found.schema_fingerprint:
        told += _unequal("the definition of {}", expected.schema_objects, found.schema_objects, show=False) or [
            "the schema's fingerprint"
        ]
    return told


def _positions(tally: Tally) -> dict[str, tuple[int, bool]]:
    return {name: (each.last_value, each.is_called) for name, each in tally.sequences.items()}


def _unequal(what: str, expected: Mapping[str, Any], found: Mapping[str, Any], *, show: bool = True) -> list[str]:
    told = []
    for name in sorted({*expected, *found}):
        subject = what.format(name)
        if name not in found:
            told.append(f"{subject}: missing")
        elif name not in expected:
            told.append(f"{subject}: not in the backup")
        elif expected[name] != found[name]:
            told.append(f"{subject}: {found[name]} instead of {expected[name]}" if show else f"{subject} differs")
    return told


def require_equal(expected: Mapping[str, Tally], found: Mapping[str, Tally], source: str) -> None:
    """Raise NotEqual that names the first differences; also where there was nothing to compare."""
    told = [f"the database {name}: missing" for name in expected if name not in found]
    told += [f"the database {name}: not in the backup" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        told += [f"{name}: {each}" for each in differences(expected[name], found[name])]
    if told:
        more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        raise NotEqual(
            f"What was rebuilt from {source} is not what it should be: {'; '.join(told[:MOST_NAMED])}{more}."
        )
    if not any(tally.counts for tally in expected.values()):
        raise NotEqual(f"{source} holds no table, so nothing could be compared, and nothing is proven.")
