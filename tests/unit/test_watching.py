"""What the watcher decides: which change calls for a check, when it is due, and how often is too often."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.watcher import concerned
from tasks.config import Config, load
from tasks.watching.decide import Checked, Need, Pending, compare, first_look, is_due, joined, seconds_to_wait
from tasks.watching.engine_events import read_event
from tasks.watching.new_volumes import SETTLING, TOLD_EVERY, NewVolumes
from tasks.watching.sighting import Sighting, read_sighting
from tasks.watching.telling import engine_lost, engine_regained, first_word, look_alike, look_alike_message

PIN = "atra_data"
UP = Sighting(container="a1", started_at="2026-02-01T08:00:00.123456789Z", running=True, volume=PIN)
DOWN = UP.model_copy(update={"running": False})
GONE = Sighting()


def changed(sighting: Sighting, **facts: Any) -> Sighting:
    return sighting.model_copy(update=facts)


@pytest.mark.parametrize(
    ("before", "seen", "when"),
    [
        (UP, UP, None),
        (DOWN, DOWN, None),
        (GONE, GONE, None),
        (DOWN, GONE, None),  # nothing that its stop has not told
        (UP, changed(UP, started_at="2026-02-01T09:00:00Z"), "when it accepts connections"),
        (UP, changed(UP, container="b2"), "when it accepts connections"),
        (UP, changed(UP, volume="os_data"), "when it accepts connections"),
        (DOWN, UP, "when it accepts connections"),
        (GONE, UP, "when it accepts connections"),
        (UP, changed(UP, container="b2", pinned=False), "when it accepts connections"),  # the check tells both
        (UP, changed(UP, pinned=False), "at once"),
        (GONE, changed(GONE, pinned=False), "at once"),
        (UP, changed(GONE, pinned=False), "at once"),
        (changed(GONE, pinned=False), GONE, None),
        (changed(UP, pinned=False), UP, None),
        (UP, changed(UP, servers=("two",)), "at once"),
        (changed(UP, servers=("two",)), UP, "at once"),
        (DOWN, changed(DOWN, servers=("two",)), "at once"),
        (UP, changed(UP, container="b2", servers=("two",)), "when it accepts connections"),
        (UP, changed(UP, crowd=frozenset({"two"})), None),  # it runs no server
        (UP, DOWN, "if it stays down"),
        (UP, GONE, "if it stays down"),
    ],
)
def test_a_change_calls_for_a_check(before: Sighting, seen: Sighting, when: str | None) -> None:
    need = compare(before, seen, PIN)
    assert (need.when if need else None) == when


def test_a_start_on_another_volume_is_said_with_both_names() -> None:
    need = compare(GONE, changed(UP, volume="os_data"), PIN)
    assert need and need.why == "its container started on os_data, where atra_data is pinned"
    unmounted = compare(GONE, changed(UP, volume=None), PIN)
    assert unmounted and "on no volume" in unmounted.why


AFTER, BEFORE = datetime(2026, 2, 1, 8, 0, 1, tzinfo=UTC), datetime(2026, 2, 1, 7, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "checked_at", "container", "when"),
    [
        (UP, AFTER, "a1", None),
        (UP, None, None, "when it accepts connections"),  # never checked
        (UP, BEFORE, "a1", "when it accepts connections"),  # started since
        (UP, AFTER, "b2", "when it accepts connections"),  # another container was checked
        (UP, AFTER, None, "when it accepts connections"),  # its database did not answer then
        (changed(UP, volume="os_data"), AFTER, "a1", "when it accepts connections"),
        (changed(UP, started_at="?"), AFTER, "a1", "when it accepts connections"),
        (changed(UP, servers=("two",)), AFTER, "a1", "at once"),
        (DOWN, AFTER, "a1", "at once"),
        (GONE, AFTER, "a1", "at once"),
    ],
)
def test_the_first_look_checks_what_no_check_knows(
    seen: Sighting, checked_at: datetime | None, container: str | None, when: str | None
) -> None:
    need = first_look(seen, checked_at, container, PIN)
    assert (need.when if need else None) == when


START, STOP, NOW = (
    Need("when it accepts connections", "its container started"),
    Need("if it stays down", "its container stopped"),
    Need("at once", "the pinned volume was removed"),
)


def test_a_start_is_checked_when_it_accepts_connections_or_never_does() -> None:
    pending = joined(None, START, 100)
    assert not is_due(pending, False, 100, 300)
    assert is_due(pending, True, 100, 300)
    assert not is_due(pending, False, 399, 300)
    assert is_due(pending, False, 400, 300)


def test_after_a_check_that_came_too_early_it_is_still_checked_when_it_accepts() -> None:
    pending = Pending(START, since=100, troubled_since=100, starts=1, tried=True)
    assert not is_due(pending, False, 5000, 300)
    assert is_due(pending, True, 5000, 300)


def test_a_stop_is_checked_only_if_no_start_follows() -> None:
    pending = joined(None, STOP, 100)
    assert not is_due(pending, False, 159, 300)
    assert is_due(pending, False, 160, 300)
    assert not is_due(joined(pending, START, 150), False, 165, 300)


def test_what_is_certain_is_checked_at_once() -> None:
    assert is_due(joined(joined(None, STOP, 100), NOW, 101), False, 101, 300)


def test_a_start_that_is_waited_for_is_not_given_up_for_a_check_at_once() -> None:
    pending = joined(joined(None, START, 100), NOW, 101)
    assert is_due(pending, False, 101, 300)
    checked = replace(pending, tried=True)
    assert not is_due(checked, False, 102, 300)
    assert is_due(checked, True, 102, 300)
    assert is_due(joined(checked, NOW, 103), False, 103, 300)


def test_a_loop_of_starts_is_checked_once_a_minute_after_it_began() -> None:
    pending, due = None, list[int]()
    for now in range(100, 400):
        if now % 5 == 0:
            pending = joined(pending, START if now % 10 == 0 else STOP, now)
        assert pending
        if is_due(pending, False, now, 300):
            due.append(now)
            pending = Pending(pending.need, pending.since, pending.troubled_since, pending.starts, tried=True)
    assert due == [160]


def pace(gaps: list[float], volumes: str) -> list[float]:
    """For how long each check of a series is put off, which comes so many seconds after the one before. `-`: the
    pinned volume is gone."""
    now, checks, waited = 0.0, list[Checked](), list[float]()
    for gap, volume in zip(gaps, volumes, strict=True):
        now += gap
        seen = Sighting(volume=volume.strip("-"), pinned=volume != "-")
        waited.append(seconds_to_wait(checks, seen, now))
        now += waited[-1]
        checks.append(Checked(now, seen))
    return waited


def test_checks_of_one_volume_become_rarer() -> None:
    assert pace([0, 5, 5, 5, 5, 5, 5, 5, 5], "aaaaaaaaa") == [0, 0, 0, 55, 115, 235, 475, 895, 895]


def test_another_volume_is_news_and_does_not_wait() -> None:
    assert pace([0, 5, 5, 5, 5], "aaab-") == [0, 0, 0, 0, 0]
    assert pace([5] * 21, "ab" * 10 + "a") == [0] * 20 + [55]


def test_after_a_quiet_hour_all_is_forgotten() -> None:
    assert pace([0, 1, 1, 3601], "aaaa") == [0, 0, 0, 0]


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    path = tmp_path / "targets.yaml"
    path.write_text(
        """
