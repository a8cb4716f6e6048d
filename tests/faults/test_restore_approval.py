"""A restore that waits in Prefect for a person: a form under the plan; a wrong name refuses, the right one approves."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bed.prefect_server import Prefect
from tests.bed.progress import ROOT, wait_until
from tests.bed.serving import clean_environment
from tests.faults.restore_scene import Scene, Scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUN = """
import prefect, sys
from flows.restore_volume import restore_volume
report = restore_volume(sys.argv[1], sys.argv[2], backup="latest", dry_run=False)
print(report.model_dump_json())
"""


@contextmanager
def running(made: Scene, server: Prefect) -> Iterator[subprocess.Popen[str]]:
    """The flow as a worker runs it, waiting for its form."""
    environment = clean_environment() | made.victim.environment | server.environment
    command = [sys.executable, "-c", RUN, made.victim.name, str(made.victim.config)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def paused(server: Prefect) -> dict[str, Any] | None:
    """The run that waits, if there is one."""
    found = server.ask("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["PAUSED"]}}})
    return found[0] if found else None


def waiting(server: Prefect) -> dict[str, Any]:
    wait_until(lambda: paused(server) is not None, 180, "a run that waits for approval")
    run = paused(server)
    assert run is not None
    return run


def answer(server: Prefect, run: dict[str, Any], **typed: str) -> Any:
    """What the button Resume sends."""
    data = json.dumps({"run_input": typed}).encode()
    request = urllib.request.Request(
        f"{server.api}/flow_runs/{run['id']}/resume", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as given:
        return json.load(given)


def form_text(server: Prefect, run: dict[str, Any]) -> str:
    """The words above the form. Prefect pauses the run first, and then stores them."""
    key = f"{run['state']['state_details']['run_input_keyset']['description']}"
    said: list[str] = []

    def stored() -> bool:
        try:
            with urllib.request.urlopen(f"{server.api}/flow_runs/{run['id']}/input/{key}", timeout=60) as given:
                said.append(str(json.load(given)))
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    wait_until(stored, 60, "the words above the form")
    return said[0]


def test_a_person_reads_the_plan_refuses_and_then_approves(
    scenes: Scenes,
    prefect_server: Prefect,
) -> None:
    with scenes("restore", 17) as made:
        with running(made, prefect_server) as flow:
            run = waiting(prefect_server)
            plan = form_text(prefect_server, run)
            assert "rows after" in plan and "public.knowledge_nodes" in plan and "2,000" in plan
            answer(prefect_server, run, target_name="the wrong one", approved_by="ann")
            flow.wait(120)
            assert made.state() == "old"
            assert made.staging() == []
        with running(made, prefect_server) as flow:
            answer(prefect_server, waiting(prefect_server), target_name=made.victim.name, approved_by="ann")
            output, errors = flow.communicate(timeout=240)
        assert flow.returncode == 0, errors
        report = json.loads(output.strip().splitlines()[-1])
        assert (report["outcome"], report["approved_by"]) == ("done", "ann")
        assert made.is_consistent() == "new"
        kinds = {(each["key"] or "").partition("-scene")[0] for each in prefect_server.ask("artifacts/filter")}
        assert {"restore-plan", "restore"} <= kinds
