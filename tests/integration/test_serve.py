"""`rollcall serve` on real parts: a Prefect server of its own, schedules, a run from the API, a clean stop."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until
from tests.bed.serving import BIN, Served, clean_environment, own_ports, served
from tests.bed.target import NAME, target_for

FLOWS = {"backup", "verify", "drill", "restore-volume", "recover"}
A_YEAR_AHEAD = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "380",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "380",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME": "P400D",
}
BERLIN = {"backup": "0 2 * * *", "drill": "never", "timezone": "Europe/Berlin"}


def configured(server: PostgresServer, folder: Path, **sections: Any) -> Path:
    """A configuration of one target, with sections of its own and a port that nobody has."""
    target = target_for(server, folder, schedules=sections.pop("of_target", {}))
    document = json.loads(target.file.read_text())
    ports = own_ports(**{"grace": 30} | sections.pop("serve", {}))
    target.file.write_text(json.dumps(document | ports | sections, indent=1))
    return target.file


def serve_again(file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "rollcall", "serve", "--config", str(file)],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def far_off() -> int:
    """A minute of the hour that does not come while these tests run: a check that begins by itself is in their way."""
    return (datetime.now(UTC).minute + 30) % 60


@pytest.fixture(scope="module")
def running(postgres15: PostgresServer, tmp_path_factory: pytest.TempPathFactory, far_off: int) -> Iterator[Served]:
    schedules = BERLIN | {"verify": f"{far_off} * * * *"}
    folder = tmp_path_factory.mktemp("served")
    file = configured(postgres15, folder, schedules=schedules, of_target={"drill": "0 4 * * 0"})
    with served(file, A_YEAR_AHEAD) as here:
        yield here


def test_every_flow_has_a_deployment_with_its_schedule(running: Served, far_off: int) -> None:
    found = {each["tags"][1]: each for each in running.ask("deployments/filter")}
    assert found.keys() == FLOWS
    assert {each["name"] for each in found.values()} == {NAME}

    schedules = {flow: [one["schedule"] for one in each["schedules"]] for flow, each in found.items()}
    assert [(one["cron"], one["timezone"]) for one in schedules["backup"]] == [("0 2 * * *", "Europe/Berlin")]
    assert [(one["cron"], one["timezone"]) for one in schedules["verify"]] == [(f"{far_off} * * * *", "Europe/Berlin")]
    assert [(one["cron"], one["timezone"]) for one in schedules["drill"]] == [("0 4 * * 0", "Europe/Berlin")]
    assert schedules["restore-volume"] == schedules["recover"] == []

    assert running.said["next_runs"][NAME].keys() == {"backup", "verify", "drill"}
    due = datetime.fromisoformat(running.said["next_runs"][NAME]["verify"])
    assert due > datetime.now(UTC) and due.minute == far_off
    planned = running.runs("verify", NAME)[0]
    assert planned["state"]["type"] == "SCHEDULED"


def test_a_nightly_backup_is_planned_once_a_night_when_the_clocks_change(running: Served) -> None:
    """What the server's scheduler itself has planned, a year ahead: both changes are in it, whatever today is."""
    zone = ZoneInfo("Europe/Berlin")
    due = [datetime.fromisoformat(run["expected_start_time"]) for run in running.runs("backup", NAME)]
    nights = [each.astimezone(zone).date() for each in due]
    assert len(due) == 380
    assert nights == [nights[0] + timedelta(days=day) for day in range(380)], "each night once"

    offsets = [
        (datetime.combine(night, time(0), zone).utcoffset(), datetime.combine(night, time(12), zone).utcoffset())
        for night in nights
    ]
    winter = timedelta(hours=1)
    assert [each.hour for each in due] == [1 if offset == (winter, winter) else 0 for offset in offsets]
    assert {each.minute for each in due} == {0}
    changes = [offset for offset in offsets if offset[0] != offset[1]]
    assert len(changes) >= 2, (
        "in the night to summer an hour early, for 02:00 is not; in the night to winter at the first"
    )


def test_the_forms_offer_what_there_is_and_the_restore_is_safe_as_it_comes(running: Served) -> None:
    for flow in FLOWS:
        each = running.deployment(flow, NAME)
        fields = each["parameter_openapi_schema"]["properties"]
        assert fields["target"]["enum"] == [NAME], "a drop-down, that names no other target"
        assert "config" not in fields and Path(each["parameters"]["config"]).is_absolute()
        assert all(field["description"] for field in fields.values()), "every field has a help text"
        assert each["description"] and each["enforce_parameter_schema"] is True
    restore = running.deployment("restore-volume", NAME)
    assert restore["parameters"]["dry_run"] is True
    assert restore["parameter_openapi_schema"]["properties"]["backup"]["enum"] == ["latest"]


def test_a_check_of_the_watcher_brings_the_page_of_all_targets_up_to_date(running: Served) -> None:
    """Nothing has run that Prefect tracks: the page is of the watcher's first look."""

    def published() -> list[dict[str, Any]]:
        return [each for each in running.ask("artifacts/filter") if each["key"] == "rollcall-targets"]

    wait_until(lambda: bool(published()), 120, "the page", running.log.read_text)
    page = published()[0]
    assert page["flow_run_id"] is None
    assert NAME in page["data"] and "never" not in page["data"]


def test_a_check_from_the_ui_runs_to_its_end(running: Served) -> None:
    run = running.run("verify", NAME)

    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["name"] == f"verify {NAME}"
    assert any(each["key"] == f"verify-{NAME}" for each in running.ask("artifacts/filter"))


def test_a_second_serve_is_refused_in_one_sentence(running: Served) -> None:
    file = running.log.parent / "targets.yaml"
    second = serve_again(file)

    assert second.returncode == 1
    state = file.parent / "state"
    assert second.stderr == (
        f"rollcall: Another rollcall serve (process {running.process.pid}) uses {state}; stop that one first.\n"
    )


def test_a_taken_port_is_one_sentence(running: Served, tmp_path: Path) -> None:
    port = int(running.said["api"].split(":")[2].split("/")[0])
    document = json.loads((running.log.parent / "targets.yaml").read_text()) | own_ports(port=port)
    file = tmp_path / "targets.yaml"
    file.write_text(json.dumps(document))

    refused = serve_again(file)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"rollcall: Port {port} of 127.0.0.1 is taken or not ours to take;")
    assert refused.stderr.count("\n") == 1


def test_an_api_that_is_configured_and_does_not_answer_is_one_sentence(
    tmp_path: Path, postgres15: PostgresServer
) -> None:
    file = configured(postgres15, tmp_path)

    with socket.socket() as silent:  # Taken, so that nobody else comes to listen there.
        silent.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        refused = serve_again(file, PREFECT_API_URL=api)

    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"rollcall: The Prefect API at {api} does not answer. PREFECT_API_URL or the active profile names it."
    )
    assert refused.stderr.count("\n") == 1


def test_it_stops_cleanly_with_its_server(running: Served) -> None:
    assert running.stop() == 0
    with pytest.raises(OSError, match="refused"):
        running.ask("health")
    assert "Traceback" not in running.log.read_text()
