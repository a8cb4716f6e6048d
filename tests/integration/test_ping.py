"""The watcher outside is really called: when a run begins, when it ends, and with what words; and it costs no run."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tasks.alerts import ping
from tasks.alerts.ping import call, finish, ping_done, ping_start
from tasks.errors import ConfigError, NotificationFailed
from tasks.secrets import EnvReference, reveal
from tests.bed.postgres import PostgresServer
from tests.bed.prefect_server import Prefect
from tests.bed.progress import ROOT
from tests.bed.recorder import HttpRecorder
from tests.bed.target import NAME, target_for

SECRET = "5f0c-hunter2"
URL = EnvReference(env="PING_URL")


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, http_recorder: HttpRecorder) -> HttpRecorder:
    """The recorder, behind a URL whose path is a secret."""
    monkeypatch.setenv(URL.env, f"{http_recorder.url}{SECRET}")
    return http_recorder


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """However chatty the logging, the URL is in no log and on no stream after any test here."""
    caplog.set_level(1)
    yield
    captured = capfd.readouterr()
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert [line for line in (*logged, caplog.text, captured.out, captured.err) if SECRET in line] == []


def no_wait(_seconds: float) -> None:
    """Between tries."""


def test_a_start_a_success_and_a_failure_go_to_their_own_addresses_with_a_sentence(watcher: HttpRecorder) -> None:
    call(reveal(URL), "start", "It begins.")
    call(reveal(URL), "success", "It is done.")
    call(reveal(URL), "fail", "It is not.")

    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}", f"/{SECRET}/fail"]
    assert watcher.messages == ["It begins.", "It is done.", "It is not."]


def test_what_follows_a_question_mark_stays_behind_the_path(
    watcher: HttpRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL.env, f"{watcher.url}{SECRET}/?create=1\n")
    call(reveal(URL), "fail", "no")
    assert watcher.paths == [f"/{SECRET}/fail?create=1"]


def test_a_server_in_trouble_is_tried_again_and_a_refusal_is_not(watcher: HttpRecorder) -> None:
    watcher.answer_with(503)
    with pytest.raises(NotificationFailed, match="answered 503"):
        call(reveal(URL), "success", "done", sleep=no_wait)
    assert len(watcher.paths) == 3

    watcher.answer_with(404)
    with pytest.raises(NotificationFailed, match="answered 404"):
        call(reveal(URL), "success", "done", sleep=no_wait)
    assert len(watcher.paths) == 4


def test_a_server_that_never_answers_is_given_up(watcher: HttpRecorder) -> None:
    watcher.stall()
    with pytest.raises(NotificationFailed, match="could not be reached"):
        call(reveal(URL), "success", "done", timeout=0.2, sleep=no_wait)
    watcher.wait_for(3)  # It takes them up when it has the time, long after whoever called has given up.
    assert len(watcher.paths) == 3


@pytest.mark.parametrize("url", [f"file:///etc/{SECRET}", SECRET, f"https:///{SECRET}", f"http://[{SECRET}/"])
def test_what_is_no_address_of_the_web_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL.env, url)
    with pytest.raises(ConfigError, match="holds no URL"):
        call(reveal(URL), "start", "It begins.")


def test_a_verify_calls_at_both_its_ends_and_a_critical_verdict_is_a_failure(
    watcher: HttpRecorder,
    postgres17: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
    tmp_path: Path,
) -> None:
    target = target_for(fresh_database(postgres17), tmp_path, ping={"verify": {"env": URL.env}})
    good = target.verify()
    finish()
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}"]
    assert watcher.messages[-1].startswith(f"The verify of {NAME} came to its end: {good.verdict}.")

    gone = target_for(postgres17, tmp_path, volume="another", ping={"url": {"env": URL.env}}).verify()
    assert gone.verdict == "critical"
    finish()
    assert watcher.paths[2:] == [f"/{SECRET}/start", f"/{SECRET}/fail"]
    assert gone.findings[0].message in watcher.messages[-1]


def test_a_backup_that_fails_calls_with_its_reason(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(postgres17, tmp_path, container="gone", volume="gone", ping={"backup": {"env": URL.env}})
    with pytest.raises(Exception, match="gone"):
        target.backup()
    finish()
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}/fail"]
    assert "gone" in watcher.messages[-1]


def test_a_watcher_that_refuses_costs_no_run_and_is_told_of(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher.answer_with(404)
    result = target_for(postgres17, tmp_path, volume="another", ping={"url": {"env": URL.env}}).verify()
    assert result.verdict == "critical"
    finish()
    warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "The watcher outside could not be told of the verify (fail): it answered 404." in warned


def test_a_watcher_that_never_answers_keeps_no_run_waiting(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than any verify takes: the call of its end waits for that of its start, until that is given up.
    monkeypatch.setattr(ping, "call", partial(call, timeout=300))
    watcher.stall()
    result = target_for(postgres17, tmp_path, volume="another", ping={"url": {"env": URL.env}}).verify()
    assert result.verdict == "critical"
    watcher.wait_for(1)
    assert watcher.paths == [f"/{SECRET}/start"], "the call of its start still waits, and that of its end for that"
    watcher.resume()
    finish(120)
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}/fail"]


def test_a_process_that_ends_makes_its_calls_first(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(postgres17, tmp_path, volume="another", ping={"url": {"env": URL.env}})
    environment = os.environ | {"PREFECT_API_URL": ""}
    line = [sys.executable, "-m", "deployments", "verify", NAME, "--config", str(target.file)]
    subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}/fail"]


def test_a_killed_run_calls_no_more_after_its_start(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(postgres17, tmp_path, ping={"verify": {"env": URL.env}})
    watcher.stall()  # so that it is killed for certain while it runs
    run = subprocess.Popen(
        [sys.executable, "-m", "deployments", "verify", NAME, "--config", str(target.file)],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    watcher.wait_for(1, seconds=60)
    run.kill()
    run.wait(30)
    watcher.resume()
    assert watcher.paths == [f"/{SECRET}/start"]


def test_where_no_thread_can_be_started_the_call_is_made_all_the_same(
    watcher: HttpRecorder, postgres17: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the limit of `ulimit -u` or of a container's pids; and once there are threads again, all is as before."""

    start = threading.Thread.start

    def none(thread: threading.Thread) -> None:
        if thread.name == "rollcall-ping":  # The recorder needs its own.
            raise RuntimeError("can't start new thread")
        start(thread)

    target = target_for(postgres17, tmp_path, container="gone", volume="gone", ping={"url": {"env": URL.env}})
    with monkeypatch.context() as full:
        full.setattr("threading.Thread.start", none)
        ping_start(target.config, NAME, "verify")
        ping_done(target.config, NAME, "verify")
    ping_start(target.config, NAME, "verify")
    finish()
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}", f"/{SECRET}/start"]


