"""Is what was rebuilt what was backed up? If not: every difference, by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.databases.schema import describe_difference
from tasks.errors import NotEqual
from tasks.models import Difference, DifferenceKind, Tally

MOST_NAMED = 5
MISSING, ADDED = "missing", "not in the backup"


def judge_proof(
    expected: Mapping[str, Tally], found: Mapping[str, Tally], not_made: Sequence[Difference] = ()
) -> list[Difference]:
    """Everything in which the databases found differ from those expected; the data first, none if all is equal.

    not_made: the objects that could not be made, with the reason; each stands for the difference that it explains.
    """
    told = [Difference(kind="database", database=name, object="database", found=MISSING)
            for name in expected if name not in found]  # fmt: skip
    told += [Difference(kind="database", database=name, object="database", found=ADDED)
             for name in found if name not in expected]  # fmt: skip
    for name in sorted(expected.keys() & found.keys()):
        told += differences(expected[name], found[name], name)
    told = list({(each.database, each.object): each for each in reversed(told)}.values())[::-1]  # one for each object
    reasons = {(each.database, each.object): each for each in not_made}
    explained = [_explained(each, reasons.pop((each.database, each.object), None)) for each in told]
    return sorted([*explained, *reasons.values()], key=lambda each: not each.blocking)


def _explained(difference: Difference, reason: Difference | None) -> Difference:
    return difference.model_copy(update={"why": reason.why}) if reason else difference


def differences(expected: Tally, found: Tally, database: str) -> list[Difference]:
    """Everything in which two tallies differ; none if they are equal.

    The rows of a materialised view are no part of a backup: a restore fills the view from its definition, which is
    compared. Only whether it is filled must be the same; `refreshed` tells where the rows became others.
    """
    told = _unequal(database, "rows", "rows in {}", expected.counts, found.counts)
    told += _unequal(database, "materialized_view", "materialized view {}", _filled(expected), _filled(found))
    told += _unequal(database, "sequence", "position of {}", _positions(expected), _positions(found, expected))
    large = [{"large objects": each.large_objects} for each in (expected, found)]
    told += _unequal(database, "large_objects", "{}", *large)
    if expected.schema_fingerprint != found.schema_fingerprint:
        fingerprint = Difference(kind="definition", database=database, object="schema's fingerprint")
        told += _definitions(expected, found, database) or [fingerprint]
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


def other_rows(expected: Tally, found: Tally) -> list[str]:
    """Tables of extensions that do not come back with the rows they had, a phrase each: no dump holds them."""
    return [
        f"{name} has {found.extension_rows.get(name, 0):,} rows, {rows:,} when the backup was taken: it belongs to an "
        "extension, and no dump holds it"
        for name, rows in expected.extension_rows.items()
        if found.extension_rows.get(name, 0) != rows
    ]


def _filled(tally: Tally) -> dict[str, str]:
    return {name: "empty" if rows is None else "filled" for name, rows in tally.materialized_views.items()}


def _positions(tally: Tally, expected: Tally | None = None) -> dict[str, str]:
    """An extension's own sequences too; one that only its newer version has is nothing that a backup lacks."""
    own = (expected or tally).extension_sequences
    positions = {**tally.sequences, **{name: at for name, at in tally.extension_sequences.items() if name in own}}
    return {
        name: f"{each.last_value}, {'used' if each.is_called else 'not used yet'}" for name, each in positions.items()
    }


def _definitions(expected: Tally, found: Tally, database: str) -> list[Difference]:
    difference = describe_difference(expected.schema_objects, found.schema_objects)

    def named(kind: DifferenceKind, name: str, at: str | None = None) -> Difference:
        return Difference(kind=kind, database=database, object=name, found=at)

    told = [named("column" if name.startswith("column ") else "missing", name, MISSING) for name in difference.removed]
    told += [named("added", name, ADDED) for name in difference.added]
    return told + [named("definition", name) for name in difference.changed]


def _unequal(
    database: str, kind: DifferenceKind, what: str, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> list[Difference]:
    return [
        Difference(
            kind=kind, database=database, object=what.format(name),
            expected=_shown(expected[name]) if name in expected else None,
            found=(_shown(found[name]) if name in expected else ADDED) if name in found else MISSING,
        )
        for name in sorted({*expected, *found})
        if name not in found or name not in expected or expected[name] != found[name]
    ]  # fmt: skip


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def in_words(difference: Difference) -> str:
    """A phrase that says what differs, and why where that is known: `app: rows in public.t: 1 instead of 2`."""
    each = difference
    if each.kind == "database":
        said = f"the database {each.database}: {each.found}"
    elif each.found in (MISSING, ADDED) or each.kind == "missing":
        said = f"{each.database}: {each.object}: {each.found or MISSING}"
    elif each.kind == "definition":
        said = f"{each.database}: the definition of the {each.object} differs"
    else:
        said = f"{each.database}: {each.object}: {each.found} instead of {each.expected}"
    return f"{said} ({each.why})" if each.why else said


def require_compared(expected: Mapping[str, Tally], source: str) -> None:
    """Raise NotEqual where there was nothing to compare: nothing is proven by that."""
    if not any(tally.counts for tally in expected.values()):
        nothing = f"{source} holds no table, so nothing could be compared, and nothing is proven."
        raise NotEqual(nothing[0].upper() + nothing[1:], [nothing])


def not_equal(differences: Sequence[Difference], source: str) -> NotEqual:
    """The error that names the first of these differences."""
    told = [in_words(each) for each in differences]
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    named = "; ".join(told[:MOST_NAMED])
    return NotEqual(f"What was rebuilt from {source} is not what it should be: {named}{more}.", told)
