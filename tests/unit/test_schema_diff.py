"""Hashing schemas and naming what differs, without a server."""

import pytest

from tasks.databases.schema import SchemaDifference, describe_difference, fingerprint, hashed, settled


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, SchemaDifference([], [], [])),
        ({"table a": "1"}, {"table a": "1"}, SchemaDifference([], [], [])),
        ({}, {"table b": "1", "table a": "1"}, SchemaDifference(["table a", "table b"], [], [])),
        ({"table a": "1"}, {}, SchemaDifference([], ["table a"], [])),
        (
            {"table a": "1", "view v": "2"},
            {"table a": "3", "view v": "2"},
            SchemaDifference([], [], ["table a"]),
        ),
    ],
)
def test_difference_names_what_came_went_and_changed(
    before: dict[str, str], after: dict[str, str], expected: SchemaDifference
) -> None:
    assert describe_difference(before, after) == expected


def test_difference_is_false_only_where_nothing_differs() -> None:
    assert not describe_difference({"a": "1"}, {"a": "1"})
    assert describe_difference({"a": "1"}, {"a": "2"})


def test_fingerprint_does_not_depend_on_order_and_depends_on_everything_else() -> None:
    one = fingerprint({"table a": "1", "table b": "2"})
    assert one == fingerprint({"table b": "2", "table a": "1"})
    assert (
        len(
            {
                one,
                fingerprint({"table a": "2", "table b": "1"}),
                fingerprint({"table a": "1"}),
                fingerprint({}),
            }
        )
        == 4
    )


def test_hash_has_twelve_hex_digits_and_follows_the_definition() -> None:
    first, second = hashed([("view v", "SELECT 1")]), hashed([("view v", "SELECT 2")])
    assert first != second
    assert int(first["view v"], 16) >= 0
    assert len(first["view v"]) == 12


@pytest.mark.parametrize(
    ("written", "after_restore"),
    [
        (
            "CHECK ((s = ANY ((ARRAY['a'::character varying, 'b''s'::character varying])::text[]))",
            "CHECK ((s = ANY (ARRAY[('a'::character varying)::text, ('b''s'::character varying)::text]))",
        ),
        ("CHECK ((a > 1))", "CHECK ((a > 1))"),
        ("SELECT 'x, y'::text", "SELECT 'x, y'::text"),
    ],
)
def test_definition_settles_in_the_form_it_has_after_a_restore(written: str, after_restore: str) -> None:
    assert settled(written) == after_restore
    assert settled(after_restore) == after_restore


def test_settling_keeps_different_lists_apart() -> None:
    lists = "(ARRAY['a'::character varying])::text[]", "(ARRAY['b'::character varying])::text[]"
    assert settled(lists[0]) != settled(lists[1])
