"""Which automations a configuration asks for, and what has to change on a server that has some already."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deployments.automations import holds, mark_of, steps, wanted_automations
from tasks.config import Config, load

TEXT = """\
storages: {{local: {{type: local, path: ./backups}}}}
state: {state}
targets:
  shop: {{container: pg, volume: data, database: shop, storages: [local], {more}}}
"""


def config(folder: Path, more: str = "max_age_hours: 26", state: str = "state") -> Config:
    (folder / "targets.yaml").write_text(TEXT.format(more=more, state=state))
    return load(str(folder / "targets.yaml"))


def on_server(config: Config) -> list[dict[str, Any]]:
    """As the server shows what it was given: with ids, defaults, and lists in another order."""
    shown = []
    for number, each in enumerate(wanted_automations(config, ["block"])):
        document = copy.deepcopy(dict(each.document))
        del document["tell"]
        document["trigger"] |= {"id": f"trigger-{number}", "expect": document["trigger"]["expect"][::-1]}
        shown.append({"id": str(number), "tags": [], "actions_on_resolve": [], **document})
    return shown


def test_a_target_is_waited_for_from_its_last_event_or_from_when_the_watch_began(tmp_path: Path) -> None:
    triggers = {each.name: each.document["trigger"] for each in wanted_automations(config(tmp_path), ["block"])}
    backup = triggers["rollcall: shop backup is missing"]
    assert backup["expect"] == ["rollcall.backup.stored"]
    assert set(backup["after"]) == {"rollcall.backup.stored", "rollcall.watch.begun"}
    assert backup["within"] == 26 * 3600
    assert triggers["rollcall: shop verify is missing"]["within"] == 3600
    assert triggers["rollcall: shop drill is missing"]["within"] == 31 * 86_400


def test_no_drill_is_missed_where_none_is_wanted(tmp_path: Path) -> None:
    names = {each.name for each in wanted_automations(config(tmp_path, "prove_every_days: 0"), ["block"])}
    assert "rollcall: shop drill is missing" not in names


def test_every_destination_is_told_by_every_alarm(tmp_path: Path) -> None:
    for each in wanted_automations(config(tmp_path), ["one", "two"]):
        told = [action["block_document_id"] for action in each.document["actions"] if "block_document_id" in action]
        assert told == ([] if "sign of life" in each.name else ["one", "two"])


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    settings = config(tmp_path)
    planned = steps(wanted_automations(settings, ["block"]), on_server(settings), mark_of(settings))
    assert {each.change for each in planned} == {"keep"}


@pytest.mark.parametrize(
    ("key", "value"), [("enabled", False), ("trigger", {}), ("actions", []), ("actions", [{"type": "do-nothing"}])]
)
def test_what_somebody_changed_is_set_right_again(tmp_path: Path, key: str, value: Any) -> None:
    settings = config(tmp_path)
    there = on_server(settings)
    there[0][key] = value
    changed = [each for each in steps(wanted_automations(settings, ["block"]), there, mark_of(settings)) if each.id]
    assert [each.id for each in changed if each.change == "update"] == ["0"]


def test_only_our_own_are_removed(tmp_path: Path) -> None:
    settings = config(tmp_path)
    other = config(tmp_path, state="elsewhere")
    theirs = [{"id": "t", "name": "rollcall: mine", "description": "Somebody's"}, *on_server(other)]
    old = {**on_server(settings)[0], "id": "old", "name": "rollcall: gone backup is missing"}
    twin = {**on_server(settings)[1], "id": "twin"}
    planned = steps(
        wanted_automations(settings, ["block"]), [*on_server(settings), old, twin, *theirs], mark_of(settings)
    )
    assert len([each for each in planned if each.change == "remove"]) == 2
    assert "old" in {each.id for each in planned if each.change == "remove"}
    assert not {each.id for each in planned if each.change == "remove"} & {"t"}


def test_more_than_was_asked_for_is_no_difference_and_less_is() -> None:
    assert holds({"a": 1, "id": 5, "list": ["y", "x"]}, {"a": 1, "list": ["x", "y"]})
    assert not holds({"a": 1, "list": ["x"]}, {"a": 1, "list": ["x", "y"]})
    assert not holds({"list": ["x", "y", "z"]}, {"list": ["x", "y"]})
