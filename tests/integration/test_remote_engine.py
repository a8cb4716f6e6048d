"""Targets on another machine's engine, by TLS and by ssh: what works, what is refused, and never the wrong engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.containers.engine import engine, host_of, shares_this_kernel
from tasks.databases.reach import listens
from tasks.sections import Docker
from tests.bed import images
from tests.bed.certificates import Authority
from tests.bed.compose import compose_command
from tests.bed.labels import Bed
from tests.bed.ports import free_port
from tests.bed.postgres import PASSWORD, PORT, USER
from tests.bed.progress import ROOT, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.remote_engine import ADDRESS, RemoteEngine, remote_engine
from tests.bed.serving import clean_environment
from tests.bed.watched import DATABASE, Incident, told, wait_for_line, watching

VOLUME = images.RECIPES[17].volume
HERE, THERE = {"experts": 7, "nodes": 70}, {"experts": 85, "nodes": 26_337}
SECONDS = 240


@pytest.fixture(scope="module")
def far() -> Iterator[RemoteEngine]:
    with remote_engine() as remote:
        yield remote


@pytest.fixture(scope="module")
def far_with_image(far: RemoteEngine) -> RemoteEngine:
    far.load(images.tag(17))
    return far


@dataclass
class Scene:
    """A configuration for a target on the remote engine, and the command line."""

    folder: Path
    far: RemoteEngine
    container: str = "knowledge_postgres"
    volume: str = "atra_knowledge_postgres_data"
    docker: dict[str, str] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "targets.yaml"

    def configure(self, docker: dict[str, str] | None, **rules: Any) -> Scene:
        """Write the configuration, with the engine at its top."""
        target = {
            "container": self.container, "volume": self.volume, "database": DATABASE, "user": USER,
            "password": {"env": "FAR_PASSWORD"}, "storages": ["local"],
        }  # fmt: skip
        document = {
            "docker": docker, "storages": {"local": {"type": "local", "path": "./backups"}},
            "targets": {"far": target | rules}, **self.more,
        }  # fmt: skip
        if docker is None:
            del document["docker"]
        self.file.write_text(json.dumps(document, indent=1))
        return self

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | {"PATH": self.far.ssh_first, "FAR_PASSWORD": PASSWORD}

    def rollcall(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "deployments", *words, "--config", str(self.file)],
            capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False,
            env=self.environment | environ, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def json(self, *words: str) -> Any:
        """The document that a command prints."""
        done = self.rollcall(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def scene(far: RemoteEngine, tmp_path: Path) -> Scene:
    far.know_host_key()
    return Scene(tmp_path, far)


@pytest.mark.parametrize("how", ["by_tls", "by_ssh"])
def test_an_engine_elsewhere_is_reached_and_known_to_be_elsewhere(
    far: RemoteEngine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", far.ssh_first)

    with engine(Docker.model_validate(getattr(far, how))) as client:
        assert client.info()["Name"] == "far"
        assert host_of(client) == ADDRESS
        assert not shares_this_kernel(client)
    with engine(None) as client:
        assert client.info()["Name"] != "far"


def test_the_environment_may_name_an_engine_elsewhere_too(far: RemoteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", far.ssh_first)
    monkeypatch.setenv("DOCKER_HOST", "ssh://far")

    with engine(None) as client:
        assert (client.info()["Name"], host_of(client)) == ("far", ADDRESS)


def refused(scene: Scene, docker: dict[str, str]) -> str:
    """The one sentence that verify says of an engine that it cannot use."""
    done = scene.configure(docker).rollcall("verify", "far")
    assert done.returncode == 1, done.stdout
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert [line for line in lines if line.startswith("rollcall: ")] == lines[-1:]
    return lines[-1]


def test_a_certificate_of_another_authority_is_not_believed(scene: Scene, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")

    said = refused(scene, scene.far.by_tls | {"tls_ca": str(other.file)})

    assert f"tcp://{ADDRESS}:2376" in said
    assert "see that tls_ca is the authority" in said


def test_an_engine_that_does_not_accept_our_certificate_says_so(scene: Scene, tmp_path: Path) -> None:
    mine = Authority(tmp_path / "other", "other").client("me")

    said = refused(scene, scene.far.by_tls | {"tls_cert": str(mine.certificate), "tls_key": str(mine.key)})

    assert "it does not accept our certificate" in said


def test_a_missing_certificate_is_named(scene: Scene, tmp_path: Path) -> None:
    said = refused(scene, scene.far.by_tls | {"tls_ca": str(tmp_path / "none.pem")})

    assert f"{tmp_path}/none.pem, which cannot be read: No such file or directory" in said


def test_an_ssh_host_that_is_not_known_or_is_another_one_is_not_believed(scene: Scene) -> None:
    scene.far.forget_host_key()
    unknown = refused(scene, scene.far.by_ssh)
    scene.far.know_host_key(scene.far.make_key(f"other_host_{time.time_ns()}"))
    another = refused(scene, scene.far.by_ssh)

    assert "connect once by hand with ssh" in unknown
    assert "connect once by hand with ssh" in another


def test_a_user_without_the_key_is_not_let_in(scene: Scene) -> None:
    key = scene.far.folder / "user_key"
    key.rename(key.with_name("away"))
    try:
        said = refused(scene, scene.far.by_ssh)
    finally:
        key.with_name("away").rename(key)

    assert "ssh was not let in" in said


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp with TLS", "tcp", "ssh"])
def test_an_engine_that_is_not_there_is_told_so(scene: Scene, scheme: str) -> None:
    url = f"{scheme[:3]}://{ADDRESS}:2399"

    said = refused(scene, scene.far.by_tls | {"host": url} if "TLS" in scheme else {"host": url})

    assert f"The Docker engine at {url} is not reached" in said


@pytest.fixture
def twins(bed: Bed, far_with_image: RemoteEngine) -> Iterator[tuple[Incident, Incident]]:
    """The same container, volume and database here and there, with other rows: only one of them is the target's."""
    there_client = far_with_image.client()
    name = f"twin{os.getpid()}"
    here, there = Incident(bed, name), Incident(Bed(there_client), name)
    here.up(here.pinned, HERE)
    there.up(there.pinned, THERE, ports={f"{PORT}/tcp": PORT})
    here.accepting()
    wait_until(lambda: rows_there() == 85, 90, "rows there")
    yield here, there
    here.remove()
    for each in there_client.containers.list(all=True):  # those too that a restore put aside
        each.remove(force=True)
    there.remove()
    there_client.close()


