"""Alarms for what does not happen, on a real server: a target that never ran, a schedule that stopped, dead runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.bed.ports import free_port
from tests.bed.progress import ROOT, wait_until
from tests.bed.recorder import HttpRecorder

pytestmark = pytest.mark.slow

WAIT_SECONDS = 18
"""What the targets here wait for a backup: short, and longer than a busy machine needs between two events."""
DEADLINE = 240
# With its ten minutes shortened to the ten seconds that Prefect allows at least.
PROGRAM = "from deployments import automations, cli; automations.SILENT = 10.0; cli.main()"
# Killed once it has made its second automation.
KILLED = """
import os, signal
from deployments import cli, prefect_server

carry_out = prefect_server.carry_out

def die(client, planned):
    carry_out(client, planned[:2])
    os.kill(os.getpid(), signal.SIGKILL)

prefect_server.carry_out = die
cli.main()
"""

# As it was before an installation had an id: a hash of the path of its state folder.
FORMER = """
from deployments import automations_command, cli
from deployments.installation import former_installation

automations_command.installation = lambda state, make: former_installation(state)
cli.main()
"""


@dataclass(frozen=True)
class Scene:
    """A server, a configuration, and the web hook that its alarms go to."""

    api: str
    file: Path
    hook: HttpRecorder
    environment: dict[str, str]

    def elsewhere(self, folder: Path) -> Scene:
        """The same server, for a configuration in another folder."""
        folder.mkdir()
        return replace(self, file=folder / "targets.yaml")

    def configure(self, *targets: str) -> None:
        """Write a configuration with these targets."""
        target = {
            "container": "c", "volume": "v", "database": "d", "storages": ["local"],
            "max_age_hours": WAIT_SECONDS / 3600, "max_silence_minutes": 1440,
        }  # fmt: skip
        document = {
            "storages": {"local": {"type": "local", "path": "./backups"}},
            "notify": [{"url": {"env": "HOOK"}}],
            "targets": dict.fromkeys(targets, target),
        }
        self.file.write_text(json.dumps(document))

    def rollcall(self, *arguments: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-c", program, *arguments, "--config", str(self.file)],
            capture_output=True, text=True, timeout=240, env=self.environment, cwd=ROOT, check=False,
        )  # fmt: skip

    def apply(self, *options: str) -> dict[str, str]:
        """`automations apply`: what became of which automation."""
        done = self.rollcall("automations", "apply", "--json", *options)
        assert done.returncode == 0, done.stderr
        return {each["name"]: each["change"] for each in json.loads(done.stdout)["automations"]}

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer of the server's API; a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def emit(self, name: str, resource: str, related: tuple[dict[str, str], ...] = ()) -> None:
        """An event, as a run emits it."""
        event = {
            "event": name, "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": resource}, "related": related, "payload": {},
        }  # fmt: skip
        self.ask("events", [event])

    def run_of(self, state: str) -> str:
        """A flow run with the tag of ours, in this state; its id."""
        flow = self.ask("flows/", {"name": "backup"})["id"]
        body = {"flow_id": flow, "tags": ["rollcall"], "name": f"run-{state}", "state": {"type": "RUNNING"}}
        run = str(self.ask("flow_runs/", body)["id"])
        if state != "RUNNING":
            self.ask(f"flow_runs/{run}/set_state", {"state": {"type": state, "message": "the tests"}, "force": True})
        return run

    def told(self, beginning: str) -> bool:
        """True once a message with such a title arrived."""
        return any(each["title"].startswith(beginning) for each in self.hook.messages)

    def times(self, beginning: str) -> int:
        """How many messages with such a title arrived."""
        return sum(each["title"].startswith(beginning) for each in list(self.hook.messages))

    def wait_told(self, beginning: str) -> None:
        """Return once such a message arrived."""
        wait_until(lambda: self.told(beginning), DEADLINE, beginning, lambda: str(self.hook.messages))


@pytest.fixture
def scene(tmp_path: Path, http_recorder: HttpRecorder) -> Iterator[Scene]:
    """An empty server, a configuration with one target, its blocks made."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROLLCALL_"))}
    environment = kept | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HOOK": http_recorder.apprise_url,
    }
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    scene = Scene(api, tmp_path / "targets.yaml", http_recorder, environment)
    try:
        wait_until(lambda: _answers(scene), DEADLINE, "an answer of the Prefect server", log.read_text)
        yield scene
    finally:
        process.terminate()
        process.wait(30)


def _answers(scene: Scene) -> bool:
    try:
        return bool(scene.ask("health"))
    except OSError:
        return False


