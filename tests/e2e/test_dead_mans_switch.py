"""What cannot tell of itself is missed all the same: serve stopped or killed, a schedule paused, a run killed.

Cron knows no shorter time than a minute, so each of these takes some.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bed.outside import WatcherOutside
from tests.bed.ports import free_port
from tests.bed.postgres import PostgresServer
from tests.bed.progress import ROOT, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import BIN, Served, ask, clean_environment, own_ports, served
from tests.bed.target import NAME, target_for
from tests.bed.watched import told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEADLINE = 240
PERIOD, GRACE = 60.0, 45.0
SILENCE_MINUTES = 2.5  # a verify is due every minute, and the machine may be busy
EVERY_MINUTE = {"backup": "never", "verify": "* * * * *", "drill": "never"}
SILENT = 60  # seconds without a heartbeat; Prefect sends none more often than every 30
HEARTBEAT = "30"
PROGRAM = f"from deployments import automations, cli; automations.SILENT = {SILENT}.0; cli.main()"


@pytest.fixture
def shop(postgres15: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]) -> PostgresServer:
    server = fresh_database(postgres15)
    server.execute("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 42) n")
    return server


@pytest.fixture
def outside() -> Iterator[WatcherOutside]:
    with WatcherOutside(PERIOD, GRACE) as watcher:
        yield watcher


def configured(shop: PostgresServer, folder: Path, hook: HttpRecorder, schedules: dict[str, str], **rules: Any) -> Path:
    """One target that is told of to `hook`."""
    rules = {"databases": [shop.database], "roles": False, "lock_wait": 300} | rules
    target = target_for(shop, folder, **rules)
    (folder / "hook").write_text(hook.apprise_url)
    document = json.loads(target.file.read_text()) | own_ports(grace=60)
    document |= {"schedules": schedules, "notify": [{"url": {"file": "hook"}}]}
    target.file.write_text(json.dumps(document, indent=1))
    return target.file


def rollcall(file: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--config", str(file)],
        env=clean_environment() | {"PREFECT_HOME": str(file.parent / "no-home")} | environment,
        capture_output=True, text=True, timeout=240, cwd=ROOT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_serve_that_ends_is_missed_outside(
    shop: PostgresServer, tmp_path: Path, http_recorder: HttpRecorder, outside: WatcherOutside, end: signal.Signals
) -> None:
    (tmp_path / "ping").write_text(outside.url)
    ping = {"verify": {"file": str(tmp_path / "ping")}}
    file = configured(shop, tmp_path, http_recorder, EVERY_MINUTE, ping=ping)
    with served(file) as here:
        wait_until(lambda: outside.count("success") >= 2, DEADLINE, "two checks", here.log.read_text)
        assert (outside.state, outside.count("fail")) == ("up", 0)
        here.stop(end)
        heard = len(outside.calls)

        wait_until(lambda: outside.state == "down", DEADLINE, "the watcher outside to say down")

    assert outside.count("fail") == 0, "nobody told it: it noticed"
    assert len(outside.calls) <= heard + 2, "at most the run that outlived a kill"


def doctored(file: Path, subject: str, **environment: str) -> dict[str, Any]:
    """What the doctor says of it."""
    done = rollcall(file, "doctor", "--json", **environment)
    found: dict[str, dict[str, Any]] = {each["subject"]: each for each in json.loads(done.stdout)}
    assert subject in found, done.stdout + done.stderr
    return found[subject]


def test_a_paused_schedule_is_missed_by_the_automation_while_serve_goes_on(
    shop: PostgresServer, tmp_path: Path, http_recorder: HttpRecorder
) -> None:
    """All commands find the server of the running serve by themselves."""
    file = configured(shop, tmp_path, http_recorder, EVERY_MINUTE, max_silence_minutes=SILENCE_MINUTES)
    with served(file) as here:
        before = doctored(file, "automations")
        assert (before["well"], "blocks apply" in before["words"]) == (False, True)
        for command in ("blocks", "automations"):
            done = rollcall(file, command, "apply")
            assert done.returncode == 0, done.stderr
        assert "no alarm for a missing backup, for it is never scheduled" in done.stdout
        assert doctored(file, "automations")["well"]
        assert doctored(file, f"{NAME}: schedules")["well"]

        def ended() -> int:
            return sum(each["state"]["type"] == "COMPLETED" for each in here.runs("verify", NAME))

        first = ended()
        wait_until(lambda: ended() >= first + 3, DEADLINE, "three checks", here.log.read_text)
        assert told(http_recorder, "MISSED") == []

        here.ask(f"deployments/{here.deployment('verify', NAME)['id']}/pause_deployment")
        wait_until(lambda: bool(told(http_recorder, "MISSED")), DEADLINE, "the alarm", here.log.read_text)

        assert told(http_recorder, "MISSED")[0] == f"MISSED {NAME}: nobody looked for {SILENCE_MINUTES:g} minutes"
        assert here.process.poll() is None
        paused = doctored(file, f"{NAME}: schedules")
        assert (paused["well"], "verify" in paused["words"]) == (False, True)


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """A Prefect server that ends with nobody's serve; its API."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=clean_environment() | settings, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(api), DEADLINE, "an answer of the Prefect server", log.read_text)
        yield api
    finally:
        process.terminate()
        process.wait(30)


def _answers(api: str) -> bool:
    try:
        return bool(ask(api, "health"))
    except OSError:
        return False


def processes_of(run: str) -> list[int]:
    """The processes of a flow run: its id is in their environment."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and f"PREFECT__FLOW_RUN_ID={run}".encode() in (each / "environ").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found


def at_work(here: Served) -> str:
    """A verify that hangs at a locked table; its id."""
    made = here.ask(f"deployments/{here.deployment('verify', NAME)['id']}/create_flow_run")

    def runs() -> bool:
        return bool(here.ask(f"flow_runs/{made['id']}")["state"]["type"] == "RUNNING")

    wait_until(runs, DEADLINE, "a run at work", here.log.read_text)
    return str(made["id"])


def test_killed_runs_are_told_of_with_and_without_a_serve_that_lives(
    shop: PostgresServer, tmp_path: Path, http_recorder: HttpRecorder
) -> None:
    """A serve sees its own run die. When both die, only the heartbeat that stops can tell, and that it never came: the
    second run here is killed as soon as it began."""
    file = configured(shop, tmp_path, http_recorder, dict.fromkeys(EVERY_MINUTE, "never"))
    with prefect_server(tmp_path) as api, shop.connect() as lock:
        environment = {"PREFECT_API_URL": api, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": HEARTBEAT}
        lock.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with served(file, environment) as here:
            for command in ("blocks", "automations"):
                done = rollcall(file, command, "apply", **environment)
                assert done.returncode == 0, done.stderr
            for process in processes_of(at_work(here)):
                os.kill(process, signal.SIGKILL)
            wait_until(lambda: bool(told(http_recorder, "CRASHED")), DEADLINE, "word of the first", here.log.read_text)

            run = at_work(here)
            here.process.kill()
            here.process.wait()
            for process in processes_of(run):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: len(told(http_recorder, "CRASHED")) == 2, DEADLINE, "word of the second")
        state = ask(api, f"flow_runs/{run}")["state"]
        assert (state["type"], state["message"]) == ("CRASHED", "No heartbeat for 1 minutes: its process is gone.")
