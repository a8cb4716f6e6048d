"""Commands find the Prefect server of the `rollcall serve` that runs with the same state folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.serving.server import running_api
from tasks.sections import Serve


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """As long as a server runs."""
    with (folder / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_server_that_runs_is_found_by_its_last_port(tmp_path: Path) -> None:
    assert running_api(tmp_path / "none", Serve()) is None
    (tmp_path / "port").write_text("4203\n")
    assert running_api(tmp_path, Serve()) is None
    with locked(tmp_path):
        assert running_api(tmp_path, Serve()) == "http://127.0.0.1:4203/api"
    assert running_api(tmp_path, Serve()) is None, "it has ended"


@pytest.mark.parametrize(
    ("section", "api"),
    [
        (Serve(host="0.0.0.0"), "http://127.0.0.1:4203/api"),
        (Serve(port=4300), "http://127.0.0.1:4203/api"),
        (Serve(host="::1"), "http://[::1]:4203/api"),
        (Serve(host="192.0.2.7"), "http://192.0.2.7:4203/api"),
    ],
)
def test_it_is_reached_where_it_listens(section: Serve, api: str, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("4203\n")
    with locked(tmp_path):
        assert running_api(tmp_path, section) == api


def test_a_server_that_is_still_starting_for_the_first_time_is_not_there_yet(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert running_api(tmp_path, Serve()) is None
