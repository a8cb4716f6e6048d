"""What counts as a difference between a backup and what was rebuilt from it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import NotEqual
from tasks.models import Difference, SequencePosition, Tally
from tasks.restore.compare import differences, in_words, judge_proof, not_equal, refreshed, require_compared

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
     ["position of public.tickets: 11, used instead of 10, used"]),
    ("a sequence not used", with_(sequences={"public.tickets": SequencePosition(last_value=10, is_called=False)}),
     ["position of public.tickets: 10, not used yet instead of 10, used"]),
    ("a sequence gone", with_(sequences={}), ["position of public.tickets: missing"]),
    ("a large object gone", with_(large_objects=1), ["large objects: 1 instead of 2"]),
    ("a view not filled", with_(materialized_views={"public.seen": None, "public.later": None}),
     ["materialized view public.seen: empty instead of filled"]),
    ("a view that was empty is filled", with_(materialized_views={"public.seen": 3, "public.later": 0}),
     ["materialized view public.later: filled instead of empty"]),
    ("a materialised view gone", with_(materialized_views={"public.seen": 3}),
     ["materialized view public.later: missing"]),
    ("another definition",
     with_(schema_fingerprint="f2", schema_objects={**WHOLE.schema_objects, "view public.young": "d"}),
     ["the definition of the view public.young differs"]),
    ("objects swapped", with_(schema_fingerprint="f2", schema_objects={"table public.experts": "a",
                              "table public.nodes": "b", "view public.old": "c"}),
     ["view public.young: missing", "view public.old: not in the backup"]),
    ("only the fingerprint", with_(schema_fingerprint="f2"), ["the definition of the schema's fingerprint differs"]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "told"), [each[1:] for each in OFF], ids=[each[0] for each in OFF])
def test_every_kind_of_difference_is_told(found: Tally, told: list[str]) -> None:
    assert [in_words(each) for each in differences(WHOLE, found, "d")] == [f"d: {each}" for each in told]


def test_equal_tallies_differ_in_nothing() -> None:
    assert differences(WHOLE, WHOLE.model_copy(), "d") == []


def test_a_stale_view_that_a_restore_fills_anew_is_no_difference_but_is_told() -> None:
    found = with_(materialized_views={"public.seen": 4, "public.later": None})
    assert differences(WHOLE, found, "d") == []
    assert refreshed(WHOLE, found) == ["public.seen was filled anew and has 4 rows, 3 when the backup was taken"]
    assert refreshed(WHOLE, WHOLE) == []


def test_the_first_five_are_named_in_one_sentence_and_all_are_kept() -> None:
    expected = Tally(counts={f"public.t{number}": 1 for number in range(9)})
    error = not_equal(judge_proof({"d": expected}, {"d": Tally(counts={})}), "backup 7")
    assert str(error).count("missing") == 5
    assert str(error).startswith("What was rebuilt from backup 7 is not what it should be: d: rows in public.t0")
    assert str(error).endswith(" and 4 more.")
    assert len(error.differences) == 9


def test_a_database_that_is_not_there_is_a_difference_of_the_data() -> None:
    lacking = judge_proof({"d": WHOLE, "other": WHOLE}, {"d": WHOLE})
    assert [(in_words(each), each.blocking) for each in lacking] == [("the database other: missing", True)]
    more = judge_proof({"d": WHOLE}, {"d": WHOLE, "more": WHOLE})
    assert [(in_words(each), each.blocking) for each in more] == [("the database more: not in the backup", True)]


def test_what_could_not_be_made_explains_the_difference_that_it_causes_and_is_never_silent() -> None:
    found = with_(schema_fingerprint="f2", schema_objects={"table public.experts": "a", "table public.nodes": "b"})
    refused = [
        Difference(kind="missing", database="d", object="view public.young", why="permission denied"),
        Difference(kind="missing", database="d", object="cast (a AS b)", why="no such type"),
    ]
    told = judge_proof({"d": WHOLE}, {"d": found}, refused)
    assert [in_words(each) for each in told] == [
        "d: view public.young: missing (permission denied)",
        "d: cast (a AS b): missing (no such type)",
    ]
    assert not any(each.blocking for each in told)


def test_what_was_made_in_another_way_is_not_called_missing_where_nothing_else_shows_it() -> None:
    changed = Difference(kind="definition", database="d", object="constraint public.t.k", why="NOT VALID")
    (told,) = judge_proof({"d": WHOLE}, {"d": WHOLE}, [changed])
    assert in_words(told) == "d: the definition of the constraint public.t.k differs (NOT VALID)"


def test_a_comparison_that_compared_no_table_fails() -> None:
    empty = Tally(counts={}, schema_fingerprint="f")
    with pytest.raises(NotEqual, match="nothing could be compared"):
        require_compared({"d": empty}, "backup 7")
    with pytest.raises(NotEqual, match="nothing could be compared"):
        require_compared({}, "backup 7")
    require_compared({"d": WHOLE, "postgres": empty}, "backup 7")
