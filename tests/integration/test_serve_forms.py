"""The forms as Prefect's server enforces them, and the same deployments for a worker."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until
from tests.bed.serving import BIN, Served, clean_environment, end_of, free_port, served
from tests.bed.target import NAME, target_for

pytestmark = pytest.mark.slow

REFRESH_SECONDS = 180


def write(file: Path, **sections: Any) -> None:
    """Add sections to a configuration."""
    file.write_text(json.dumps(json.loads(file.read_text()) | sections))


def backups_offered(here: Served) -> list[str]:
    schema = here.deployment("restore-volume", NAME)["parameter_openapi_schema"]
    return list(schema["properties"]["backup"]["enum"])


def test_the_restore_form_offers_a_new_backup_and_takes_no_other(
    postgres15: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer], tmp_path: Path
) -> None:
    target = target_for(fresh_database(postgres15), tmp_path)
    write(target.file, serve={"port": free_port()}, schedules={"verify": "0 0 1 1 *"})
    with served(target.file) as here:
        assert backups_offered(here) == ["latest"]
        before = here.runs("backup", NAME)
        assert here.run("backup", NAME)["state"]["type"] == "COMPLETED"
        (backup,) = [path.parent.name for path in target.store.rglob("manifest.json")]
        wait_until(lambda: backups_offered(here) == ["latest", backup], REFRESH_SECONDS, "a new form")

        later = [run for run in here.runs("backup", NAME) if run["state"]["type"] == "SCHEDULED"]
        assert [run["expected_start_time"] for run in later] == [run["expected_start_time"] for run in before]
        planned = here.run("restore-volume", NAME, backup=backup)
        assert planned["state"]["type"] == "COMPLETED", planned["state"]
        assert planned["parameters"] == {
            "target": NAME,
            "config": str(target.file),
            "dry_run": True,
            "backup": backup,
        }
        for wrong in ({"backup": "no-such"}, {"target": "another"}):
            with pytest.raises(urllib.error.HTTPError) as refused:
                here.run("restore-volume", NAME, **wrong)
            assert refused.value.code in {409, 422}
            refused.value.close()


def test_serve_started_again_takes_over_what_was_paused_changed_and_removed(
    postgres15: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(postgres15, tmp_path)
    both = json.loads(target.file.read_text())
    both["targets"]["other"] = both["targets"][NAME]
    target.file.write_text(json.dumps(both | {"serve": {"port": free_port()}}))
    with served(target.file) as here:
        here.ask(f"deployments/{here.deployment('backup', NAME)['id']}/pause_deployment")
        assert here.deployment("backup", NAME)["paused"] is True
        here.stop()
    del both["targets"]["other"]
    schedules = {"backup": "0 5 * * *", "drill": "never", "timezone": "Asia/Tokyo"}
    target.file.write_text(json.dumps(both | {"serve": {"port": free_port()}, "schedules": schedules}))
    with served(target.file) as here:
        assert here.deployment("backup", NAME)["paused"] is False
        (schedule,) = here.deployment("backup", NAME)["schedules"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 5 * * *", "Asia/Tokyo")
        assert schedule["active"] is True
        assert {datetime.fromisoformat(run["expected_start_time"]).hour for run in here.runs("backup", NAME)} == {20}
        assert here.deployment("drill", NAME)["schedules"] == []
        assert [run for run in here.runs("drill", NAME) if run["state"]["type"] == "SCHEDULED"] == []
        assert {each["name"] for each in here.ask("deployments/filter")} == {NAME}


def test_a_worker_runs_what_deploy_made(postgres15: PostgresServer, tmp_path: Path) -> None:
    """On the server that a serve of another configuration keeps, as anybody's server would."""
    host, target = target_for(postgres15, tmp_path / "host"), target_for(postgres15, tmp_path / "worker")
    never = dict.fromkeys(("backup", "verify", "drill"), "never")
    write(host.file, serve={"port": free_port()}, schedules=never)
    both = json.loads(target.file.read_text())
    both["targets"]["archive"] = both["targets"].pop(NAME)
    target.file.write_text(json.dumps(both | {"schedules": never | {"backup": "0 3 * * *"}}))
    with served(host.file) as here:
        env = clean_environment() | {"PREFECT_API_URL": here.said["api"], "PREFECT_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [BIN / "rollcall", "deploy", "--json", "--work-pool", "hands", "--config", os.path.relpath(target.file)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "verify/archive" in json.loads(done.stdout)["deployed"]
        deployed = here.deployment("verify", "archive")
        assert deployed["work_pool_name"] == "hands"
        assert deployed["parameters"]["config"] == str(target.file)
        made = here.ask(f"deployments/{deployed['id']}/create_flow_run")
        worker = [BIN / "prefect", "worker", "start", "--pool", "hands", "--run-once"]
        ran = subprocess.run(worker, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
        assert end_of(here.said["api"], made["id"], here.log)["state"]["type"] == "COMPLETED", ran.stdout + ran.stderr


def test_deploy_without_a_server_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(
        "storages: {local: {type: local, path: b}}\n"
        "targets: {shop: {container: c, volume: v, database: d, storages: [local]}}\n"
    )
    env = clean_environment() | {"PREFECT_HOME": str(tmp_path)}

    done = subprocess.run(
        [BIN / "rollcall", "deploy", "--config", str(file)], env=env, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "rollcall: No Prefect API answers. Name a server in PREFECT_API_URL, or use rollcall serve, "
        "which brings its own.\n"
    )
