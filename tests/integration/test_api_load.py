"""The load behind docs/status-api.md, in small: every request is answered, and nobody is asked for it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from benchmarks import api_load

pytestmark = pytest.mark.slow


def test_answers_under_load_reach_no_target_storage_or_engine() -> None:
    loads, reached, checks = api_load.measure(targets=5, requests=40, days=1)
    assert checks == 5 * 96
    assert [(each.endpoint, len(each.seconds)) for each in loads] == [(each, 40) for each in api_load.ENDPOINTS]
    assert reached == []


def test_what_could_ask_would_be_noticed(tmp_path: Path) -> None:
    """A history in PostgreSQL needs psycopg, so the same server then owns up to it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        history = f"postgresql+psycopg://u@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2"
        api_load.configure(tmp_path, 1, history=history)
        with api_load.served(tmp_path) as (port, reached), pytest.raises(RuntimeError, match="answered 503"):
            api_load.ask(port, "/metrics", 1)
    assert reached == ["psycopg"]
