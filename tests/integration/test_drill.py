"""A drill proves a backup, says how long it took, tells when it is not proven, and leaves nothing behind."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest

from flows import drill as drill_flow
from tasks.alerts import progress
from tasks.alerts.artifacts import size
from tasks.checks.lock import only_run
from tasks.checks.shelves import freshness_findings, shelves
from tasks.containers.engine import OUR_LABEL
from tasks.containers.volumes import OWNER_LABEL
from tasks.errors import Busy, RestoreFailed
from tasks.history.records import Run
from tasks.history.store import open_history
from tasks.models import Manifest
from tasks.restore.drill import DrillResult, owner_of
from tasks.storage.catalogue import serialised
from tests.bed.postgres import PostgresServer
from tests.bed.progress import ROOT, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.target import NAME, Target, target_for


@pytest.fixture
def server(postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]) -> PostgresServer:
    made = fresh_database(postgres17)
    made.execute(
        "CREATE TABLE experts AS SELECT generate_series(1, 85) AS id",
        "CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(n::text) FROM generate_series(1, 2000) AS n",
    )
    return made


@pytest.fixture
def target(
    server: PostgresServer, tmp_path: Path, engine: docker.DockerClient, http_recorder: HttpRecorder
) -> Iterator[Target]:
    """A target whose drills must leave nothing, whatever became of them."""
    made = target_for(server, tmp_path, databases=[])
    document = json.loads(made.file.read_text())
    url = tmp_path / "url"
    url.write_text(http_recorder.apprise_url)
    url.chmod(0o600)
    document["notify"] = [{"url": {"file": str(url)}}]
    made.file.write_text(json.dumps(document))
    yield made
    assert left_of(engine, made) == []
    assert list((tmp_path / "state").glob("rebuild/*")) == []


def left_of(engine: docker.DockerClient, target: Target) -> list[str]:
    owner = owner_of(target.config, NAME)
    containers = engine.api.containers(all=True, filters={"label": f"{OUR_LABEL}={owner}"})
    volumes = engine.api.volumes(filters={"label": f"{OWNER_LABEL}={owner}"})["Volumes"] or []
    return [each["Id"] for each in containers] + [each["Name"] for each in volumes]


def drill(target: Target, backup: str = "latest") -> DrillResult:
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    result: DrillResult = run(NAME, str(target.file), backup)
    return result


def recorded(target: Target) -> list[Run]:
    with open_history(target.config.history) as history:
        return history.runs(NAME, "drill")


def off_by_one(target: Target, manifest: Manifest) -> None:
    """Write a manifest that is whole and wrong: its tally says one row more."""
    counts = {**manifest.tally.counts, "public.experts": 86}
    wrong = manifest.model_copy(update={"tally": manifest.tally.model_copy(update={"counts": counts})})
    path = target.path(f"{NAME}/{manifest.id}/manifest.json")
    path.chmod(0o600)
    path.write_bytes(serialised(wrong))


def test_a_proven_backup_is_noted_where_it_is_kept_with_the_time_that_it_took(
    target: Target, http_recorder: HttpRecorder
) -> None:
    taken = target.backup()
    late = datetime.now(UTC) + timedelta(days=15)  # A drill a week is missed after two.
    assert "backup.unproven" in codes(target, late)
    result = drill(target)
    assert (result.proven, result.backup, result.storages) == (True, taken.id, ["local"])
    assert result.rows == {taken.database: 2085}
    assert result.tables == 2
    assert result.differences == []
    assert result.rto_seconds >= sum(result.timings.values()) - 1
    assert shelves(target.config, NAME).backups[0].proven_at == result.proven_at
    (run,) = recorded(target)
    assert (run.outcome, run.message) == ("proven", f"{taken.id} in {result.rto_seconds:.1f} s")
    assert "backup.unproven" not in codes(target, late - timedelta(days=2))
    assert http_recorder.messages == []


@pytest.mark.slow
def test_a_damaged_copy_in_another_storage_is_told_and_not_called_proven(target: Target, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    document = json.loads(target.file.read_text())
    document["storages"]["other"] = {"type": "local", "path": "./other"}
    document["targets"][NAME]["storages"] = ["other", "local"]
    target.file.write_text(json.dumps(document))
    taken = target.backup()
    assert sorted(drill(target).storages) == ["local", "other"]
    dump = next(each.key for each in taken.objects if each.role == "dump")
    file = tmp_path / "other" / dump
    file.chmod(0o600)
    file.write_bytes(b"")
    result = drill(target)
    assert (result.proven, result.storages) == (True, ["local"])
    assert [note for note in result.notes if note.startswith("The copy in other is damaged")] != []
    assert shelves(target.config, NAME).backups[0].proven_in == ["local"]


@pytest.mark.slow
def test_how_far_a_backup_and_a_drill_are_is_told_by_the_bytes_that_are_there(
    target: Target, server: PostgresServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger="rollcall")
    noise = " || ".join(f"md5((n * {number})::text)" for number in range(1, 10))  # Of a few bytes no fetching is seen.
    server.execute(f"INSERT INTO knowledge_nodes SELECT n, {noise} FROM generate_series(1, 200000) n")
    database = target.backup().database
    first = told(caplog)
    target.backup()
    second = told(caplog)
    assert drill(target).proven
    third = told(caplog)

    def seen(lines: list[str], pattern: str) -> list[str]:
        return [line for line in lines if re.search(pattern, line)]

    assert seen(first, rf"dumping {database}: [\d.]+ MB of about [\d.]+ MB"), first
    # What the first dump was is what the second is expected to be.
    raw = sum(each.raw_bytes for each in shelves(target.config, NAME).backups[0].manifest.objects if each.database)
    assert seen(second, rf"dumping {database}: .* of about {re.escape(size(raw))}"), second
    for stage in ("fetching backup", f"unpacking {database}", rf"loading {database}: [\d.]+ MB of about", "counting"):
        assert seen(third, stage), third
    percent = [float(line.rpartition("(")[2].partition(" ")[0]) for line in third]
    assert percent == sorted(percent) and percent[0] < 15 and percent[-1] > 80


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of progress since the last time."""
    lines = [line for line in caplog.messages if line.endswith(" %)")]
    caplog.clear()
    return lines


