"""A Prefect that has lost its deployments, plans nothing or gives no answer is noticed, though it never says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deployments.serving import scheduling
from deployments.serving.beside import SCHEDULING, does_not_run
from deployments.serving.scheduling import Found, Scheduling, Standing, compare, deployed_again, named
from deployments.serving.wanted import Wanted, wanted
from tasks.config import load
from tasks.errors import RollcallError

CONFIG = """
storages: {local: {type: local, path: ./backups}}
schedules: {backup: "0 2 * * *", verify: "*/15 * * * *", drill: never}
targets: {shop: {container: c, volume: v, database: d, user: u, storages: [local]}}
"""
WELL = Standing(1, False, datetime(2030, 1, 1, tzinfo=UTC))
Deployed = dict[UUID, Wanted]


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    return {uuid4(): each for each in wanted(load(str(tmp_path / "targets.yaml")), tmp_path / "targets.yaml")}


def standing(deployed: Deployed, **other: Standing | None) -> dict[UUID, Standing]:
    """All well; but for the flows that are named."""
    plain = {key: WELL if each.cron else Standing(0, True, None) for key, each in deployed.items()}
    for flow, known in other.items():
        identity = next(key for key, each in deployed.items() if each.flow == flow)
        plain.pop(identity)
        if known:
            plain[identity] = known
    return plain


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, Found([], [])),
        ({"backup": None}, Found(["backup/shop"], [])),
        ({"recover": None}, Found(["recover/shop"], [])),
        ({"backup": Standing(0, True, None)}, Found(["backup/shop"], [])),
        ({"backup": Standing(1, False, None)}, Found([], ["backup/shop"])),
        ({"backup": Standing(1, True, None)}, Found([], [])),
    ],
    ids=["well", "gone", "gone without a schedule", "schedule gone", "not planned", "paused by a person"],
)
def test_what_prefect_has_is_held_against_what_it_was_given(
    deployed: Deployed, other: Mapping[str, Standing | None], expected: Found
) -> None:
    assert compare(deployed, standing(deployed, **other)) == expected


class Server:
    """In the place of the module that asks Prefect."""

    def __init__(self, found: dict[UUID, Standing]) -> None:
        self.found = found

    def standing_of(self, _: Mapping[UUID, Wanted]) -> dict[UUID, Standing]:
        return self.found


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


def test_a_loss_is_said_at_once_and_what_is_only_not_planned_after_a_while(
    deployed: Deployed, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(standing(deployed, backup=None))
    monkeypatch.setattr(scheduling, "applied", lambda: server)
    monkeypatch.setattr(scheduling, "see_that_it_answers", lambda *_: None)
    mine = Scheduling(lambda: "", lambda: deployed, stopping)
    with pytest.raises(RollcallError, match="has lost backup/shop"):
        mine.keep()
    assert mine.lost == ["backup/shop"] and not mine.well.is_set()

    server.found = standing(deployed, verify=Standing(1, False, None))
    monkeypatch.setattr(scheduling, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(scheduling, "PATIENCE", 0.1)
    with pytest.raises(RollcallError, match="plans no runs of verify/shop"):
        mine.keep()
    assert mine.lost == []

    server.found = standing(deployed)
    thread = threading.Thread(target=mine.keep, daemon=True)
    thread.start()
    assert mine.well.wait(60)
    stopping.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_server_that_hangs_is_said_to_give_no_answer(
    deployed: Deployed, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AGAIN_SECONDS", "PATIENCE", "ANSWER_SECONDS"):
        monkeypatch.setattr(scheduling, name, 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mine = Scheduling(lambda: f"http://127.0.0.1:{mute.getsockname()[1]}/api", lambda: deployed, stopping)
        with pytest.raises(RollcallError, match="gives no answer"):
            mine.keep()
    assert mine.lost == []


def test_names_and_messages_fit() -> None:
    names = [f"verify/{'x' * 60}{n}" for n in range(5)]
    assert named(["a", "b"]) == "a, b"
    assert named(names).endswith(" and 2 more")
    for message in (deployed_again(names), does_not_run(SCHEDULING, "y")):
        assert max(map(len, [message.title, *message.body.split("\n")])) <= 90
    assert "No scheduled backup" in does_not_run(SCHEDULING, "y").body