@pytest.mark.slow
def test_a_url_in_a_prefect_block_is_called_also_by_a_process_that_ends(
    watcher: HttpRecorder, postgres17: PostgresServer, prefect_server: Prefect, tmp_path: Path
) -> None:
    """As soon as nothing but the calls is left, Python's executors, which Prefect needs, are shut."""
    block = "ping-" + tmp_path.name.replace("_", "-")[:20]
    target = target_for(postgres17, tmp_path, ping={"url": {"block": block}})
    api = prefect_server.api.replace("127.0.0.1", "localhost")  # A name, which is looked up in an executor.
    environment = prefect_server.environment | {URL.env: os.environ[URL.env], "PREFECT_API_URL": api}

    def run(*line: str) -> str:
        return subprocess.run(
            [sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=True, text=True
        ).stderr

    run("-m", "deployments", "blocks", "apply", f"--secret={block}={URL.env}", "--config", str(target.file))
    arguments = f"load({str(target.file)!r}), {NAME!r}, 'verify'"
    imports = "from tasks.alerts.ping import ping_done, ping_start; from tasks.config import load"
    complaints = run("-c", f"{imports}; ping_start({arguments}); ping_done({arguments})")
    assert "could not be told" not in complaints
    assert watcher.paths == [f"/{SECRET}/start", f"/{SECRET}"]
