"""`rollcall serve` stopped, killed and started again, with runs at work: nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.prefect_server import prefect_server_in
from tests.bed.progress import wait_until
from tests.bed.proxy import TcpProxy
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import BIN, Served, ask, children_of, clean_environment, own_ports, served
from tests.bed.target import NAME, Target, target_for
from tests.bed.watched import told

pytestmark = pytest.mark.slow

SECONDS = 120
SHOP = ("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 42) n",)


@pytest.fixture
def shop(postgres15: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]) -> PostgresServer:
    server = fresh_database(postgres15)
    server.execute(*SHOP)
    return server


def target_with(shop: PostgresServer, folder: Path, grace: float = 30, **schedules: str) -> Target:
    """A target whose runs wait for a locked table, and a configuration with a port of its own."""
    rules: dict[str, Any] = {"lock_wait": 300, "databases": [shop.database], "roles": False}
    target = target_for(shop, folder, **rules)
    document = json.loads(target.file.read_text())
    never = dict.fromkeys(("backup", "verify", "drill"), "never")
    document |= own_ports(grace=grace) | {"schedules": never | schedules}
    target.file.write_text(json.dumps(document, indent=1))
    return target


@contextmanager
def orders_locked(shop: PostgresServer) -> Iterator[None]:
    """Nobody can read the table for as long as the block lasts: a run that wants to stays at work."""
    with shop.connect() as connection:
        connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield


def begun(here: Served, flow: str) -> str:
    """A run that was started through the API, once it is at work."""
    made = here.ask(f"deployments/{here.deployment(flow, NAME)['id']}/create_flow_run")
    wait_until(lambda: state_of(here, made["id"]) == "RUNNING", SECONDS, "the begin of a run", here.log.read_text)
    return str(made["id"])


def state_of(here: Served, run: str) -> str:
    return str(here.ask(f"flow_runs/{run}")["state"]["type"])


def manifests(target: Target) -> list[Path]:
    return sorted(target.store.rglob("manifest.json"))


def gone(api: str) -> bool:
    try:
        ask(api, "health")
    except OSError:
        return True
    return False


def in_cron(moment: datetime) -> str:
    return f"{moment.minute} {moment.hour} * * *"


def test_a_run_that_outlives_a_killed_serve_is_waited_for_and_nothing_comes_between(
    shop: PostgresServer, tmp_path: Path
) -> None:
    target = target_with(shop, tmp_path)
    with ExitStack() as lock:
        lock.enter_context(orders_locked(shop))
        with served(target.file) as first:
            run = begun(first, "backup")
            first.process.kill()
            first.process.wait()
            wait_until(lambda: gone(first.said["api"]), 30, "the end of the killed serve's server")
        with served(target.file) as second:
            assert state_of(second, run) == "RUNNING"
            other = second.run("backup", NAME)
            assert other["state"]["type"] == "FAILED"
            assert "Another run is at work" in other["state"]["message"]
            assert state_of(second, run) == "RUNNING" and manifests(target) == []

            lock.close()
            ended = second.end_of(run)
            assert ended["state"]["type"] in {"COMPLETED", "CRASHED"}, ended["state"]
            assert len(manifests(target)) == 1
            again = second.run("backup", NAME)
            assert again["state"]["type"] == "COMPLETED", again["state"]
            assert len(manifests(target)) == 2


def test_a_run_goes_on_while_the_server_is_away(shop: PostgresServer, tmp_path: Path) -> None:
    target = target_with(shop, tmp_path)
    with served(target.file) as here:
        with orders_locked(shop):
            run = begun(here, "backup")
            (server,) = children_of(here.process.pid, "leashed_server")
            os.kill(server, signal.SIGSTOP)
            time.sleep(45)  # longer than Prefect's own runner would bear
            os.kill(server, signal.SIGKILL)
            wait_until(lambda: "starting it again" in here.log.read_text(), 30, "the word that it starts again")
            wait_until(lambda: not gone(here.said["api"]), SECONDS, "the server's return", here.log.read_text)
        assert here.end_of(run)["state"]["type"] == "COMPLETED"
        assert len(manifests(target)) == 1
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED"
        with orders_locked(shop):
            run = begun(here, "backup")
            here.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
            assert here.end_of(run)["state"]["type"] == "CANCELLED"
        assert here.stop() == 0


def test_a_server_that_cannot_be_started_again_is_told_and_all_else_goes_on(
    shop: PostgresServer, tmp_path: Path, http_recorder: HttpRecorder
) -> None:
    """Somebody has taken its port meanwhile, and gives it back."""
    target = target_with(shop, tmp_path)
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    document = json.loads(target.file.read_text()) | {"notify": [{"url": {"file": str(tmp_path / "hook")}}]}
    target.file.write_text(json.dumps(document))
    with served(target.file) as here:
        api = urlsplit(here.said["api"])
        (server,) = children_of(here.process.pid, "leashed_server")
        os.kill(server, signal.SIGKILL)
        with taken(str(api.hostname), int(api.port or 0)):
            words = "FAILED rollcall serve: its Prefect server does not run"
            wait_until(lambda: bool(told(http_recorder, words)), SECONDS, "the message", here.log.read_text)
            metrics = metrics_of(here)
            assert 'rollcall_serve_part_up{part="Prefect server"} 0.0' in metrics
            assert 'rollcall_serve_part_up{part="watcher"} 1.0' in metrics
            assert here.process.poll() is None
        wait_until(lambda: not gone(here.said["api"]), SECONDS, "the server's return", here.log.read_text)
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED"
        wait_until(lambda: bool(told(http_recorder, "RECOVERED rollcall serve")), SECONDS, "the good news")
        assert here.log.read_text().count("The Prefect server of rollcall serve ended") == 1
        assert here.stop() == 0


def test_a_runner_that_ends_by_itself_is_told_of_and_its_runs_are_settled(shop: PostgresServer, tmp_path: Path) -> None:
    """A proxy before the server answers for it: with JSON, but not Prefect's. The runner bears no such thing."""
    target = target_with(shop, tmp_path)
    (tmp_path / "prefect").mkdir()
    with prefect_server_in(tmp_path / "prefect") as server:
        proxy = TcpProxy(("127.0.0.1", server.port))
        proxy.start()
        own = {"PREFECT_API_URL": f"http://127.0.0.1:{proxy.port}/api"}
        with served(target.file, own) as here, orders_locked(shop):
            assert 'rollcall_serve_part_up{part="Prefect runner"} 1.0' in metrics_of(here)
            run = begun(here, "backup")
            proxy.garble(b"[]", b"{}")
            down = 'rollcall_serve_part_up{part="Prefect runner"} 0.0'
            wait_until(lambda: down in metrics_of(here), SECONDS, "the end of the runner", here.log.read_text)
            assert health_of(here) == 503
            proxy.garble(b"", b"")
            ended = here.end_of(run)
            assert ended["state"]["type"] == "CRASHED", ended["state"]
            assert ended["state"]["message"].startswith("Its process ended")
            wait_until(lambda: health_of(here) == 200, SECONDS, "that all is well again", here.log.read_text)
            again = begun(here, "verify")
            here.ask(f"flow_runs/{again}/set_state", state={"type": "CANCELLING"})
            assert here.end_of(again)["state"]["type"] == "CANCELLED"
        assert "Traceback" not in here.log.read_text()
        proxy.stop()


