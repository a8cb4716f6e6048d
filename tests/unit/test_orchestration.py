"""A task where nothing tracks it: called directly, and tried again by the same rule as under Prefect."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from tasks import orchestration
from tasks.errors import LoginRefused, RollcallError, StorageUnreachable
from tasks.orchestration import Retry, is_transient, task

FAST = Retry(times=2, first_wait=0.02)


class Flaky:
    """Raises the given errors one after the other, then returns its argument."""

    __name__ = "flaky"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[float] = []

    def __call__(self, value: int) -> int:
        self.calls.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return value


def test_a_transient_error_is_tried_again_after_growing_waits() -> None:
    flaky = Flaky(StorageUnreachable("no"), StorageUnreachable("no"))

    assert task(flaky, name="x", retry=Retry(times=2, first_wait=0.1))(7) == 7

    first, second, third = flaky.calls
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_after_the_last_attempt_the_error_itself_is_raised() -> None:
    flaky = Flaky(*(StorageUnreachable(f"no {n}") for n in range(5)))

    with pytest.raises(StorageUnreachable, match="no 2"):
        task(flaky, name="x", retry=FAST)(7)

    assert len(flaky.calls) == FAST.times + 1


@pytest.mark.parametrize("error", [LoginRefused("no"), RollcallError("no"), ValueError("no"), KeyError("no")])
def test_a_lasting_error_is_raised_at_once(error: Exception) -> None:
    flaky = Flaky(error)

    with pytest.raises(type(error)):
        task(flaky, name="x", retry=FAST)(7)

    assert len(flaky.calls) == 1


def test_a_task_without_a_rule_is_called_once() -> None:
    flaky = Flaky(StorageUnreachable("no"))

    with pytest.raises(StorageUnreachable):
        task(flaky, name="x")(7)

    assert len(flaky.calls) == 1


def test_each_new_attempt_is_announced_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rollcall"):
        task(Flaky(StorageUnreachable("the bucket is silent")), name="read back", retry=FAST)(7)

    assert caplog.messages == ["read back: the bucket is silent; trying again (1 of 2)"]


@pytest.mark.parametrize(
    ("error", "transient"),
    [(StorageUnreachable("x"), True), (LoginRefused("x"), False), (ConnectionError("x"), False), (None, False)],
)
def test_only_our_own_errors_say_that_trying_again_may_help(error: Exception | None, transient: bool) -> None:
    assert is_transient(error) is transient


def test_what_belongs_to_a_tracked_run_is_nothing_in_an_untracked_one() -> None:
    orchestration.publish("key", "# text", "description")
    orchestration.emit("rollcall.test", {"prefect.resource.id": "x"}, {})


UNTRACKED = """
import sys
from flows.backup import backup
from flows.verify import verify
assert "prefect" not in sys.modules
assert type(backup).__name__ == type(verify).__name__ == "function"
"""
TRACKED = """
import prefect
from flows.backup import backup
from flows.verify import verify
assert isinstance(backup, prefect.Flow) and isinstance(verify, prefect.Flow)
assert (backup.name, verify.name) == ("backup", "verify")
"""


@pytest.mark.parametrize("script", [UNTRACKED, TRACKED], ids=["without Prefect", "with Prefect"])
def test_a_flow_is_a_plain_function_until_prefect_is_loaded(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr


SILENT_API = """
import logging, os, traceback
os.environ["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
from unittest.mock import patch
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
import prefect.artifacts, prefect.events
from tasks import orchestration
from tasks.errors import NotificationFailed, SecretError

def fails(*_given, **_named):
    raise ConnectionError("http://hunter2")

logging.basicConfig(format="%(message)s")
with patch.object(Secret, "load", fails), patch.object(Block, "load", fails):
    for kind, call in (
        (SecretError, lambda: orchestration.secret_block("x")),
        (NotificationFailed, lambda: orchestration.send_notification_block("slack-webhook/x", "s", "b")),
    ):
        try:
            call()
        except kind as error:
            assert "ConnectionError" in str(error)
            assert "hunter2" not in "".join(traceback.format_exception(error))
        else:
            raise SystemExit("nothing was raised")
with (
    patch.object(orchestration, "tracked", lambda: True),
    patch.object(prefect.artifacts, "create_markdown_artifact", fails),
    patch.object(prefect.events, "emit_event", fails),
):
    orchestration.publish("key", "text", "description")
    orchestration.emit("rollcall.test", {"prefect.resource.id": "x"}, {})
"""


def test_an_api_that_fails_meanwhile_is_told_of_once_and_without_what_it_quotes() -> None:
    done = subprocess.run([sys.executable, "-c", SILENT_API], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Prefect could not keep this run's report or event (ConnectionError)") == 1
    assert "hunter2" not in done.stderr
