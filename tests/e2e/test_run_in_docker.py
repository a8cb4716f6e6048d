"""Rollcall in containers, as docs/run-in-docker.md has it: the real compose files, images built here, a real target."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.checks.lock import only_run
from tests.bed import images, labels, rollcall_image
from tests.bed.compose import ComposeProject
from tests.bed.labels import Bed
from tests.bed.ports import free_port
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import ROOT, wait_until
from tests.bed.serving import OVER, ask
from tests.bed.target import NAME, Target, target_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FILES = ROOT / "deployments/docker"
PLAIN, PROXIED = ("compose.yaml",), ("compose.yaml", "compose.proxy.yaml")
USER = 10077  # Nobody of this machine, and not root.
ROWS = 85
SECONDS = 900  # for anything at all, however busy the machine is


@dataclass(frozen=True)
class Stack:
    """The compose project, the folder that it works in, and Prefect's API."""

    project: ComposeProject
    target: Target
    server: PostgresServer
    environment: dict[str, str]

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.environment['PREFECT_PORT']}/api"

    def compose(self, profile: str, *arguments: str, files: tuple[str, ...] = PLAIN) -> str:
        environment = self.environment | {"COMPOSE_PROFILES": profile}
        return self.project.compose(*arguments, files=files, env=environment, seconds=SECONDS)

    def up(self, profile: str, files: tuple[str, ...] = PLAIN) -> None:
        self.compose(profile, "up", "-d", files=files)

    def log(self, service: str) -> str:
        made = self.project.container(service)["Id"]
        return str(self.project.bed.client.containers.get(made).logs(tail=40).decode(errors="replace"))

    def health(self, service: str) -> str:
        return str(self.project.container(service)["State"]["Health"]["Status"])

    def run(self, flow: str, service: str) -> dict[str, Any]:
        """A run of the target's deployment, started through Prefect's API, once it is over."""
        found = ask(self.api, f"deployments/name/{flow}/{NAME}")
        made = ask(self.api, f"deployments/{found['id']}/create_flow_run", parameters={})
        wait_until(lambda: self._state(made["id"]) in OVER, SECONDS, f"the end of {flow}", lambda: self.log(service))
        ended: dict[str, Any] = ask(self.api, f"flow_runs/{made['id']}")
        return ended

    def _state(self, run: str) -> str:
        return str(ask(self.api, f"flow_runs/{run}")["state"]["type"])

    def artifacts(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(
            self.api, "artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}}
        )
        return found

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A program run in the service's container."""
        line = ["docker", "exec", self.project.container(service)["Id"], *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False)

    def rollcall(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.inside("serve", "env", "PREFECT_API_URL=", "rollcall", *arguments)


@pytest.fixture(scope="module")
def stack(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A target, a folder that belongs to a user of its own, and the project, not yet started."""
    rollcall_image.up()
    servers = PostgresServers(bed)
    server = servers(version=17, command=["-c", "fsync=off"])
    server.execute(f"CREATE TABLE experts AS SELECT generate_series(1, {ROWS}) AS i")
    folder = tmp_path_factory.mktemp("rollcall")
    target = target_for(server, folder, schedules=dict.fromkeys(("backup", "verify", "drill"), "0 0 1 1 *"))
    document = json.loads(target.file.read_text()) | {"api": {"port": free_port()}}
    target.file.write_text(json.dumps(document))
    project = ComposeProject(bed, bed.name("docker"), FILES)
    try:
        give_away(folder)
        yield Stack(project, target, server, environment(project, folder, document["api"]["port"]))
    finally:
        project.remove()
        servers.remove_all()
        for each in bed.client.volumes.list(filters={"name": f"{server.volume}.rollcall-"}):
            labels.remove(each)  # What the restore kept.


def environment(project: ComposeProject, folder: Path, health: int) -> dict[str, str]:
    """What a user's .env says."""
    names = ("PREFECT_DATABASE_VOLUME", "PREFECT_HOME_VOLUME", "ROLLCALL_EXCHANGE_VOLUME", "ROLLCALL_PROXY_VOLUME")
    return (
        dict(os.environ)
        | {name: f"{project.name}-{name.lower()}" for name in names}
        | {
            "ROLLCALL_HOME": str(folder),
            "ROLLCALL_UID": str(USER),
            "ROLLCALL_GID": str(USER),
            "DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
            "PREFECT_DB_PASSWORD": "of-this-test",
            "PREFECT_PORT": str(free_port()),
            "ROLLCALL_HEALTH_URL": f"http://127.0.0.1:{health}/healthz",
            "ROLLCALL_IMAGE": rollcall_image.IMAGE,
            "POSTGRES_IMAGE": images.tag(17),
            "PROXY_IMAGE": rollcall_image.PROXY,
        }
    )


def give_away(folder: Path) -> None:
    """Let the folder, all that is in it and the way to it be the user's."""
    for each in (folder, *folder.rglob("*")):
        os.chown(each, USER, USER)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o711)


REFUSED = [
    ("GET", "/secrets"),
    ("GET", "/swarm"),
    ("GET", "/v1.41/containers/json/../../secrets"),
    ("GET", "/containers/{id}/archive?path=/etc/shadow"),
    ("GET", "/containers/{id}/export"),
    ("POST", "/build"),
    ("POST", "/images/create?fromImage=x"),
    ("POST", "/containers/{id}/exec"),
    ("POST", "/containers/{id}/stop"),
    ("POST", "/volumes/create"),
    ("POST", "/volumes/prune"),
    ("DELETE", "/volumes/{volume}"),
    ("DELETE", "/images/x"),
]

ASK = """
import http.client, json, os, socket, sys
for method, path in json.load(sys.stdin):
    line = http.client.HTTPConnection("localhost")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
    line.request(method, path)
    print(line.getresponse().status)
"""


def test_serve_behind_the_proxy_verifies_and_backs_up_and_gets_nothing_else(stack: Stack) -> None:
    stack.up("serve", PROXIED)
    wait_until(lambda: is_deployed(stack, None), SECONDS, "the deployments", lambda: stack.log("serve"))

    backup = stack.run("backup", "serve")
    verify = stack.run("verify", "serve")

    assert (backup["state"]["type"], verify["state"]["type"]) == ("COMPLETED", "COMPLETED"), stack.log("serve")
    assert stack.artifacts(backup)
    assert stack.artifacts(verify)
    assert stack.health("serve") == "healthy"
    assert [each.stat().st_uid for each in stack.target.store.iterdir()] == [USER]
    assert statuses(stack, REFUSED) == [403] * len(REFUSED)
    assert statuses(stack, [("GET", "/version"), ("GET", "/v1.41/containers/json")]) == [200, 200]
    sockets = stack.inside("serve", "find", "/run/", "/var/run/", "-type", "s").stdout.splitlines()
    assert {Path(each).parent.name for each in sockets} == {"rollcall"}  # and not the engine's own
    refused = stack.rollcall("drill", NAME)
    assert refused.returncode == 1
    assert "drills and restores run on the host" in refused.stderr


def statuses(stack: Stack, asked: list[tuple[str, str]]) -> list[int]:
    known = {"id": stack.project.bed.client.containers.get(stack.server.container).id, "volume": stack.server.volume}
    given = json.dumps([(method, path.format(**known)) for method, path in asked])
    line = ["docker", "exec", "-i", stack.project.container("serve")["Id"], "python3", "-c", ASK]
    ran = subprocess.run(line, input=given, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return [int(each) for each in ran.stdout.split()]


def test_without_the_proxy_drills_and_restores_work_and_the_lock_holds_on_both_sides(stack: Stack) -> None:
    stack.compose("serve", "rm", "--stop", "--force", "serve", "socket-proxy", files=PROXIED)
    stack.up("serve")
    wait_until(lambda: stack.health("serve") == "healthy", SECONDS, "health", lambda: stack.log("serve"))

    stored = stack.rollcall("backup", NAME, "--json")
    assert stored.returncode == 0, stored.stderr
    with only_run(stack.target.config.state, NAME):
        kept_out = stack.rollcall("backup", NAME)
    drilled = stack.rollcall("drill", NAME)
    stack.server.execute("DELETE FROM experts WHERE i > 1")
    restored = stack.rollcall("restore-volume", NAME, "--backup", json.loads(stored.stdout)["id"], "--yes")

    assert kept_out.returncode == 1
    assert "Another run is at work" in kept_out.stderr
    assert "docker exec is used instead" not in stored.stderr
    assert drilled.returncode == 0, drilled.stderr
    assert restored.returncode == 0, restored.stderr
    assert stack.server.value("SELECT count(*) FROM experts") == ROWS


def test_in_a_docker_work_pool_each_run_is_a_container_like_the_worker(stack: Stack) -> None:
    stack.compose("serve", "rm", "--stop", "--force", "serve")
    stack.up("pool")
    wait_until(lambda: is_deployed(stack, "docker"), SECONDS, "the deployments", lambda: stack.log("worker"))

    verify = stack.run("verify", "worker")

    assert verify["state"]["type"] == "COMPLETED", stack.log("worker")
    assert stack.artifacts(verify)
    assert verify["infrastructure_pid"]
    await_removal(stack, verify)


def is_deployed(stack: Stack, pool: str | None) -> bool:
    """Whether Prefect has the target's deployment, for that work pool; `serve` itself needs none."""
    try:
        found = ask(stack.api, f"deployments/name/verify/{NAME}")
    except OSError:  # not there yet, or no server
        return False
    return bool(found["work_pool_name"] == pool)


def await_removal(stack: Stack, run: dict[str, Any]) -> None:
    """Wait until the run's container is gone: the engine needs a moment to remove one that has ended."""
    client = stack.project.bed.client
    mine = {"label": f"io.prefect.flow-run-id={run['id']}"}
    wait_until(lambda: not client.api.containers(all=True, filters=mine), SECONDS, "the container's removal")


def test_down_leaves_no_container_and_keeps_the_data(stack: Stack) -> None:
    stack.compose("pool", "down", files=PROXIED)

    ours = {"label": f"com.docker.compose.project={stack.project.name}"}
    assert stack.project.bed.client.api.containers(all=True, filters=ours) == []
    assert stack.environment["PREFECT_DATABASE_VOLUME"] in [
        each.name for each in stack.project.bed.client.volumes.list(filters=ours)
    ]
    assert stack.target.history.exists()