def test_deployments_that_prefect_has_lost_come_back_and_are_run(
    shop: PostgresServer, tmp_path: Path, http_recorder: HttpRecorder
) -> None:
    target = target_with(shop, tmp_path, backup="* * * * *")
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    document = json.loads(target.file.read_text()) | {"notify": [{"url": {"file": str(tmp_path / "hook")}}]}
    target.file.write_text(json.dumps(document))
    with served(target.file) as here:
        former = {each["id"] for each in here.ask("deployments/filter")}
        for identity in former:
            delete(here, f"deployments/{identity}")
        wait_until(lambda: "deployed again" in here.log.read_text(), 300, "that the loss is seen", here.log.read_text)
        wait_until(lambda: len(here.ask("deployments/filter")) == len(former), SECONDS, "that they are back")
        assert not former & {each["id"] for each in here.ask("deployments/filter")}
        wait_until(lambda: "COMPLETED" in states(here), 180, "a scheduled backup", here.log.read_text)
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED"
        assert told(http_recorder, "WARNING rollcall serve: Prefect had lost deployments")
        wait_until(lambda: health_of(here) == 200, SECONDS, "that all is well again", here.log.read_text)


def test_watcher_and_status_api_begin_before_the_prefect_server_answers(shop: PostgresServer, tmp_path: Path) -> None:
    target = target_with(shop, tmp_path)
    log = tmp_path / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [BIN / "rollcall", "serve", "--config", str(target.file)],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        wait_until(lambda: len(children_of(process.pid, "leashed_server")) == 1, SECONDS, "the server", log.read_text)
        (server,) = children_of(process.pid, "leashed_server")
        os.kill(server, signal.SIGSTOP)
        wait_until(lambda: "checked in" in log.read_text(), SECONDS, "the watcher's first check", log.read_text)
        port = json.loads(target.file.read_text())["api"]["port"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30)
        assert refused.value.code == 503
        told_down = refused.value.read().decode()
        assert "Prefect server" in told_down and "watcher" not in told_down
        os.kill(server, signal.SIGCONT)
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def delete(here: Served, path: str) -> None:
    """Asks again where Prefect's SQLite was busy."""
    request = urllib.request.Request(f"{here.said['api']}/{path}", method="DELETE")

    def done() -> bool:
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 404
        return True

    wait_until(done, SECONDS, f"the end of {path}", here.log.read_text)


def metrics_of(here: Served) -> str:
    return str(urllib.request.urlopen(f"{here.said['status_api']}/metrics", timeout=30).read().decode())