def rows_there() -> int | None:
    """Rows of `experts` on the other machine."""
    try:
        with psycopg.connect(
            host=ADDRESS, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=3
        ) as connection:
            row = connection.execute("SELECT count(*) FROM experts").fetchone()
    except psycopg.Error:
        return None
    return int(row[0]) if row else None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by_tls", "by_ssh"])
def test_a_target_elsewhere_is_verified_and_backed_up_and_never_its_twin_here(
    scene: Scene, twins: tuple[Incident, Incident], how: str
) -> None:
    here, there = twins
    scene.container, scene.volume = here.container, here.pinned
    scene.configure(getattr(scene.far, how))

    started = time.monotonic()
    verified = scene.json("verify", "far")
    print(f"\n{how}: verify {time.monotonic() - started:.1f} s")
    assert verified["counts"] == {"public.experts": 85, "public.knowledge_nodes": 26_337}
    assert verified["identity"]["volume"] == here.pinned

    started = time.monotonic()
    done = scene.rollcall("backup", "far", "--json")
    print(f"{how}: backup {time.monotonic() - started:.1f} s")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tally"]["counts"] == verified["counts"]

    there.make_volume(there.wrong)
    box = there.bed.client.containers.run(
        images.tag(17), name=f"{there.container}_other", detach=True, labels=there.bed.labels,
        environment={"POSTGRES_PASSWORD": PASSWORD}, volumes={there.wrong: {"bind": VOLUME}},
    )  # fmt: skip
    wait_until(lambda: b"ready to accept" in box.logs(), 90, "another cluster there")
    box.stop(timeout=120)
    box.remove()
    found = scene.json("census", "far")["entries"]
    assert [each["volume"] for each in found] == [here.pinned, here.wrong]
    assert "by the running server" in found[0]["counted_how"]
    assert "run this on the Docker engine's own host" in found[1]["counted_how"]

    for command in (["drill", "far"], ["restore-volume", "far", "--backup", "latest", "--yes"]):
        refusal = scene.rollcall(*command)
        assert refusal.returncode == (1 if command[0] == "drill" else 3), refusal.stderr
        assert "run this on the Docker engine's own host" in refusal.stderr.replace("\n", " ")
    assert rows_there() == 85


@pytest.mark.slow
def test_a_database_that_publishes_its_port_to_its_own_machine_alone_is_reached_by_a_tunnel(
    scene: Scene, twins: tuple[Incident, Incident]
) -> None:
    here, there = twins
    there.up(there.pinned, ports={f"{PORT}/tcp": ("127.0.0.1", PORT)})
    scene.container, scene.volume = here.container, here.pinned
    unreached = scene.configure(scene.far.by_ssh).json("verify", "far")
    (finding,) = [each for each in unreached["findings"] if each["code"] == "database.unreachable"]
    assert f"publish its port on {ADDRESS}, or give the target a host and port (a tunnel)" in finding["message"]

    port = free_port()
    line = ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:{PORT}", "far"]
    with subprocess.Popen(line, env=scene.environment, stdin=subprocess.DEVNULL) as tunnel:
        try:
            wait_until(lambda: listens("127.0.0.1", port), 60, "the tunnel")
            scene.configure(scene.far.by_ssh, host="127.0.0.1", port=port)
            wait_until(lambda: "identity" in scene.json("verify", "far"), 60, "an answer through the tunnel")
            done = scene.rollcall("backup", "far", "--json")
            assert json.loads(done.stdout)["tally"]["counts"]["public.experts"] == 85, done.stderr
        finally:
            tunnel.terminate()


