"""A Prefect server that takes long to start is waited for as long as it lives; its log does not grow for ever."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from deployments.serving import server
from deployments.serving.server import LONGEST_LOG, OwnServer
from tasks.errors import RollcallError
from tasks.sections import Serve


class Starting(OwnServer):
    """One whose child is any program."""

    def __init__(self, folder: Path, *program: str) -> None:
        super().__init__(folder, Serve())
        self._child = subprocess.Popen(program, stdin=subprocess.PIPE)

    def wait(self) -> int:
        """How often was something else done meanwhile?"""
        meanwhile = list[None]()
        self._wait_for_answer(lambda: meanwhile.append(None))
        return len(meanwhile)


def test_one_that_lives_is_waited_for_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rollcall")
    monkeypatch.setattr(logging.getLogger("rollcall"), "propagate", True)
    monkeypatch.setattr(server, "SAY_SECONDS", 0.3)
    answers = iter([False] * 5 + [True])
    monkeypatch.setattr(server, "answers", lambda *_, **__: next(answers))
    mine = Starting(tmp_path, "sleep", "60")
    assert mine.wait() == 5
    assert "The Prefect server is still starting, after" in caplog.text
    assert mine.ended() is None
    mine.stop()


def test_it_is_given_up_in_the_end_and_at_once_where_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answers", lambda *_, **__: False)
    mine = Starting(tmp_path, "false")
    with pytest.raises(RollcallError, match="ended with 1 as it started"):
        mine.wait()
    mine.stop()
    assert server.START_SECONDS >= 3600
    monkeypatch.setattr(server, "START_SECONDS", 0.3)
    mine = Starting(tmp_path, "sleep", "60")
    with pytest.raises(RollcallError, match="gave no answer"):
        mine.wait()
    assert mine.ended() is not None


def test_a_log_that_is_open_is_rotated_and_goes_on(tmp_path: Path) -> None:
    mine = Starting(tmp_path, "true")
    mine.stop()
    with mine.log.open("ab") as output:
        output.write(b"x" * LONGEST_LOG)
        output.flush()
        mine.rotate_log()
        assert mine.log.stat().st_size == LONGEST_LOG, "not too long yet"
        output.write(b"y")
        output.flush()
        mine.rotate_log()
        output.write(b"z")
        output.flush()
    assert mine.log.read_bytes() == b"z"
    assert (tmp_path / "server.log.1").stat().st_size == LONGEST_LOG + 1
