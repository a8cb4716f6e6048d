"""Another server on the pinned volume: what is said of it depends on whether the target's own container runs there."""

from __future__ import annotations

import pytest

from tasks.alerts import codes
from tasks.checks.shared import Own, second_server
from tasks.config import Target
from tasks.containers.neighbours import Neighbour
from tasks.watching.decide import compare
from tasks.watching.sighting import Sighting
from tasks.watching.telling import certain

RULES = Target(container="knowledge_postgres", volume="pinned", database="d", storages=["local"])
OTHER = Neighbour(container="knowledge_db_new", id="b2", state="running", project=None, serves=True)
PLACES: tuple[Own, ...] = ("on it", "elsewhere", "down")


def seen(own: Own, *servers: str) -> Sighting:
    return Sighting(container="a1", running=own != "down", volume="pinned", servers=servers, own=own)


def test_a_server_beside_the_targets_own_is_certain_damage_and_told_at_once() -> None:
    told = certain("shop", RULES, seen("on it", OTHER.container))
    assert told is not None
    assert "beside knowledge_postgres" in told.message.body.replace("\n", " ")
    assert "docker stop knowledge_db_new" in told.message.body


@pytest.mark.parametrize("own", ["elsewhere", "down"])
def test_the_only_server_on_the_volume_is_never_to_be_stopped_unasked(own: Own) -> None:
    assert certain("shop", RULES, seen(own, OTHER.container)) is None
    need = compare(seen(own), seen(own, OTHER.container), "pinned")
    assert need is not None and "second server" not in need.why


@pytest.mark.parametrize("own", PLACES)
def test_who_is_told_to_stop_one_is_told_to_look_at_who_uses_it_where_it_may_be_the_right_one(own: Own) -> None:
    said = second_server(RULES, OTHER, own)
    assert "knowledge_db_new" in said
    assert ("people use" in said) == (own != "on it")


def test_the_title_and_the_advice_of_the_code_are_true_in_all_cases() -> None:
    assert "two servers" not in codes.words("volume.shared")
    assert "use" in codes.step("volume.shared", "shop")


def test_the_targets_own_container_that_starts_beside_another_makes_it_certain() -> None:
    before, after = seen("down", OTHER.container), seen("on it", OTHER.container)
    assert certain("shop", RULES, before) is None and certain("shop", RULES, after) is not None
