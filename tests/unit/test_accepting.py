"""Which differences a person has accepted."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.errors import Refused
from tasks.models import Difference
from tasks.restore.accepting import ALL_DEFINITIONS, options, texts, unaccepted
from tasks.restore.approval import ask_about, asked
from tasks.restore.facts import Source
from tasks.restore.plan import make_plan
from tests.unit.test_restore_plan import BACKUP, Request, world

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def differing(**changes: Any) -> Difference:
    given = {"kind": "definition", "database": "app", "object": "view public.v", "expected": "a", "found": "b"}
    return Difference.model_validate(given | changes)


ROWS = differing(kind="rows", object="rows in public.t", expected="2", found="1")


@pytest.mark.parametrize(
    ("names", "known", "left"),
    [
        ([], [], ["view public.v", "rows in public.t"]),
        (["view public.v"], [], ["rows in public.t"]),
        (["app: view public.v"], [], ["rows in public.t"]),
        (["other: view public.v", "view public"], [], ["view public.v", "rows in public.t"]),
        ([ALL_DEFINITIONS], [], ["rows in public.t"]),
        ([ALL_DEFINITIONS, "app: rows in public.t: 1 instead of 2"], [], []),
        (["view public.v", "rows in public.t"], [], ["rows in public.t"]),
        (["view public.v", "app: rows in public.t"], [], ["rows in public.t"]),
        (["view public.v", "app: rows in public.t: 0 instead of 2"], [], ["rows in public.t"]),
        ([], [differing(why="in other words"), ROWS], ["rows in public.t"]),
        ([], [differing(found="c")], ["view public.v", "rows in public.t"]),
        ([], [differing(database="other")], ["view public.v", "rows in public.t"]),
    ],
)
def test_a_difference_is_accepted_by_its_name_and_what_is_data_by_nothing_else(
    names: list[str], known: list[Difference], left: list[str]
) -> None:
    assert [each.object for each in unaccepted([differing(), ROWS], names, known)] == left


def test_the_option_to_add_can_be_pasted_into_a_shell() -> None:
    odd = differing(object='view public."it\'s"')
    assert options([odd]) == "--accept-differences 'app: view public.\"it'\"'\"'s\"'"
    assert options([differing(object=f"view public.v{n}") for n in range(6)]) == "--accept-differences all-definitions"


@pytest.mark.parametrize(
    "odd",
    [
        {"kind": "missing", "object": "policy public.t.own_rows"},
        {"kind": "definition", "object": "policy public.t.own_rows"},
        {"kind": "missing", "object": "constraint public.t.only_once"},
        {"kind": "missing", "object": "index public.only_once"},
        {"kind": "missing", "object": "view public.v"},
        {"kind": "missing", "object": "CREATE ROLE clerk"},
        {"kind": "setting", "object": "ALTER ROLE clerk SET row_security"},
        {"kind": "definition", "object": "schema's fingerprint"},
    ],
)
def test_the_word_for_all_is_never_advised_where_one_of_them_guards_the_data_or_is_missing(odd: dict[str, str]) -> None:
    found = [*(differing(object=f"view public.v{n}") for n in range(6)), differing(**odd)]
    advised = shlex.split(options(found))[1::2]
    assert ALL_DEFINITIONS not in advised
    assert unaccepted(found, advised) == []


def test_lost_rows_are_accepted_for_the_database_and_the_numbers_that_were_shown_alone() -> None:
    lost = [
        ROWS.model_copy(update={"database": f"tenant{n}", "found": str(n), "why": "for a reason"}) for n in range(9)
    ]
    gone = differing(kind="database", database="tenant9", object="database", expected=None, found="missing")
    advised = shlex.split(options([*lost, gone]))[1::2]
    assert advised[7:] == [
        "tenant7: rows in public.t: 7 instead of 2", "tenant8: rows in public.t: 8 instead of 2",
        "the database tenant9: missing",
    ]  # fmt: skip
    for number, each in enumerate([*lost, gone]):
        assert unaccepted([*lost, gone], [name for name in advised if name != advised[number]]) == [each]
    assert unaccepted([gone], ["database", "tenant9: database"]) == [gone]


def test_every_difference_is_shown_before_a_person_answers() -> None:
    views = [differing(object=f"view public.v{number}", expected=None) for number in range(7)]
    assert texts(views) == [f"app: the definition of the view public.v{number} differs" for number in (5, 6)]


def test_both_texts_are_shown() -> None:
    assert texts([differing(), ROWS]) == ["view public.v, in the backup: a", "view public.v, rebuilt: b"]


@pytest.mark.parametrize(
    ("proven_at", "said"), [(NOW, "It was accepted by a drill."), (None, "To approve this plan accepts it; --yes does")]
)
def test_a_plan_names_what_is_known_to_come_back_in_another_way(proven_at: datetime | None, said: str) -> None:
    source: Source = BACKUP.model_copy(
        update={
            "differences": [differing(why="in other words")],
            "accepted": [differing()] if proven_at else [],
            "rows_proven_at": NOW,
            "proven_at": proven_at,
        }
    )
    found = make_plan(world(), source, Request(backup="latest")).notes
    assert any("the definition of the view public.v differs" in each and said in each for each in found)


def test_a_script_accepts_what_a_drill_accepted_and_nothing_that_a_later_drill_only_found() -> None:
    view, key = differing(), differing(kind="missing", object="constraint public.t.fk", found="missing")
    source: Source = BACKUP.model_copy(
        update={"differences": [view, key], "accepted": [view], "rows_proven_at": NOW, "proven_at": NOW}
    )
    plan = make_plan(world(), source, Request(backup="latest"))
    (said,) = [each for each in plan.notes if "constraint" in each]
    assert "--yes does not" in said
    with asked("given", "ann"):
        ask_about(plan, [view])
        with pytest.raises(Refused, match=r"1 definition differs: app: constraint public\.t\.fk: missing"):
            ask_about(plan, [view, key])
    with asked("terminal", "ann"):
        ask_about(plan, [view, key])  # The plan that was approved by hand named both.