storages: {local: {type: local, path: ./backups}}
targets:
  knowledge_os: {container: knowledge_postgres, volume: atra_knowledge_postgres_data, database: knowledge_os,
                 storages: [local]}
  shop: {container: shop_db, volume: shop_pgdata, database: shop, storages: [local]}
"""
    )
    return load(str(path))


def event(kind: str, action: str, **attributes: str) -> dict[str, Any]:
    identifier = attributes.pop("identifier", "f00")
    return {"Type": kind, "Action": action, "time": 1770000000, "Actor": {"ID": identifier, "Attributes": attributes}}


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (event("container", "start", name="knowledge_postgres"), ["knowledge_os"]),
        (event("container", "start", name="somebody"), []),
        (event("container", "rename", name="other", oldName="/shop_db"), ["knowledge_os", "shop"]),
        (event("volume", "destroy", identifier="shop_pgdata", driver="local"), ["shop"]),
        (event("volume", "create", identifier="shop_db"), []),  # a container's name
        ({}, []),
    ],
)
def test_an_event_concerns_the_targets_that_it_names(settings: Config, raw: dict[str, Any], names: list[str]) -> None:
    assert concerned(read_event(raw), settings) == names


def test_a_sighting_is_read_from_what_the_engine_shows() -> None:
    found = {
        "Id": "a1", "Name": "/knowledge_postgres", "Image": "i1",
        "State": {"Status": "running", "StartedAt": "2026-02-01T08:00:00Z"},
        "Config": {"Env": ["PGDATA=/var/lib/postgresql/data/pgdata"], "Labels": None},
        "HostConfig": {"NetworkMode": "bridge"}, "NetworkSettings": {"Networks": {}, "Ports": {}},
        "Mounts": [{"Type": "volume", "Name": PIN, "Source": "/v", "Destination": "/var/lib/postgresql/data"}],
    }  # fmt: skip
    seen = read_sighting(found, pinned=True)
    assert seen == Sighting(container="a1", started_at="2026-02-01T08:00:00Z", running=True, volume=PIN, pinned=True)
    assert not read_sighting(found | {"State": {"Status": "restarting", "StartedAt": ""}}, pinned=True).running
    assert read_sighting(None, pinned=False) == Sighting(pinned=False)


def volume(name: str, key: str = "", **labels: str) -> dict[str, Any]:
    project = name.removesuffix(f"_{key}")
    compose = {"com.docker.compose.project": project, "com.docker.compose.volume": key} if key else {}
    return {"Name": name, "Labels": compose | labels or None}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_look_alike_is_told_when_it_has_settled_and_only_one_a_day(settings: Config) -> None:
    clock = Clock()
    volumes = NewVolumes(settings, clock)
    old = [volume("atra_knowledge_postgres_data", "knowledge_postgres_data"), volume("atra-1_knowledge_postgres_data")]
    assert volumes.seen(old) == []

    first = volume("knowledge_os_postgres_data", "postgres_data")
    found = volumes.seen([*old, first])
    assert [(each.target, each.volume, each.project) for each in found] == [
        ("knowledge_os", "knowledge_os_postgres_data", "knowledge_os")
    ]
    assert volumes.seen([*old, first]) == []
    assert volumes.settled() == []
    clock.now += SETTLING
    assert volumes.settled() == found
    assert volumes.settled() == []

    second = volume("knowledge-ci_postgres_data", "postgres_data")
    assert len(volumes.seen([*old, first, second])) == 1
    clock.now += SETTLING
    assert volumes.settled() == []
    clock.now += TOLD_EVERY
    assert len(volumes.seen([*old, first, second, volume("knowledge-new_postgres_data", "postgres_data")])) == 1
    clock.now += SETTLING
    assert len(volumes.settled()) == 1


def test_after_a_look_alike_of_which_nobody_heard_the_next_is_told(settings: Config) -> None:
    clock = Clock()
    volumes = NewVolumes(settings, clock)
    volumes.seen([])
    assert not volumes.is_there("knowledge_os_postgres_data")
    for name in ("knowledge_os_postgres_data", "knowledge-ci_postgres_data"):
        volumes.seen([volume(name, "postgres_data")])
        assert volumes.is_there(name)
        clock.now += SETTLING
        assert [each.volume for each in volumes.settled()] == [name]
        volumes.unheard("knowledge_os")


def test_a_look_alike_that_is_gone_again_is_not_told(settings: Config) -> None:
    clock = Clock()
    volumes = NewVolumes(settings, clock)
    volumes.seen([])
    assert len(volumes.seen([volume("knowledge_os_postgres_data", "postgres_data")])) == 1
    volumes.seen([])
    clock.now += SETTLING
    assert volumes.settled() == []


def test_our_own_volumes_and_other_targets_are_no_look_alikes(settings: Config) -> None:
    volumes = NewVolumes(settings)
    volumes.seen([])
    staging = volume("knowledge_os_postgres_data", **{"io.rollcall.run": "r1"})
    assert volumes.seen([staging, volume("shop_pgdata", "pgdata")]) == []


def test_what_is_told_fits_on_a_phone() -> None:
    long = "a" * 60
    finding = look_alike("knowledge_os_postgres_data", "atra_knowledge_postgres_data", "knowledge_os", mounted=True)
    assert "knowledge_os_postgres_data" in finding.message
    assert "is on atra_knowledge_postgres_data as before" in finding.message
    for message in (
        look_alike_message("knowledge_os", finding),
        first_word("knowledge_os", "knowledge_postgres", "knowledge_os_postgres_data", "atra_knowledge_postgres_data"),
        first_word(long, long, long, long),
        engine_lost([long] * 30, long * 9),
        engine_lost(["knowledge_os"], "the engine is lost: No Docker engine answers."),
        engine_regained([long] * 30),
    ):
        lines = [message.title, *message.body.split("\n")]
        assert max(map(len, lines)) <= 90
        assert len(lines) <= 6


def test_what_is_noticed_at_once_is_told_in_lines_of_their_own() -> None:
    program = (
        "import threading; from deployments.watch_command import _json_line;"
        "ways = [threading.Thread(target=lambda: [_json_line('x' * 200) for _ in range(200)]) for _ in range(8)];"
        "[way.start() for way in ways]; [way.join() for way in ways]"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["noticed"] for line in ran.stdout.splitlines()] == ["x" * 200] * 1600
