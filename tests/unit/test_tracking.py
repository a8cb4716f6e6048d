"""A Prefect that does not answer, or fails, costs no run; and no one is shown a traceback for it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from fastapi.encoders import jsonable_encoder

from deployments import tracking
from tasks.errors import LoginRefused, RollcallError

UNUSABLE = tracking.unusable


@contextmanager
def answering(said: bytes) -> Iterator[str]:
    """An address where every connection is told `said`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def http(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("said", "well"),
    [
        (http("200 OK", "true"), True),
        (http("200 OK"), False),
        (http("200 OK", "<!doctype html><title>Prefect Server</title>"), False),
        (http("200 OK", "false"), False),
        (http("401 Unauthorized"), True),
        (http("502 Bad Gateway"), False),
        (http("404 Not Found"), False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
    ],
)
def test_only_an_api_that_is_well_answers(said: bytes, well: bool) -> None:
    with answering(said) as api:
        assert tracking.answers(api, timeout=30) is well


def test_an_address_without_its_end_is_told_from_a_silent_one() -> None:
    """Prefect's UI has a page for every path."""
    with answering(http("200 OK", "<!doctype html>")) as page:
        assert tracking.unusable(page, 30) == (
            f"What answers at {page} is no Prefect API (does the address end in /api?)"
        )
    with answering(http("502 Bad Gateway")) as dead:
        assert tracking.unusable(dead, 30) == f"The Prefect API at {dead} does not answer"


@pytest.mark.parametrize("api", ["", "nonsense", "http://127.0.0.1:1/api", "http://[::1/api"])
def test_what_is_no_address_of_an_api_does_not_answer(api: str) -> None:
    assert not tracking.answers(api, timeout=30)


class Flow:
    """A Prefect flow as far as it is used here; `before` and `after` are Prefect's own failures."""

    before: Exception | None = None
    after: Exception | None = None

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def with_options(self) -> Flow:
        return Flow(self.fn)

    def __call__(self, *arguments: Any) -> Any:
        if Flow.before:
            raise Flow.before
        returned = self.fn(*arguments)
        if Flow.after:
            raise Flow.after
        return returned


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What the body of flow `night` in flows/nightly.py was called with; a configured API answers."""
    made: list[tuple[str, str | None]] = []

    def body(target: str, config: str | None) -> str:
        made.append((target, config))
        if target == "locked":
            raise LoginRefused("wrong password")
        return f"stored {target}"

    module = types.ModuleType("flows.nightly")
    module.night = Flow(body)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.nightly", module)
    monkeypatch.setattr(tracking, "configured_api", lambda: "http://user:hunter2@prefect.example/api")
    monkeypatch.setattr(tracking, "unusable", lambda _api: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return made


@pytest.fixture(autouse=True)
def prefect(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The one thing that is asked of Prefect itself, without its two seconds of import: the settings for a run."""
    asked: dict[str, Any] = {}

    def temporary_settings(given: dict[str, Any]) -> nullcontext[None]:
        asked.update(given)
        return nullcontext()

    settings = types.ModuleType("prefect.settings")
    settings.PREFECT_API_URL = "api"  # type: ignore[attr-defined]
    settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY = "heartbeat"  # type: ignore[attr-defined]
    settings.temporary_settings = temporary_settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prefect", types.ModuleType("prefect"))
    monkeypatch.setitem(sys.modules, "prefect.settings", settings)
    monkeypatch.setattr(Flow, "before", None)
    monkeypatch.setattr(Flow, "after", None)
    return asked


@pytest.mark.parametrize(
    ("address", "expected"),
    [("", {"heartbeat": None, "api": None}), ("http://prefect.example/api", {"heartbeat": None})],
)
def test_an_empty_address_is_none_to_all_of_prefect(
    address: str, expected: dict[str, Any], calls: list[Any], prefect: dict[str, Any]
) -> None:
    os.environ["PREFECT_API_URL"] = address
    assert tracking.run("nightly", "night", "shop", None, prefect=True) == "stored shop"
    assert prefect == expected


def test_a_run_that_prefect_cannot_start_goes_on_untracked_with_one_warning(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Flow, "before", RuntimeError("http://user:hunter2@prefect.example"))

    with caplog.at_level(logging.WARNING, logger="rollcall"):
        assert tracking.run("nightly", "night", "shop", None, prefect=False) == "stored shop"

    assert calls == [("shop", None)]
    assert caplog.messages == ["Prefect could not track this run (RuntimeError); the run goes on untracked."]


def test_a_run_that_prefect_cannot_end_is_not_made_twice(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Flow, "after", RuntimeError("502"))

    with caplog.at_level(logging.WARNING, logger="rollcall"):
        assert tracking.run("nightly", "night", "shop", None, prefect=True) == "stored shop"

    assert calls == [("shop", None)]
    assert caplog.messages == ["Prefect could not track this run (RuntimeError) to its end."]


def test_what_the_run_itself_raises_is_raised_and_not_tried_again(calls: list[Any]) -> None:
    with pytest.raises(LoginRefused, match="wrong password"):
        tracking.run("nightly", "night", "locked", None, prefect=False)

    assert calls == [("locked", None)]


@pytest.mark.parametrize("silent", [True, False])
def test_where_prefect_is_asked_for_its_failure_is_a_sentence(
    silent: bool, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "unusable", lambda _api: "It is silent" if silent else None)
    monkeypatch.setattr(Flow, "before", RuntimeError("no server"))

    with pytest.raises(RollcallError, match=r"Mend that, or leave out --prefect\.$") as raised:
        tracking.run("nightly", "night", "shop", None, prefect=True)

    assert "hunter2" not in str(raised.value)
    assert calls == []


def test_a_silent_api_is_named_without_its_password(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "unusable", UNUSABLE)
    monkeypatch.setattr(tracking, "configured_api", lambda: "http://user:hunter2@127.0.0.1:1/api")

    with caplog.at_level(logging.WARNING, logger="rollcall"):
        assert tracking.run("nightly", "night", "shop", "c.yaml", prefect=False) == "stored shop"

    assert calls == [("shop", "c.yaml")]
    assert caplog.messages == ["The Prefect API at http://127.0.0.1:1/api does not answer; the run goes on untracked."]


def test_parameters_are_kept_as_prefect_keeps_them() -> None:
    given = {"target": "shop", "config": None, "files": [Path("a.yaml")], "dry_run": True, "most": 3}

    assert tracking._as_json(given) == jsonable_encoder(given)
    assert tracking._as_json({"hands": object()}) == {"hands": "<object>"}
