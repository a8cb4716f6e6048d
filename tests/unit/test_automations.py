"""Which automations a configuration asks for, and what has to change on a server that has some already."""

from __future__ import annotations

import copy
import resource
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.automations import Wanted, holds, in_words, mark_of, rivals, steps, unwatched, wanted_automations
from deployments.installation import NEW, former_installation, installation
from tasks.config import Config, load
from tasks.errors import ConfigError

OURS, THEIRS = mark_of("0123456789ab"), mark_of("ba9876543210")
TEXT = """\
storages: {{local: {{type: local, path: ./backups}}}}
targets:
  shop: {{container: pg, volume: data, database: shop, storages: [local], {more}}}
"""


def config(folder: Path, more: str = "max_age_hours: 26") -> Config:
    (folder / "targets.yaml").write_text(TEXT.format(more=more))
    return load(str(folder / "targets.yaml"))


def wanted(config: Config, *blocks: str, mark: str = OURS) -> list[Wanted]:
    return wanted_automations(config, blocks or ["block"], mark)


def on_server(config: Config, mark: str = OURS) -> list[dict[str, Any]]:
    """As the server shows what it was given: with ids, defaults, and lists in another order."""
    shown = []
    for number, each in enumerate(wanted(config, mark=mark)):
        document = copy.deepcopy(dict(each.document))
        del document["tell"]
        document["trigger"] |= {"id": f"trigger-{number}", "expect": document["trigger"]["expect"][::-1]}
        shown.append({"id": str(number), "tags": [], "actions_on_resolve": [], **document})
    return shown


def test_a_target_is_waited_for_anew_from_each_of_its_events(tmp_path: Path) -> None:
    triggers = {each.name: each.document["trigger"] for each in wanted(config(tmp_path))}
    backup = triggers["rollcall: shop backup is missing"]
    assert backup["expect"] == backup["after"] == ["rollcall.backup.stored"]
    # What makes the server begin to wait by itself, for a target that never ran.
    assert "for_each" not in backup


def test_how_long_is_waited_follows_from_the_schedules(tmp_path: Path) -> None:
    def waits(more: str) -> dict[str, float]:
        found = [each for each in wanted(config(tmp_path, more)) if each.target]
        return {each.name.split()[2]: each.document["trigger"]["within"] / 3600 for each in found}

    assert waits("user: x") == {"backup": 26, "verify": 1.25, "drill": 15 * 24}
    assert waits('schedules: {backup: "0 * * * *", verify: never}') == {"backup": 3, "drill": 15 * 24}
    assert waits("schedules: {verify: never}, max_silence_minutes: 30, prove_every_days: 0") == {
        "backup": 26,
        "verify": 0.5,
    }


def test_what_nobody_would_be_told_of_is_said(tmp_path: Path) -> None:
    assert list(unwatched(config(tmp_path))) == []
    silent = config(tmp_path, "schedules: {verify: never}, prove_every_days: 0")
    verify, drill = unwatched(silent)
    assert verify.startswith("shop: no alarm for a missing verify, for it is never scheduled; max_silence_minutes in")
    assert drill.startswith("shop: no alarm for a missing drill, for prove_every_days is 0; prove_every_days in")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(75, "75 minutes"), (60, "60 minutes"), (26 * 60, "26 hours"), (20160, "14 days"), (1.5, "1.5 minutes")],
)
def test_a_time_is_said_without_a_fraction(minutes: float, words: str) -> None:
    assert in_words(timedelta(minutes=minutes)) == words


def test_every_destination_is_told_by_every_alarm(tmp_path: Path) -> None:
    for each in wanted(config(tmp_path), "one", "two"):
        told = [action["block_document_id"] for action in each.document["actions"] if "block_document_id" in action]
        assert told == ([] if "sign of life" in each.name else ["one", "two"])


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    settings = config(tmp_path)
    assert {each.change for each in steps(wanted(settings), on_server(settings), OURS)} == {"keep"}


@pytest.mark.parametrize(
    ("key", "value"), [("enabled", False), ("trigger", {}), ("actions", []), ("actions", [{"type": "do-nothing"}])]
)
def test_what_somebody_changed_is_set_right_again(tmp_path: Path, key: str, value: Any) -> None:
    settings = config(tmp_path)
    there = on_server(settings)
    there[0][key] = value
    assert [each.id for each in steps(wanted(settings), there, OURS) if each.change == "update"] == ["0"]


def test_only_our_own_are_removed(tmp_path: Path) -> None:
    settings = config(tmp_path)
    theirs = [{**each, "id": f"their-{each['id']}"} for each in on_server(settings, THEIRS)]
    theirs += [{"id": "t", "name": "rollcall: mine", "description": "Somebody's"}, {"id": "u", "name": "none"}]
    old = {**on_server(settings)[0], "id": "old", "name": "rollcall: gone backup is missing"}
    twin = {**on_server(settings)[1], "id": "twin"}
    planned = steps(wanted(settings), [*on_server(settings), old, twin, *theirs], OURS)
    removed = {each.id for each in planned if each.change == "remove"}
    assert "old" in removed
    assert len(removed & {"1", "twin"}) == 1
    assert len(removed) == 2


def test_what_an_older_rollcall_made_is_taken_over_and_not_made_twice(tmp_path: Path) -> None:
    settings = config(tmp_path)
    former = mark_of(former_installation(settings.state))
    old = on_server(settings, former)
    of_another_host = {**old[0], "id": "theirs", "name": "rollcall: elsewhere backup is missing"}
    planned = steps(wanted(settings), [*old, of_another_host], OURS, former)
    assert {each.change for each in planned} == {"update"}
    assert [each.id for each in planned] == [each["id"] for each in old]
    assert rivals(wanted(settings), old, OURS, former) == []
    # An upgrade that made them anew beside the old ones is set right.
    both = [*({**each, "id": f"old-{each['id']}"} for each in old), *on_server(settings)]
    changes = [(each.change, (each.id or "")[:4]) for each in steps(wanted(settings), both, OURS, former)]
    assert sorted(set(changes)) == [("keep", each["id"]) for each in on_server(settings)] + [("remove", "old-")]


def test_a_target_of_the_same_name_elsewhere_is_noticed(tmp_path: Path) -> None:
    settings = config(tmp_path)
    assert rivals(wanted(settings), on_server(settings), OURS) == []
    assert rivals(wanted(settings), [*on_server(settings), *on_server(settings, THEIRS)], OURS) == ["shop"]


def test_an_installation_keeps_its_id_and_no_two_have_the_same(tmp_path: Path) -> None:
    assert installation(tmp_path / "a") == NEW
    first = installation(tmp_path / "a", make=True)
    assert installation(tmp_path / "a", make=True) == installation(tmp_path / "a") == first
    assert installation(tmp_path / "b", make=True) != first
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["installation"]


def test_an_id_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))
    try:
        with pytest.raises(ConfigError, match=r"cannot be used: File too large\. Check `state`\."):
            installation(tmp_path, make=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"0123456789ABCDEF"])
def test_a_file_that_holds_no_id_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "installation").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no id of an installation; remove it"):
        installation(tmp_path)


def test_more_than_was_asked_for_is_no_difference_and_less_is() -> None:
    assert holds({"a": 1, "id": 5, "list": ["y", "x"]}, {"a": 1, "list": ["x", "y"]})
    assert not holds({"a": 1, "list": ["x"]}, {"a": 1, "list": ["x", "y"]})
    assert not holds({"list": ["x", "y", "z"]}, {"list": ["x", "y"]})