LEASHED = """
import json, sys
from tasks.containers.engine import engine
from tasks.containers.leash import Program
from tasks.containers.observe import observe
from tasks.containers.programs import beside
from tasks.sections import Docker
where = Docker.model_validate(json.loads(sys.argv[1]))
container = observe(where, sys.argv[2], "")
with engine(where) as client, beside(client, container, Program("echo at work; sleep 4321"), owner="test") as running:
    running.say("")
    for chunk in running.chunks():
        print(chunk.decode(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by_tls", "by_ssh"])
def test_a_killed_run_leaves_no_program_at_work_elsewhere(
    scene: Scene, twins: tuple[Incident, Incident], how: str
) -> None:
    _, there = twins
    line = [sys.executable, "-c", LEASHED, json.dumps(getattr(scene.far, how)), there.container]
    with subprocess.Popen(line, cwd=ROOT, env=scene.environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"at work\n"
            wait_until(lambda: programs(there) == 1, 60, "the program elsewhere")
        finally:
            process.kill()
    wait_until(lambda: programs(there) == 0, 60, "the end of the program elsewhere")


def programs(there: Incident) -> int:
    """How many programs of the test run in the container."""
    box = there.bed.client.containers.get(there.container)
    return sum("sleep 4321" in " ".join(each) for each in box.top()["Processes"] if "sh -c" not in " ".join(each))


@pytest.mark.slow
def test_the_right_volume_is_attached_again_elsewhere(scene: Scene, twins: tuple[Incident, Incident]) -> None:
    here, there = twins
    scene.container, scene.volume = here.container, here.pinned
    scene.configure(scene.far.by_tls)
    assert scene.json("verify", "far")["counts"]["public.experts"] == 85
    there.up(there.wrong, {"experts": 1, "nodes": 27}, ports={f"{PORT}/tcp": PORT})
    wait_until(lambda: rows_there() == 1, 90, "the wrong rows there")

    done = scene.rollcall("restore-volume", "far", "--yes")

    assert done.returncode == 0, done.stderr
    assert rows_there() == 85
    mounts = there.bed.client.api.inspect_container(there.container)["Mounts"]
    assert [each["Name"] for each in mounts] == [there.pinned]
    assert here.bed.client.api.inspect_container(here.container)["State"]["Status"] == "running"


@pytest.mark.slow
def test_one_watcher_watches_targets_on_two_engines(
    scene: Scene, twins: tuple[Incident, Incident], http_recorder: HttpRecorder
) -> None:
    here, there = twins
    hook = scene.folder / "hook"
    hook.write_text(http_recorder.apprise_url)
    near = here.target(scene.folder) | {"tables": {}}
    far = there.target(scene.folder) | {"docker": scene.far.by_tls}
    document = {
        "storages": {"local": {"type": "local", "path": "./backups"}},
        "notify": [{"url": {"file": str(hook)}}],
        "targets": {"near": near, "far": far},
    }
    scene.file.write_text(json.dumps(document))
    with watching(scene.file) as lines:
        wait_for_line(lines, "near", "checked in")
        wait_for_line(lines, "far", "checked in")
        there.up(there.wrong, {"experts": 1, "nodes": 27}, ports={f"{PORT}/tcp": PORT})
        wait_until(lambda: bool(told(http_recorder, "far", "CRITICAL")), 60, "the alert", lambda: " | ".join(lines))
        assert told(http_recorder, "near", "CRITICAL") == []
        seen = len(lines)
        here.up(here.wrong, {"experts": 2, "nodes": 28})
        wait_for_line(lines, "near", "checked in", since=seen)
        assert told(http_recorder, "near", "CRITICAL")


COMPOSE = """
services:
  db:
    container_name: {container}
    image: {image}
    environment: {{POSTGRES_PASSWORD: {password}}}
    volumes: ["data:/var/lib/postgresql/data"]
volumes:
  data: {{external: true, name: {volume}}}
"""


@pytest.mark.slow
def test_a_project_elsewhere_is_brought_down_and_its_twin_here_stays(
    scene: Scene, twins: tuple[Incident, Incident]
) -> None:
    here, there = twins
    scene.container, scene.volume = here.container, here.pinned
    scene.configure(scene.far.by_tls)
    there.down()
    folder = scene.folder / "project"
    folder.mkdir()
    words = {"container": there.container, "image": images.tag(17), "password": "x", "volume": there.pinned}
    (folder / "docker-compose.yml").write_text(COMPOSE.format(**words))
    up = [*compose_command(), "up", "-d"]
    subprocess.run(up, cwd=folder, env={**os.environ, "DOCKER_HOST": scene.far.past}, check=True, capture_output=True)

    done = scene.rollcall("down", str(folder), "--yes", "--without-backup")

    assert done.returncode == 0, done.stderr
    left = [each["Names"] for each in there.bed.client.api.containers(all=True)]
    assert [f"/{there.container}"] not in left
    assert here.bed.client.api.inspect_container(here.container)["State"]["Status"] == "running"