def codes(target: Target, now: datetime) -> list[str]:
    found = shelves(target.config, NAME)
    return [each.code for each in freshness_findings(target.config, NAME, found, now)]


def test_a_backup_that_is_off_by_one_row_is_not_proven_and_somebody_hears_of_it(
    target: Target, http_recorder: HttpRecorder
) -> None:
    taken = target.backup()
    off_by_one(target, taken)
    result = drill(target, taken.id)
    assert not result.proven
    assert result.differences == [f"{taken.database}: rows in public.experts: 85 instead of 86"]
    assert shelves(target.config, NAME).backups[0].proven_at is None
    (run,) = recorded(target)
    assert run.outcome == "not proven"
    assert "85 instead of 86" in run.message
    (message,) = http_recorder.messages
    assert "drill" in message["title"]
    assert "85 instead of 86" in message["message"].replace("\n", " ")


def test_what_says_nothing_about_the_backup_is_a_failure_and_no_verdict(
    target: Target, server: PostgresServer, http_recorder: HttpRecorder
) -> None:
    target.backup()
    document = json.loads(target.file.read_text())
    document["targets"][NAME]["deadline"] = 0.01
    target.file.write_text(json.dumps(document))
    with pytest.raises(RestoreFailed, match=r"did not end within 0\.01 s"):
        drill(target)
    (run,) = recorded(target)
    assert run.outcome == "failed"
    assert len(http_recorder.messages) == 1


def test_a_drill_holds_up_no_backup_and_only_another_drill(target: Target) -> None:
    target.backup()
    with only_run(target.config.state, NAME):
        assert drill(target).proven
    with only_run(target.config.state, f"{NAME}/drill"):
        target.backup()
        with pytest.raises(Busy):
            drill(target)


DRILL = "import sys; from flows.drill import drill; drill(sys.argv[1], sys.argv[2])"


def test_a_killed_drill_runs_nothing_more_and_the_next_one_removes_what_it_left(
    target: Target, engine: docker.DockerClient
) -> None:
    target.backup()
    process = subprocess.Popen([sys.executable, "-c", DRILL, NAME, str(target.file)], cwd=ROOT)
    with process:
        wait_until(lambda: len(left_of(engine, target)) > 1, 180, "a drill that is at work")
        os.kill(process.pid, signal.SIGKILL)
    label = {"label": f"{OUR_LABEL}={owner_of(target.config, NAME)}"}
    wait_until(lambda: engine.api.containers(filters=label) == [], 180, "the end of its containers")
    assert drill(target).proven


@pytest.mark.parametrize("more", [[], ["--backup", "20260101T000000Z-0000"]])
def test_where_there_is_nothing_to_prove_the_command_fails(target: Target, more: list[str]) -> None:
    """A code of its own, 3, is for what refused to change something."""
    line = [sys.executable, "-m", "deployments", "drill", NAME, "--config", str(target.file), *more]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "backup" in ran.stderr and "Traceback" not in ran.stderr
