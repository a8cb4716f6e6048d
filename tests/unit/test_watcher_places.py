"""Checks that hang: others get their places, and people are told of one that should have ended long ago."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments import watcher_case
from deployments.watcher_case import Case, Shared
from deployments.watcher_places import Places
from tasks.alerts.message import Message
from tasks.config import Config, load
from tasks.errors import RollcallError
from tasks.watching.decide import Need, Pending
from tasks.watching.telling import check_hangs
from tests.bed.progress import wait_until

CONFIG = """
storages: {local: {type: local, path: ./backups}}
targets:
  shop: {container: c, volume: v, database: d, user: u, storages: [local], check_deadline: 0.2}
"""
PENDING = Pending(Need("at once", "it was started"), 0.0, 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    return load(str(tmp_path / "targets.yaml"))


def taken_at_once(places: Places, seconds: float = 0.2) -> bool:
    """Whether another gets a place; it has given it back then."""

    def take() -> None:
        with places.one():
            pass

    other = threading.Thread(target=take, daemon=True)
    other.start()
    other.join(seconds)
    return not other.is_alive()


def test_so_many_run_at_once_and_the_next_waits_for_one_that_ends() -> None:
    places = Places(2)
    with places.one(), ExitStack() as first:
        first.enter_context(places.one())
        assert not taken_at_once(places)
        first.close()
        assert taken_at_once(places, 30)


def test_who_hangs_gives_its_place_up_and_gives_back_no_second_one_at_its_end() -> None:
    places = Places(1, give_up_after=0.1)
    with places.one():
        assert taken_at_once(places, 30)
    patient = Places(1)
    with patient.one():
        pass
    with patient.one():
        assert not taken_at_once(patient)
    # Whose place was given up just as it ended may give it back a moment later.
    wait_until(lambda: places._free._value == 1, 30, "as many places as ever")  # type: ignore[attr-defined]


@pytest.mark.parametrize("hangs", [True, False])
def test_a_check_that_does_not_end_is_told_once(hangs: bool, settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    told, sent = threading.Event(), list[Message]()

    def send(_: Config, message: Message) -> list[str]:
        sent.append(message)
        told.set()
        return []

    def verify(*_: object) -> None:
        if hangs:
            assert told.wait(30)
        raise RollcallError("It was ended.")

    monkeypatch.setattr(watcher_case, "verify_directly", verify)
    monkeypatch.setattr(watcher_case, "send", send)
    monkeypatch.setattr(watcher_case, "AGAIN_AFTER", 0.0)
    monkeypatch.setattr(watcher_case, "GIVE_UP_AFTER", 0.2 if hangs else 600.0)
    lines = list[str]()
    case = Case("shop", Shared(settings, None, threading.Event(), lines.append, lambda: None))
    case._check(PENDING, accepting=True)
    assert lines == ["shop: the check did not come to its end: It was ended."]
    assert [each.title for each in sent] == (["FAILED shop: a check does not end"] if hangs else [])
    timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    left = [each for each in timers if each.function == case._tell_that_it_hangs and not each.finished.is_set()]
    assert left == [], "of a check that has ended nobody is told later"


def test_the_message_fits_on_a_phone() -> None:
    message = check_hangs("x" * 60, 4200)
    assert "70 minutes" in message.body
    assert max(map(len, [message.title, *message.body.split("\n")])) <= 90
