"""What the watcher tells by itself reaches everybody once, late where it must, with an engine that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import watcher, watcher_words
from deployments.watcher_words import Word
from tasks.alerts.message import Message
from tasks.config import Config, load
from tests.bed.progress import wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.watched import told

CONFIG = """
storages: {{local: {{type: local, path: ./backups}}}}
notify: [{{url: {{file: {folder}/hook}}}}, {{url: {{file: {folder}/second}}}}]
remind_every_hours: {remind}
targets:
  knowledge_os: {{container: c, volume: v, database: d, user: u, storages: [local]}}
"""
BAD, GOOD = Message("CRITICAL it is away", "Why.", "failure"), Message("RECOVERED it is back", "How.", "success")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_words, "AGAIN_AFTER", 0.05)
    monkeypatch.setattr(watcher, "TELL_LOST_AFTER", 0.2)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def configured(folder: Path, remind: float = 1.0) -> Config:
    """Two destinations; neither is a URL yet."""
    for name in ("hook", "second"):
        (folder / name).write_text("no URL")
    (folder / "targets.yaml").write_text(CONFIG.format(folder=folder, remind=remind))
    return load(str(folder / "targets.yaml"))


def test_a_word_is_tried_again_for_those_who_have_not_heard_it(
    tmp_path: Path, http_recorder: HttpRecorder, second_recorder: HttpRecorder, stop: threading.Event
) -> None:
    word = Word(configured(tmp_path), BAD, stop)
    word.start()
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    wait_until(lambda: word.heard, 60, "the first destination")
    (tmp_path / "second").write_text(second_recorder.apprise_url)
    word.join(60)
    assert not word.is_alive()
    assert [told(each, "CRITICAL") for each in (http_recorder, second_recorder)] == [[BAD.title]] * 2


@pytest.mark.parametrize("heard", [True, False])
def test_the_good_news_goes_to_those_who_can_have_heard_the_bad(
    heard: bool, tmp_path: Path, http_recorder: HttpRecorder, stop: threading.Event
) -> None:
    settings = configured(tmp_path)
    if heard:
        (tmp_path / "hook").write_text(http_recorder.apprise_url)
    bad = Word(settings, BAD, stop)
    bad.start()
    if heard:
        wait_until(lambda: bad.heard, 60, "the bad news")
    else:
        bad.drop()
        bad.join(60)
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    (tmp_path / "second").write_text(http_recorder.apprise_url)
    good = Word(settings, GOOD, stop, answers=[bad])
    good.start()
    good.join(60)
    assert not bad.is_alive()
    assert len(told(http_recorder, "RECOVERED")) == (2 if heard else 0)


def test_an_engine_that_is_away_is_told_once_somebody_can_hear_it_again_as_a_reminder_and_so_is_its_return(
    tmp_path: Path, http_recorder: HttpRecorder, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "RECONNECT_AFTER", 0.05)
    watch = watcher._Watcher(configured(tmp_path, remind=2 / 3600), stop, None, lambda _line: None, lambda: None)

    def lost() -> list[str]:
        watch._lose("the engine is lost: No Docker engine answers")
        return told(http_recorder, "engine does not answer")

    until = time.monotonic() + 1  # for the first attempts, which reach nobody
    while time.monotonic() < until:
        assert lost() == []
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    wait_until(lambda: len(lost()) >= 3, 60, "the reminders")
    assert http_recorder.arrived[2] - http_recorder.arrived[0] > 1, "not more often than asked for"
    watch._regain()
    wait_until(lambda: bool(told(http_recorder, "RECOVERED", "engine answers again")), 60, "the good news")