def test_what_does_not_happen_is_told_of(scene: Scene) -> None:
    scene.configure("idle", "busy")
    refused = scene.rollcall("automations", "apply")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "run: rollcall blocks apply" in refused.stderr
    blocks = scene.rollcall("blocks", "apply")
    assert blocks.returncode == 0, blocks.stderr

    planned = scene.apply("--dry-run")
    assert set(planned.values()) == {"create"}
    assert scene.ask("automations/filter", {}) == []
    made = scene.apply()
    assert made == planned
    assert len(made) == 8

    # One target never runs. The other does: for twice the wait, and then no more.
    for _ in range(12):
        scene.emit("rollcall.backup.stored", "rollcall.target.busy")
        _pause(3)
    assert not scene.told("MISSED busy")
    scene.wait_told("MISSED idle: no good backup")
    scene.wait_told("MISSED busy: no good backup")
    wait_until(lambda: scene.times("MISSED idle") >= 2, DEADLINE, "a reminder", lambda: str(scene.hook.messages))


def test_an_upgrade_takes_over_what_was_made_before_installations_had_an_id(scene: Scene) -> None:
    scene.configure("shop")
    for command in ("blocks", "automations"):
        assert scene.rollcall(command, "apply", program=FORMER).returncode == 0
    before = {each["id"]: each["description"] for each in scene.ask("automations/filter", {})}
    assert len(before) == 5
    assert not diagnosed(scene)["well"]

    assert scene.rollcall("blocks", "apply").returncode == 0
    assert set(scene.apply().values()) == {"update"}
    after = {each["id"]: each["description"] for each in scene.ask("automations/filter", {})}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert diagnosed(scene)["well"]


def diagnosed(scene: Scene) -> dict[str, Any]:
    """What `doctor` says of the automations."""
    (found,) = (
        each for each in json.loads(scene.rollcall("doctor", "--json").stdout) if each["subject"] == "automations"
    )
    return dict(found)


def test_what_is_on_the_server_follows_the_configuration(scene: Scene, tmp_path: Path) -> None:
    scene.configure("shop", "old")
    assert scene.rollcall("blocks", "apply").returncode == 0
    killed = scene.rollcall("automations", "apply", program=KILLED)
    assert killed.returncode == -signal.SIGKILL
    made = scene.apply()
    assert sorted(made.values()) == ["create"] * 6 + ["keep"] * 2
    before = {each["name"]: each["id"] for each in scene.ask("automations/filter", {})}
    assert len(before) == 8
    assert set(scene.apply().values()) == {"keep"}

    # Another host, whose configuration has the same paths in it, on the same server.
    other = scene.elsewhere(tmp_path / "other")
    other.configure("shop")
    assert other.rollcall("blocks", "apply").returncode == 0
    done = other.rollcall("automations", "apply")
    assert done.returncode == 0
    assert "Another installation on this server has a target shop, too" in done.stderr
    assert len(scene.ask("automations/filter", {})) == 8 + 5
    assert set(scene.apply().values()) == {"keep"}

    scene.configure("shop", "new")  # `old` under another name
    changes = scene.apply()
    assert {name for name, change in changes.items() if change == "remove"} == {
        name for name in before if " old " in name
    }
    assert {name for name, change in changes.items() if change == "create"} == {
        name.replace(" old ", " new ") for name in before if " old " in name
    }
    after = {each["id"] for each in scene.ask("automations/filter", {})}
    assert {identity for name, identity in before.items() if " old " not in name} < after
    assert len(after) == 8 + 5

    # What somebody switched off in the UI goes on.
    identity = before["rollcall: shop backup is missing"]
    switched = urllib.request.Request(
        f"{scene.api}/automations/{identity}",
        b'{"enabled": false}',
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    with urllib.request.urlopen(switched, timeout=30):
        assert scene.ask(f"automations/{identity}")["enabled"] is False
    assert scene.apply()["rollcall: shop backup is missing"] == "update"
    assert scene.ask(f"automations/{identity}")["enabled"] is True


def test_a_crashed_run_and_one_without_a_sign_of_life_are_told_of(scene: Scene) -> None:
    scene.configure("busy")
    assert scene.rollcall("blocks", "apply").returncode == 0
    scene.apply()

    scene.run_of("CRASHED")
    scene.wait_told("CRASHED run-CRASHED")

    run = scene.run_of("RUNNING")
    tag = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.rollcall"}
    scene.emit("prefect.flow-run.heartbeat", f"prefect.flow-run.{run}", (tag,))
    scene.wait_told("CRASHED run-RUNNING")
    assert scene.ask(f"flow_runs/{run}")["state_type"] == "CRASHED"


def _pause(seconds: float) -> None:
    """Time that has to pass: what is asserted after it is that nothing was told meanwhile."""
    time.sleep(seconds)
