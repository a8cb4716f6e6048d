"""From every state that an interrupted exchange can leave, to either end."""

from itertools import permutations

import pytest

from tasks.containers.exchange_moves import ASIDE, DATA, Place, is_whole_exchange, moves
from tasks.errors import EngineError

OLD, NEW = "65024:11", "65024:22"
PINNED, STAGING = Place("pinned", DATA), Place("staging", DATA)
PINNED_ASIDE, STAGING_ASIDE = Place("pinned", ASIDE), Place("staging", ASIDE)

BEFORE = {"pinned": OLD, "staging": NEW}
AFTER = {"pinned": NEW, "staging": OLD}

STATES = {
    "before": {PINNED: OLD, STAGING: NEW},
    "after the first rename": {PINNED_ASIDE: OLD, STAGING: NEW},
    "after the second rename": {PINNED: NEW, PINNED_ASIDE: OLD},
    "after": {PINNED: NEW, STAGING: OLD},
    "undo, after the first rename": {PINNED_ASIDE: NEW, STAGING: OLD},
    "undo, after the second rename": {PINNED: OLD, PINNED_ASIDE: NEW},
    "asked the other way round, after the first rename": {PINNED: OLD, STAGING_ASIDE: NEW},
    "asked the other way round, after the second rename": {STAGING: OLD, STAGING_ASIDE: NEW},
    "both aside": {PINNED_ASIDE: OLD, STAGING_ASIDE: NEW},
    "both aside, in the other's volume": {PINNED_ASIDE: NEW, STAGING_ASIDE: OLD},
}

TABLE = [
    ("before", BEFORE, []),
    ("before", AFTER, [(PINNED, PINNED_ASIDE), (STAGING, PINNED), (PINNED_ASIDE, STAGING)]),
    ("after the first rename", BEFORE, [(PINNED_ASIDE, PINNED)]),
    ("after the first rename", AFTER, [(STAGING, PINNED), (PINNED_ASIDE, STAGING)]),
    ("after the second rename", BEFORE, [(PINNED, STAGING), (PINNED_ASIDE, PINNED)]),
    ("after the second rename", AFTER, [(PINNED_ASIDE, STAGING)]),
    ("after", BEFORE, [(PINNED, PINNED_ASIDE), (STAGING, PINNED), (PINNED_ASIDE, STAGING)]),
    ("after", AFTER, []),
    ("undo, after the first rename", BEFORE, [(STAGING, PINNED), (PINNED_ASIDE, STAGING)]),
    ("undo, after the first rename", AFTER, [(PINNED_ASIDE, PINNED)]),
    ("undo, after the second rename", BEFORE, [(PINNED_ASIDE, STAGING)]),
    ("undo, after the second rename", AFTER, [(PINNED, STAGING), (PINNED_ASIDE, PINNED)]),
    ("asked the other way round, after the first rename", BEFORE, [(STAGING_ASIDE, STAGING)]),
    ("asked the other way round, after the first rename", AFTER, [(PINNED, STAGING), (STAGING_ASIDE, PINNED)]),
    ("asked the other way round, after the second rename", BEFORE, [(STAGING, PINNED), (STAGING_ASIDE, STAGING)]),
    ("asked the other way round, after the second rename", AFTER, [(STAGING_ASIDE, PINNED)]),
    ("both aside", BEFORE, [(PINNED_ASIDE, PINNED), (STAGING_ASIDE, STAGING)]),
    ("both aside", AFTER, [(STAGING_ASIDE, PINNED), (PINNED_ASIDE, STAGING)]),
    ("both aside, in the other's volume", BEFORE, [(STAGING_ASIDE, PINNED), (PINNED_ASIDE, STAGING)]),
    ("both aside, in the other's volume", AFTER, [(PINNED_ASIDE, PINNED), (STAGING_ASIDE, STAGING)]),
]


@pytest.mark.parametrize(("state", "wanted", "expected"), TABLE)
def test_each_state_leads_to_either_end_by_the_fewest_renames(
    state: str, wanted: dict[str, str], expected: list[tuple[Place, Place]]
) -> None:
    assert moves(STATES[state], wanted) == expected


@pytest.mark.parametrize("wanted", [BEFORE, AFTER], ids=["before", "after"])
@pytest.mark.parametrize("asked", ["pinned first", "staging first"])
def test_a_run_stopped_after_any_rename_any_number_of_times_still_ends_right(
    wanted: dict[str, str], asked: str
) -> None:
    """Every way of two folders over four places, stopped after each single rename: each stop is such a way too."""
    order = wanted if asked == "pinned first" else dict(reversed(wanted.items()))
    for two in permutations([PINNED, STAGING, PINNED_ASIDE, STAGING_ASIDE], 2):
        state, renames = dict(zip(two, (OLD, NEW), strict=True)), 0
        while left := moves(state, order):
            assert left[0].target not in state
            state[left[0].target] = state.pop(left[0].source)
            renames += 1
            assert renames <= 3
            assert sorted(state.values()) == [OLD, NEW]
        assert state == {Place(volume, DATA): each for volume, each in wanted.items()}


def test_a_device_may_have_another_number_after_a_restart_of_the_machine() -> None:
    found = {PINNED: "8:11", STAGING: "8:22"}
    assert moves(found, BEFORE) == []
    assert len(moves(found, AFTER)) == 3


def test_only_two_folders_in_each_other_s_place_make_a_whole_exchange() -> None:
    lengths = {(state, wanted["pinned"]): is_whole_exchange(moves(STATES[state], wanted)) for state, wanted, _ in TABLE}
    assert [each for each, whole in lengths.items() if whole] == [("before", NEW), ("after", OLD)]


@pytest.mark.parametrize(
    "found",
    [
        {},
        {PINNED: OLD},
        {PINNED: OLD, STAGING: "65024:33"},
        {PINNED: OLD, STAGING: NEW, PINNED_ASIDE: "65024:33"},
        {PINNED: "65024:33", PINNED_ASIDE: OLD, STAGING: NEW},
        {PINNED: OLD, STAGING: OLD},
    ],
    ids=["nothing", "one is gone", "one is another", "a third one", "a new one in an empty place", "one twice"],
)
def test_anything_but_the_two_folders_is_left_alone(found: dict[Place, str]) -> None:
    with pytest.raises(EngineError, match=r"not the two that were to be exchanged .* Nothing was moved") as caught:
        moves(found, AFTER)
    assert all(str(place) in str(caught.value) for place in found)


def test_two_file_systems_are_refused() -> None:
    with pytest.raises(EngineError, match=r"pinned and staging are on different file systems"):
        moves({PINNED: "1:11", STAGING: "2:22"}, AFTER)


def test_one_folder_cannot_be_wanted_twice() -> None:
    with pytest.raises(EngineError, match="not the two"):
        moves({PINNED: OLD, STAGING: NEW}, {"pinned": OLD, "staging": OLD})
