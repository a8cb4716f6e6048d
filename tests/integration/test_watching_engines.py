"""Targets on two engines under one watch: none hides what happens on the other, and neither holds up an end."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import watcher
from deployments.serving import beside as parts
from deployments.serving.beside import WATCHER, beside
from deployments.watcher import watch
from tasks.config import Config, load
from tests.bed.progress import wait_until
from tests.bed.proxy import UnixProxy

TARGET = {
    "container": "rollcall-nobody",
    "volume": "rollcall-none",
    "database": "d",
    "user": "u",
    "storages": ["local"],
}


@pytest.fixture
def second() -> Iterator[UnixProxy]:
    """What is another engine to Rollcall, and can fall silent."""
    with tempfile.TemporaryDirectory(prefix="rc-proxy-") as folder:
        proxy = UnixProxy(path=f"{folder}/s")
        proxy.start()
        yield proxy
        proxy.stop()


@pytest.fixture
def settings(tmp_path: Path, second: UnixProxy) -> Config:
    (tmp_path / "backups").mkdir()
    document = {
        "storages": {"local": {"type": "local", "path": "./backups"}},
        "targets": {"here": TARGET, "there": TARGET | {"docker": {"host": f"unix://{second.path}"}}},
    }
    (tmp_path / "targets.yaml").write_text(json.dumps(document))
    return load(str(tmp_path / "targets.yaml"))


def file_of(settings: Config) -> str:
    return str(settings.state.parent / "targets.yaml")


def watchers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "rollcall-watcher"]


def watched(lines: list[str], name: str) -> int:
    return lines.count(f"watching {name}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_silent_does_not_hold_up_the_end(
    settings: Config, second: UnixProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "ENGINE_SECONDS", 600.0)
    second.stall()
    stop, lines = threading.Event(), list[str]()
    thread = threading.Thread(target=watch, args=(settings, stop, file_of(settings)), kwargs={"say": lines.append})
    thread.start()
    wait_until(lambda: watched(lines, "here") == 1, 120, "the watch", lambda: " | ".join(lines))
    stop.set()
    thread.join(120)
    assert not thread.is_alive()
    assert watched(lines, "there") == 0
    left = watchers()
    assert all(each.daemon for each in left), "the process need not wait for it"
    second.cut()
    second.resume()
    for each in left:
        each.join(120)
        assert not each.is_alive(), "it ends once its engine answers"
    gc.collect()  # of sockets that Docker's library leaves open: here nobody minds, the next test would


def test_where_the_watch_of_one_engine_ends_all_begin_again(
    settings: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FIRST_WAIT", 0.2)
    caplog.set_level(logging.INFO, "rollcall")
    stop, lines = threading.Event(), list[str]()
    here = beside(settings, stop)
    here.go_on(WATCHER, lambda: watch(settings, stop, file_of(settings), say=lines.append))

    def both(times: int) -> bool:
        here.mend()
        return watched(lines, "here") == watched(lines, "there") == times

    wait_until(lambda: both(1), 120, "the watch of both", lambda: " | ".join(lines))
    former = watchers()
    assert len(former) == 2
    killed = ctypes.c_ulong(former[1].ident or 0)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(killed, ctypes.py_object(SystemExit)) == 1
    wait_until(lambda: both(2), 120, "both again", lambda: " | ".join(lines))
    # The watch begins again some seconds after it was to end, whether or not every one of its threads has seen that.
    wait_until(lambda: not any(each.is_alive() for each in former), 120, "the end of the former ones")
    assert "The watch of an engine ended by a defect (SystemExit)" in caplog.text
    stop.set()
    here.join(120)
    wait_until(lambda: watchers() == [], 120, "the end of all")
