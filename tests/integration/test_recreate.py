"""A re-created container differs from the old one only in its data volume, for every shape a container can have."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from tasks.containers import recreate
from tasks.errors import ContainerMissing, EngineError
from tests.bed import images
from tests.bed.compose import answers_query, compose_project
from tests.bed.labels import Bed, pause
from tests.bed.postgres import PostgresServers
from tests.bed.rebuilding import SECONDS, data_mount, inspect_all, nothing_left, recreate_on

DATA = "/var/lib/postgresql/data"
OURS = os.getpid() % 256  # Another checkout's tests may run beside: the engine takes no two networks that overlap.
RUNS = ["bash", "-c", "trap 'exit 0' INT TERM QUIT; sleep infinity & wait"]
ODD = [
    "POSTGRES_PASSWORD=p$$ä'\" :\\%=;&|{}",
    "TWO_LINES=one\ntwo",
    "EMPTY=",
    "EQUALS==a=b=",
    "LANG",  # without a value: the image's own is taken away
    "spaces in name=1",
]


@dataclass
class Shape:
    """How a container is made: arguments of `docker run`; what else than the data volume differs afterwards.

    before: called with the bed and the container's name; returns more arguments. `{n}` is the container's name.
    """

    name: str
    arguments: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=lambda: RUNS)
    before: Callable[["Stage"], list[str]] = lambda _: []
    after: Callable[["Stage"], None] = lambda _: None
    data: Callable[["Stage"], list[str]] = lambda stage: ["-v", f"{stage.wrong}:{DATA}"]
    more: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """One container and its surroundings."""

    bed: Bed
    folder: Path
    name: str
    wrong: str
    pinned: str

    @property
    def client(self) -> docker.DockerClient:
        return self.bed.client

    def volume(self) -> str:
        return str(self.client.volumes.create(self.bed.name("other"), labels=self.bed.labels).name)

    def run(
        self, *arguments: str, command: list[str] | None = None, name: str | None = None, image: str = images.tag(15)
    ) -> str:
        """`docker run -d`, and the container's name."""
        called = name or self.bed.name("aside")
        labels = [f"--label={key}={value}" for key, value in self.bed.labels.items()]
        line = ["docker", "run", "-d", "--name", called, *labels, *arguments, image, *(command or RUNS)]
        ran = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        return called

    def inspect(self, name: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.client.api.inspect_container(name or self.name)
        return found

    def write(self, path: str, text: str) -> None:
        self.client.containers.get(self.name).exec_run(["sh", "-c", f'printf %s "$1" > {path}', "sh", text])

    def read(self, path: str) -> str:
        return str(self.client.containers.get(self.name).exec_run(["cat", path]).output.decode())


def networks(stage: Stage) -> list[str]:
    """The first one is named at create; the second one gets a static address by `after`."""
    return ["--network", stage.bed.network(), "--network-alias", "first-alias", "--network-alias", "other-alias"]


def join_second(stage: Stage) -> None:
    pool = docker.types.IPAMPool(subnet=f"10.231.{OURS}.0/24")
    name = stage.bed.name("static")
    network = stage.client.networks.create(
        name, labels=stage.bed.labels, ipam=docker.types.IPAMConfig(pool_configs=[pool])
    )
    network.connect(stage.name, aliases=["second-alias"], ipv4_address=f"10.231.{OURS}.77")
    stage.client.networks.create(stage.bed.name("third"), labels=stage.bed.labels).connect(stage.name)


def leave_first(stage: Stage) -> None:
    first = next(iter(stage.inspect()["NetworkSettings"]["Networks"]))
    stage.client.networks.get(stage.bed.network()).connect(stage.name, aliases=["moved"])
    stage.client.networks.get(first).disconnect(stage.name)


def bind_init_script(stage: Stage) -> list[str]:
    script = stage.folder / "init.sql"
    script.write_text("SELECT 1;")
    return ["-v", f"{script}:/docker-entrypoint-initdb.d/init.sql:ro"]


def anonymous_by_mount(stage: Stage) -> list[str]:
    return ["-v", "/extra", "--mount", "type=volume,target=/extra2", "-v", f"{stage.volume()}:/extra3:nocopy"]


def write_extras(stage: Stage) -> None:
    stage.write("/extra/kept", "in an anonymous volume")
    stage.write("/extra3/kept", "in a named volume")


def by_mount(stage: Stage, flags: str) -> list[str]:
    return ["--mount", f"type=volume,source={stage.wrong},target={DATA},{flags}"]


def network_by_id(stage: Stage) -> list[str]:
    return ["--network", str(stage.client.networks.get(stage.bed.network()).id)]


def driver_options(stage: Stage) -> list[str]:
    """A data volume made by the mount itself, with options that must not be asked of the pinned one."""
    stage.client.volumes.get(stage.wrong).remove()
    (stage.folder / "device").mkdir()
    labels = ",".join(f"volume-label={key}={value}" for key, value in stage.bed.labels.items())
    options = f"volume-driver=local,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={stage.folder / 'device'}"
    return by_mount(stage, f"volume-nocopy,{labels},{options}")


EVERYTHING = [
    *["--health-cmd", "true", "--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "9"],
    *["--restart", "always", "--tmpfs", "/scratch:size=1m,mode=1777", "--add-host", "elsewhere:10.1.2.3"],
    *["--ulimit", "nofile=1234:2345", "--shm-size", "77m", "--sysctl", "net.core.somaxconn=321"],
    *[
        "--cap-add",
        "SYS_PTRACE",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "MKNOD",
        "--label",
        "a.b=c=d",
        "--label",
        "e=",
    ],
    *["--log-driver", "json-file", "--log-opt", "max-size=3m", "--log-opt", "max-file=2", "--hostname", "called-so"],
    *["--domainname", "example.org", "--stop-signal", "SIGTERM", "--stop-timeout", "77", "--workdir", "/tmp"],
    *[
        "--dns",
        "10.9.9.9",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
        "--memory",
        "200m",
        "--cpus",
        "0.5",
    ],
    *["--memory-reservation", "100m", "--pids-limit", "222", "--init", "--security-opt", "no-new-privileges"],
    *["--group-add", "1234", "--oom-score-adj", "100", "--device", "/dev/null:/dev/nothing:r"],
    *["--expose", "1234/udp", "--publish", "127.0.0.1:0:5432", "--volume", "/anonymous", "--cpu-shares", "512"],
]

SHAPES = [
    Shape("a named volume"),
    Shape(
        "the image's anonymous volume",
        data=lambda _: [],
        more=["Mounts./var/lib/postgresql/data.VolumeOptions.NoCopy: none → True"],
    ),
    Shape("-v with flags", data=lambda stage: ["-v", f"{stage.wrong}:{DATA}/:nocopy,z"]),
    Shape(
        "--mount with flags",
        data=lambda stage: by_mount(stage, "volume-nocopy,consistency=cached"),
    ),
    Shape(
        "--mount with driver options",
        data=driver_options,
        more=[
            "Mounts./var/lib/postgresql/data.VolumeOptions.DriverConfig.Name: local → none",
            "Mounts./var/lib/postgresql/data.VolumeOptions.DriverConfig.Options.device: only in the old one",
            "Mounts./var/lib/postgresql/data.VolumeOptions.DriverConfig.Options.o: only in the old one",
            "Mounts./var/lib/postgresql/data.VolumeOptions.DriverConfig.Options.type: only in the old one",
            "Mounts./var/lib/postgresql/data.VolumeOptions.Labels.rollcall.bed: {run} → none",
        ],
    ),
    Shape(
        "other volumes, anonymous and named",
        before=anonymous_by_mount,
        after=write_extras,
        more=["Mounts./extra.VolumeOptions.NoCopy: none → True", "Mounts./extra2.VolumeOptions.NoCopy: none → True"],
    ),
    Shape("three networks, static address", before=networks, after=join_second),
    Shape(
        "the first network was left",
        before=networks,
        after=leave_first,
        more=["HostConfig.NetworkMode: {first} → {joined}"],
    ),
    Shape("a network by its id", before=network_by_id),
    Shape("published ports", arguments=["-p", "127.0.0.1:5999:5432", "-p", "127.0.0.1:0:5433/udp", "-p", "5434"]),
    Shape("nearly every option", arguments=EVERYTHING, before=bind_init_script,
          more=["Mounts./anonymous.VolumeOptions.NoCopy: none → True"]),
    Shape("odd environment", arguments=[each for pair in ODD for each in ("--env", pair)]),
    Shape("links on the default bridge", before=lambda stage: ["--link", f"{stage.run()}:other-name"]),
    Shape("host network", arguments=["--network", "host"]),
    Shape("no network", arguments=["--network", "none"]),
    Shape(
        "another's namespaces",
        before=lambda stage: [f"--{each}=container:{box}" for box in [stage.run("--ipc", "shareable")]
                              for each in ("network", "pid", "ipc")],
    ),
    Shape("volumes from another", before=lambda stage: ["--volumes-from", f"{stage.run('-v', '/lent')}:ro"]),
    Shape("no entry point", arguments=["--entrypoint", ""]),
    Shape("no healthcheck, the host's namespaces",
          arguments=["--no-healthcheck", "--pid", "host", "--ipc", "host", "--uts", "host"]),
    Shape("read-only, a user, a terminal", arguments=["--read-only", "--user", "postgres", "-t", "-i"]),
]  # fmt: skip


@pytest.fixture
def stage(bed: Bed, tmp_path: Path) -> Iterator[Stage]:
    with nothing_left(bed):
        made = [bed.client.volumes.create(bed.name(stem), labels=bed.labels).name for stem in ("wrong", "pinned")]
        yield Stage(bed, tmp_path, bed.name("shape"), *map(str, made))


def made(stage: Stage, shape: Shape) -> dict[str, Any]:
    arguments = [*shape.data(stage), *shape.arguments, *shape.before(stage)]
    stage.run(*arguments, command=shape.command, name=stage.name)
    shape.after(stage)
    return stage.inspect()


QUICK = ("the image's anonymous volume", "nearly every option", "three networks, static address")


@pytest.mark.parametrize(
    "shape",
    [pytest.param(each, id=each.name, marks=[] if each.name in QUICK else pytest.mark.slow) for each in SHAPES],
)
def test_only_the_data_volume_differs(stage: Stage, shape: Shape) -> None:
    old = made(stage, shape)
    wrong = data_mount(old, DATA)

    new = recreate_on(stage.client, old, stage.pinned, DATA)

    found = recreate.difference(old, new)
    print(json.dumps({shape.name: found}, indent=1, ensure_ascii=False))
    expected = [f"Mounts.{DATA}.volume: {wrong} → {stage.pinned}"]
    expected += [each.format(run=stage.bed.run_id, **networks_of(old)) for each in shape.more]
    assert sorted(found) == sorted(expected)
    assert volumes_of(new) == volumes_of(old) - {wrong} | {stage.pinned}


def networks_of(found: dict[str, Any]) -> dict[str, str]:
    """The network that it was made with, and the one it is connected to."""
    return {"first": found["HostConfig"]["NetworkMode"], "joined": next(iter(found["NetworkSettings"]["Networks"]))}


def volumes_of(found: dict[str, Any]) -> set[str]:
    return {each["Name"] for each in found["Mounts"] if each["Type"] == "volume"}


COMPOSE = """
version: "3.7"
x-labels: &ours
  labels: BED_LABELS
services:
  db:
    <<: *ours
    image: {image}
    environment:
      POSTGRES_USER: admin
      POSTGRES_PASSWORD: "it's $$odd"
      POSTGRES_DB: knowledge_os
    restart: always
    healthcheck:
      test: ["CMD-SHELL", "psql -h 127.0.0.1 -U admin -d knowledge_os -c 'SELECT count(*) FROM experts'"]
      interval: 1s
      start_period: 30s
    ports: ["127.0.0.1:0:5432"]
    networks:
      default:
      fixed:
        ipv4_address: 10.232.{ours}.{version}
        aliases: [the-database]
    links: ["other:friend"]
    volumes:
      {mount}
      - ./init.sql:/docker-entrypoint-initdb.d/init.sql:ro
      - /var/cache/anonymous
    tmpfs: ["/scratch:size=2m"]
    extra_hosts: ["elsewhere:10.1.2.3"]
    ulimits: {{nofile: {{soft: 1111, hard: 2222}}}}
    shm_size: 99m
    sysctls: {{net.core.somaxconn: 444}}
    cap_add: [SYS_PTRACE]
    logging: {{driver: json-file, options: {{max-size: 5m}}}}
    stop_grace_period: 2m
  other:
    <<: *ours
    image: {image}
    command: ["bash", "-c", "trap 'exit 0' TERM INT; sleep infinity & wait"]
    volumes: ["/var/cache/anonymous"]
networks:
  default: {{labels: BED_LABELS}}
  fixed:
    labels: BED_LABELS
    ipam: {{config: [{{subnet: 10.232.{ours}.0/24}}]}}
{volumes}
"""
INIT = "CREATE TABLE experts (name text); INSERT INTO experts VALUES ('the only one');"
TOP_LEVEL = {
    "named": ("data", "volumes: {data: {labels: BED_LABELS}}"),
    "external": ("data", "volumes: {data: {external: true, name: WRONG}}"),
    "anonymous": ("", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "version"), [("named", 15), ("external", 17), ("anonymous", 18), ("anonymous", 15)])
def test_a_service_of_compose_comes_back_on_the_pinned_volume(
    stage: Stage, postgres: PostgresServers, kind: str, version: int, tmp_path: Path
) -> None:
    destination = images.RECIPES[version].volume
    server = postgres(version=version, volume=stage.pinned, init={"init.sql": INIT})
    server.execute("INSERT INTO experts SELECT n::text FROM generate_series(1, 84) AS n")
    recreate.stop(stage.client, server.container)
    key, volumes = TOP_LEVEL[kind]
    mount = f"- {key}:{destination}" if key else ""
    text = COMPOSE.format(image=images.tag(version), version=version, ours=OURS, mount=mount, volumes=volumes)
    with compose_project(stage.bed, tmp_path) as project:
        project.write(text.replace("WRONG", stage.wrong))
        project.write(INIT, "init.sql")
        project.up()
        old = project.container()
        name = old["Name"].lstrip("/")
        assert answers_query(stage.bed, name, "SELECT count(*) FROM experts") == "1"
        wrong = data_mount(old, destination)

        new = recreate_on(stage.client, old, stage.pinned, destination)

        found = recreate.difference(old, new)
        print(json.dumps({f"compose, {kind} volume, {version}": found}, indent=1, ensure_ascii=False))
        at_data = f"Mounts.{destination}"
        expected = [f"{at_data}.volume: {wrong} → {stage.pinned}"]
        expected += [f"{at_data}.VolumeOptions.NoCopy: none → True"] if kind == "anonymous" else []
        assert found == sorted([*expected, "Mounts./var/cache/anonymous.VolumeOptions.NoCopy: none → True"])
        assert answers_query(stage.bed, name, "SELECT count(*) FROM experts") == "85"
        assert new["State"]["Health"]["Status"] == "healthy"
        assert volumes_of(new) == volumes_of(old) - {wrong} | {stage.pinned}


COPIED_IN = """\
services:
  db:
    image: {image}
    entrypoint: ["bash", "-ec", "grep hunter2 /run/secrets/pw; grep on /etc/deep/our.conf; sleep infinity & wait"]
    stop_signal: SIGKILL
    network_mode: bridge
    labels: BED_LABELS
    volumes: ["{wrong}:{data}"]
    secrets: [{{source: pw, uid: "999", mode: 0400}}]
    configs: [{{source: conf, target: /etc/deep/our.conf}}]
secrets: {{pw: {{environment: PW}}}}
configs: {{conf: {{content: "on\\n"}}}}
volumes: {{"{wrong}": {{external: true}}}}
"""
LISTED = (
    "cd /; find run/secrets etc/deep opt -exec stat -c '%n %U %G %a %s' {} + | sort; cat opt/ours/*; "
    "stat -c '%n %Y' run/secrets/pw etc/deep/our.conf opt/ours/*"
)


def test_what_compose_copied_in_and_a_person_wrote_comes_along(stage: Stage, tmp_path: Path) -> None:
    text = COPIED_IN.format(image=images.tag(15), wrong=stage.wrong, data=DATA)
    with compose_project(stage.bed, tmp_path, text) as project:
        project.up(env={**os.environ, "PW": "hunter2"})
        old = project.container()
        shell = "mkdir -m 750 /opt/ours; echo x >/opt/ours/by-hand; chown -R postgres /opt/ours"
        box = stage.client.containers.get(old["Id"])
        assert box.exec_run(["bash", "-c", f"{shell}; ln -sf by-hand /opt/ours/link"]).exit_code == 0
        before = box.exec_run(["bash", "-c", LISTED]).output.decode()

        new = recreate_on(stage.client, old, stage.pinned, DATA)

        after = stage.client.containers.get(new["Id"]).exec_run(["bash", "-c", LISTED]).output.decode()
        assert "run/secrets/pw" in before
        assert after == before


def test_what_other_volumes_hold_stays_and_an_emptied_one_is_not_filled_again(stage: Stage) -> None:
    # The image has files in /etc/apt: a new volume there is filled with them.
    stage.run("-v", f"{stage.wrong}:{DATA}", "-v", "/extra", "-v", "/etc/apt", name=stage.name)
    stage.write("/extra/kept", "in an anonymous volume")
    box = stage.client.containers.get(stage.name)
    assert box.exec_run(["sh", "-c", "ls /etc/apt && rm -r /etc/apt/*"]).output

    recreate_on(stage.client, stage.inspect(), stage.pinned, DATA)

    assert stage.read("/extra/kept") == "in an anonymous volume"
    assert stage.client.containers.get(stage.name).exec_run(["ls", "/etc/apt"]).output == b""


def test_a_mac_address_that_was_asked_for_stays(stage: Stage) -> None:
    body = {
        "Image": images.tag(15),
        "Labels": stage.bed.labels,
        "Cmd": RUNS,
        "MacAddress": "02:42:ac:11:99:88",
        "HostConfig": {"Binds": [f"{stage.wrong}:{DATA}"]},
    }
    stage.client.api.create_container_from_config(body, stage.name)  # type: ignore[no-untyped-call]
    stage.client.api.start(stage.name)

    new = recreate_on(stage.client, stage.inspect(), stage.pinned, DATA)

    assert new["NetworkSettings"]["Networks"]["bridge"]["MacAddress"] == "02:42:ac:11:99:88"


def test_a_tag_that_moved_on_is_not_followed(stage: Stage) -> None:
    repository = f"rollcall-bed/moved-{stage.bed.run_id}"
    stage.client.images.get(images.tag(15)).tag(repository, "latest")
    try:
        stage.run("-v", f"{stage.wrong}:{DATA}", name=stage.name, image=repository)
        old = stage.inspect()
        stage.client.images.get(images.tag(17)).tag(repository, "latest")

        new = recreate_on(stage.client, old, stage.pinned, DATA)

        assert recreate.difference(old, new)[0] == f"Config.Image: {repository} → {old['Image']}"
        assert new["Image"] == old["Image"]
    finally:
        stage.client.images.remove(f"{repository}:latest", noprune=True)


# The steps, each alone and twice


def planned(stage: Stage) -> recreate.Payload:
    found = stage.inspect()
    image: dict[str, Any] = stage.client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
    return recreate.replacement(
        found,
        image,
        api_version=stage.client.api.api_version,
        wrong=stage.wrong,
        pinned=stage.pinned,
        destination=DATA,
    )


@pytest.fixture
def plain(stage: Stage) -> Stage:
    """A stage with a container on the wrong volume and one network of its own."""
    stage.run("--init", "-v", f"{stage.wrong}:{DATA}", "--network", stage.bed.network(), name=stage.name)
    return stage


def test_a_replacement_is_created_once_and_removed_as_long_as_it_never_ran(plain: Stage) -> None:
    new = f"{plain.name}.new"
    made = recreate.create(plain.client, planned(plain), new)

    assert recreate.create(plain.client, planned(plain), new) == made
    recreate.remove_created(plain.client, made)
    recreate.remove_created(plain.client, made)
    with pytest.raises(ContainerMissing):
        recreate.start(plain.client, made)


def test_a_container_that_ran_is_never_removed(plain: Stage) -> None:
    recreate.stop(plain.client, plain.name)
    with pytest.raises(EngineError, match="has run; it is not removed"):
        recreate.remove_created(plain.client, plain.name)


def test_a_taken_name_is_left_alone(plain: Stage) -> None:
    other = plain.run("--network", "none")
    with pytest.raises(EngineError, match=f"There is a container {other} already"):
        recreate.create(plain.client, planned(plain), other)


def test_a_volume_that_is_gone_is_not_made_silently(plain: Stage) -> None:
    payload = planned(plain)
    plain.client.volumes.get(plain.pinned).remove()
    with pytest.raises(EngineError, match=f"The volume {plain.pinned}, which {plain.name} needs, does not exist"):
        recreate.create(plain.client, payload, f"{plain.name}.new")
    assert not plain.bed.has_volume(plain.pinned)


def test_a_network_made_again_under_the_same_name_is_another_network(plain: Stage) -> None:
    payload = planned(plain)
    (name,) = payload.network_ids
    recreate.stop(plain.client, plain.name)
    plain.client.networks.get(name).remove()
    with pytest.raises(EngineError, match="does not exist any more"):
        recreate.create(plain.client, payload, f"{plain.name}.new")
    plain.client.networks.create(name, labels=plain.bed.labels)
    with pytest.raises(EngineError, match="is not the one that"):
        recreate.create(plain.client, payload, f"{plain.name}.new")


def test_the_restart_policy_is_set_and_the_previous_one_told(plain: Stage) -> None:
    always = {"Name": "always", "MaximumRetryCount": 0}
    assert recreate.set_restart_policy(plain.client, plain.name, always)["Name"] == "no"
    assert recreate.set_restart_policy(plain.client, plain.name, {"Name": ""}) == always
    assert plain.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_starting_stopping_and_renaming_twice_does_no_harm(plain: Stage) -> None:
    found = plain.inspect()
    for _ in range(2):
        recreate.stop(plain.client, found["Id"])
        assert plain.inspect()["State"]["Status"] == "exited"
    for _ in range(2):
        recreate.start(plain.client, found["Id"])
        recreate.wait_healthy(plain.client, found["Id"], SECONDS)
    for _ in range(2):
        recreate.rename(plain.client, found["Id"], f"{plain.name}.aside")
        assert plain.inspect(found["Id"])["Name"] == f"/{plain.name}.aside"


def test_a_port_taken_meanwhile_stops_the_start_with_one_sentence(plain: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = plain.bed.name("port")
        plain.client.api.create_container_from_config(  # type: ignore[no-untyped-call]
            {
                "Image": images.tag(15),
                "Labels": plain.bed.labels,
                "Cmd": RUNS,
                "HostConfig": {"PortBindings": {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}},
            },
            name,
        )
        with pytest.raises(EngineError, match=f"The container {name} cannot be started: .*(in use|allocated)"):
            recreate.start(plain.client, name)
    recreate.remove_created(plain.client, name)


def test_a_container_that_ends_or_never_gets_healthy_is_not_waited_for_in_vain(stage: Stage) -> None:
    ends = stage.run("--network", "none", command=["bash", "-c", "exit 3"])
    with pytest.raises(EngineError, match="ended with exit code 3"):
        recreate.wait_healthy(stage.client, ends, 30)
    ill = stage.run("--network", "none", "--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1")
    with pytest.raises(EngineError, match=r"is still running and (starting|unhealthy) 2 s after"):
        recreate.wait_healthy(stage.client, ill, 2)


# What stands against it, as the engine tells it


def test_others_that_a_re_creation_would_break_are_seen(stage: Stage) -> None:
    stage.run("--init", "-v", f"{stage.wrong}:{DATA}", "--ipc", "shareable", name=stage.name)
    stage.run("--network", f"container:{stage.name}", "--ipc", f"container:{stage.name}")
    stage.run("--volumes-from", stage.name)
    stage.run("--link", f"{stage.name}:db")
    user = stage.run("-v", f"{stage.pinned}:/backup:ro")

    said = recreate.blockers(stage.inspect(), inspect_all(stage.client), stage.pinned)

    reasons = ["the network namespace", "the memory namespace", "--volumes-from", "--link", f"in use by {user}"]
    assert sorted(each for each in reasons if any(each in sentence for sentence in said)) == sorted(reasons)
    assert len(said) == len(reasons)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rm"], "was started with --rm"),
        (["-v", "/tmp:{data}"], "a folder of the host"),
        (["--tmpfs", "{data}"], "memory"),
        (["--mount", "type=tmpfs,target={data}"], "memory"),
        (["-e", "PGDATA=/opt/data"], "its own layer"),
    ],
)
def test_a_container_that_cannot_be_re_created_is_seen(stage: Stage, arguments: list[str], sentence: str) -> None:
    stage.run("--init", *(each.format(data=DATA) for each in arguments), name=stage.name)

    (said,) = recreate.blockers(stage.inspect(), inspect_all(stage.client))

    assert sentence in said


def test_a_paused_container_is_seen(plain: Stage) -> None:
    pause(plain.client.containers.get(plain.name))
    assert recreate.blockers(plain.inspect(), inspect_all(plain.client)) == [
        f"The container {plain.name} is paused; docker unpause, stop or start it first."
    ]
    plain.client.api.unpause(plain.name)


def test_files_that_only_the_container_holds_are_told(plain: Stage) -> None:
    assert recreate.reports(plain.inspect(), plain.client.api.diff(plain.name)) == []
    plain.write("/opt/by-hand", "x")
    plain.write(f"{DATA}/on-the-volume", "x")
    plain.write("/run/passing", "x")

    plain.write("/var/log/by-hand", "x")

    carried, lost = recreate.reports(plain.inspect(), plain.client.api.diff(plain.name))

    assert "copied into the new one: /opt/by-hand, /run/passing." in carried
    assert "not in the new one: /var/log/by-hand; they stay in the old container" in lost
