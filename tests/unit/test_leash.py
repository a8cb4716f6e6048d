"""Our end of a program's standard input, where the other end or the ground under it is gone."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
import requests.exceptions

from tasks.alerts.message import Message
from tasks.alerts.notify import notify
from tasks.config import NotifyBlock
from tasks.containers.by_helper import NoHelper, _folder
from tasks.containers.engine import engine
from tasks.containers.leash import Leash, Program
from tasks.errors import DumpInterrupted, EngineUnreachable


def test_a_password_is_not_in_a_programs_text() -> None:
    assert "hunter2" not in repr(Program("pg_dump", password="hunter2"))


def test_a_line_that_broke_is_kept_for_who_reads_the_output() -> None:
    ours, theirs = socket.socketpair()
    leash = Leash(ours, Program("pg_dump"))
    theirs.close()

    leash.say("argument")

    assert isinstance(leash.failure, DumpInterrupted)
    leash.close()


def test_a_temporary_folder_that_cannot_be_used_means_no_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with engine(None) as client, pytest.raises(NoHelper, match="No such file or directory"):
        _folder(client)


@pytest.mark.parametrize("error", [requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError])
def test_an_answer_of_the_engine_that_breaks_off_is_an_engine_that_does_not_answer(error: type[Exception]) -> None:
    with pytest.raises(EngineUnreachable), engine(None):
        raise error("broken off")


@pytest.mark.parametrize("address", ["tcp://engine.example:port", "nonsense://x", "tcp://[x"])
def test_an_address_that_is_none_is_an_engine_that_does_not_answer(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)

    with pytest.raises(EngineUnreachable), engine(None):
        pass


def test_a_foreign_error_of_a_delivery_is_told_by_its_class_alone() -> None:
    def fails(_name: str, _message: Message) -> None:
        raise ConnectionError("https://hooks.example/hunter2")

    message = Message(title="t", body="b", kind="warning")
    told = notify([NotifyBlock(block="slack-webhook/x")], message, fails, waits=())

    assert told == ["notify[0] (slack-webhook/x): it could not be delivered: ConnectionError."]