def health_of(here: Served) -> int:
    try:
        return int(urllib.request.urlopen(f"{here.said['status_api']}/healthz", timeout=30).status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@contextmanager
def taken(host: str, port: int) -> Iterator[None]:
    """Somebody else listens there for as long as the block lasts."""
    deadline = time.monotonic() + 30
    while True:
        try:
            listener = socket.create_server((host, port))
            break
        except OSError:  # The killed one still has it.
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with listener:
        yield


def test_a_second_check_of_a_target_is_cancelled(shop: PostgresServer, tmp_path: Path) -> None:
    target = target_with(shop, tmp_path)
    with served(target.file) as here:
        with orders_locked(shop):
            first = begun(here, "verify")
            second = here.run("verify", NAME)
            assert second["state"]["type"] == "CANCELLED"
            assert "concurrency limit" in second["state"]["message"]
        assert here.end_of(first)["state"]["type"] == "COMPLETED"
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED", "the limit is free again"


def test_a_stop_lets_a_run_finish(shop: PostgresServer, tmp_path: Path) -> None:
    target = target_with(shop, tmp_path, grace=90)
    with served(target.file) as here:
        with orders_locked(shop):
            run = begun(here, "backup")
            here.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "run(s) at work" in here.log.read_text(), SECONDS, "the word that it waits")
            time.sleep(2)
            assert here.process.poll() is None
        assert here.process.wait(SECONDS) == 0
        assert len(manifests(target)) == 1
    own = {"PREFECT_API_URL": here.said["api"]}  # as whoever has the commands tracked there has set it
    with served(target.file, own) as here:
        assert state_of(here, run) == "COMPLETED"


def test_ctrl_c_lets_a_run_go_on_and_a_second_one_ends_it(shop: PostgresServer, tmp_path: Path) -> None:
    target = target_with(shop, tmp_path, grace=600)
    with served(target.file) as here, orders_locked(shop):
        run = begun(here, "backup")
        os.killpg(here.process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        wait_until(lambda: "run(s) at work" in here.log.read_text(), SECONDS, "the word that it waits")
        time.sleep(5)
        assert here.process.poll() is None and state_of(here, run) == "RUNNING"
        os.killpg(here.process.pid, signal.SIGINT)
        assert here.process.wait(SECONDS) == 0
        assert "Traceback" not in here.log.read_text()
    with served(target.file) as here:
        assert state_of(here, run) == "CANCELLED"
    assert manifests(target) == []


def test_a_scheduled_backup_that_a_stop_cut_off_is_started_again_once(shop: PostgresServer, tmp_path: Path) -> None:
    due = datetime.now(UTC) + timedelta(seconds=200)  # a serve on a busy machine takes a minute to start
    target = target_with(shop, tmp_path, grace=1, backup=in_cron(due))
    with orders_locked(shop):
        with served(target.file) as here:
            wait_until(lambda: states(here) == ["RUNNING"], 300, "the scheduled backup", here.log.read_text)
            assert here.stop() == 0
            assert "Traceback" not in here.log.read_text()
        assert manifests(target) == []
    with served(target.file) as here:
        wait_until(lambda: states(here) == ["CANCELLED", "COMPLETED"], SECONDS, "a second try", here.log.read_text)
        here.stop()
    with served(target.file) as here:
        assert states(here) == ["CANCELLED", "COMPLETED"]
    assert len(manifests(target)) == 1


def test_what_was_missed_is_caught_up_once(shop: PostgresServer, tmp_path: Path) -> None:
    due = datetime.now(UTC) + timedelta(minutes=4)
    target = target_with(shop, tmp_path, verify="* * * * *", backup=in_cron(due))
    with served(target.file) as here:
        assert here.stop() == 0
    stopped = datetime.now(UTC)
    assert stopped < due.replace(second=0), "started too slowly for this test"
    wait_until(lambda: datetime.now(UTC) > due + timedelta(minutes=1), 400, "the time at which the backup was due")
    with served(target.file) as here:
        wait_until(lambda: states(here) == ["COMPLETED"], SECONDS, "the missed backup", here.log.read_text)
        missed = [run for run in here.runs("verify", NAME) if _due(run) < datetime.now(UTC) - timedelta(seconds=90)]
        skipped = [run for run in missed if run["state"]["name"] == "Skipped"]
        assert len(skipped) >= 2, "the checks that came due while it was stopped, but for the last"
        assert len([run for run in missed if run["state"]["type"] == "COMPLETED" and _due(run) > stopped]) <= 1
    assert len(manifests(target)) == 1


def states(here: Served) -> list[str]:
    """Of the backups that have come due, the oldest first."""
    found = [run for run in here.runs("backup", NAME) if _due(run) < datetime.now(UTC)]
    return [run["state"]["type"] for run in found if run["state"]["type"] != "SCHEDULED"]


def _due(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["expected_start_time"])
