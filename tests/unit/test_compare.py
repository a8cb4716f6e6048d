"""What counts as a difference between a backup and what was rebuilt from it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import NotEqual
from tasks.models import SequencePosition, Tally
from tasks.restore.compare import differences, refreshed, require_equal

WHOLE = Tally(
    counts={"public.experts": 85, "public.nodes": 26337},
    materialized_views={"public.seen": 3, "public.later": None},
    sequences={"public.tickets": SequencePosition(last_value=10, is_called=True)},
    large_objects=2,
    schema_fingerprint="f1",
    schema_objects={"table public.experts": "a", "table public.nodes": "b", "view public.young": "c"},
)


def with_(**changes: Any) -> Tally:
    return WHOLE.model_copy(update=changes)


OFF = [
    ("one row less", with_(counts={"public.experts": 84, "public.nodes": 26337}),
     ["rows in public.experts: 84 instead of 85"]),
    ("many rows more", with_(counts={"public.experts": 85, "public.nodes": 1026337}),
     ["rows in public.nodes: 1,026,337 instead of 26,337"]),
    ("a table gone", with_(counts={"public.nodes": 26337}), ["rows in public.experts: missing"]),
    ("a table too many", with_(counts={**WHOLE.counts, "public.x": 0}), ["rows in public.x: not in the backup"]),
    ("a sequence elsewhere", with_(sequences={"public.tickets": SequencePosition(last_value=11, is_called=True)}),
     ["the position of public.tickets: 11, used instead of 10, used"]),
    ("a sequence not used", with_(sequences={"public.tickets": SequencePosition(last_value=10, is_called=False)}),
     ["the position of public.tickets: 10, not used yet instead of 10, used"]),
    ("a sequence gone", with_(sequences={}), ["the position of public.tickets: missing"]),
    ("a large object gone", with_(large_objects=1), ["large objects: 1 instead of 2"]),
    ("a view not filled", with_(materialized_views={"public.seen": None, "public.later": None}),
     ["the materialised view public.seen: empty instead of filled"]),
    ("a view that was empty is filled", with_(materialized_views={"public.seen": 3, "public.later": 0}),
     ["the materialised view public.later: filled instead of empty"]),
    ("a materialised view gone", with_(materialized_views={"public.seen": 3}),
     ["the materialised view public.later: missing"]),
    ("another definition",
     with_(schema_fingerprint="f2", schema_objects={**WHOLE.schema_objects, "view public.young": "d"}),
     ["the definition of the view public.young differs"]),
    ("objects swapped", with_(schema_fingerprint="f2", schema_objects={"table public.experts": "a",
                              "table public.nodes": "b", "view public.old": "c"}),
     ["the view public.young: missing", "the view public.old: not in the backup"]),
    ("only the fingerprint", with_(schema_fingerprint="f2"), ["the schema's fingerprint differs"]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "told"), [each[1:] for each in OFF], ids=[each[0] for each in OFF])
def test_every_kind_of_difference_is_told(found: Tally, told: list[str]) -> None:
    assert differences(WHOLE, found) == told


def test_equal_tallies_differ_in_nothing() -> None:
    assert differences(WHOLE, WHOLE.model_copy()) == []


def test_a_stale_view_that_a_restore_fills_anew_is_no_difference_but_is_told() -> None:
    found = with_(materialized_views={"public.seen": 4, "public.later": None})
    assert differences(WHOLE, found) == []
    assert refreshed(WHOLE, found) == ["public.seen was filled anew and has 4 rows, 3 when the backup was taken"]
    assert refreshed(WHOLE, WHOLE) == []


def test_the_first_five_are_named_in_one_sentence_and_all_are_kept() -> None:
    expected = Tally(counts={f"public.t{number}": 1 for number in range(9)})
    with pytest.raises(NotEqual) as raised:
        require_equal({"d": expected}, {"d": Tally(counts={})}, "backup 7")
    assert str(raised.value).count("missing") == 5
    assert str(raised.value).startswith("What was rebuilt from backup 7 is not what it should be: d: rows in public.t0")
    assert str(raised.value).endswith(" and 4 more.")
    assert len(raised.value.differences) == 9


def test_a_database_that_is_not_there_is_a_difference() -> None:
    with pytest.raises(NotEqual, match="the database other: missing"):
        require_equal({"d": WHOLE, "other": WHOLE}, {"d": WHOLE}, "backup 7")
    with pytest.raises(NotEqual, match="the database more: not in the backup"):
        require_equal({"d": WHOLE}, {"d": WHOLE, "more": WHOLE}, "backup 7")


def test_a_comparison_that_compared_no_table_fails() -> None:
    empty = Tally(counts={}, schema_fingerprint="f")
    with pytest.raises(NotEqual, match="nothing could be compared"):
        require_equal({"d": empty}, {"d": empty}, "backup 7")
    with pytest.raises(NotEqual, match="nothing could be compared"):
        require_equal({}, {}, "backup 7")
    require_equal({"d": WHOLE, "postgres": empty}, {"d": WHOLE, "postgres": empty}, "backup 7")
