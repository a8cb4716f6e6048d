"""What is read out of the engine's inspect JSON."""

from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from tasks.config import Target
from tasks.containers.engine import OUR_LABEL, Client, host_of
from tasks.containers.observe import Mount, find_container, mount_behind, read, server_options
from tasks.databases.reach import listens, way_in, ways
from tasks.errors import ContainerMissing, NoWayIn

ANONYMOUS = "a58a29bb3786ccdcd805fe3fac60a66ae111ef406d935e2be6d8dd705be8c624"


def volume(destination: str, name: str) -> dict[str, Any]:
    return {"Type": "volume", "Name": name, "Source": f"/v/{name}/_data", "Destination": destination}


def inspected(**given: Any) -> dict[str, Any]:
    return {
        "Id": "abc",
        "Name": "/knowledge_postgres",
        "Image": "sha256:1",
        "Config": {"Env": given.get("env", []), "Labels": given.get("labels")},
        "HostConfig": {"NetworkMode": given.get("network", "bridge")},
        "Mounts": given.get("mounts", []),
        "NetworkSettings": {"Networks": given.get("networks", {}), "Ports": given.get("ports")},
    }


@pytest.mark.parametrize(
    ("pgdata", "destinations", "expected"),
    [
        ("/var/lib/postgresql/data", ["/var/lib/postgresql/data"], "/var/lib/postgresql/data"),
        ("/var/lib/postgresql/18/docker", ["/var/lib/postgresql"], "/var/lib/postgresql"),
        ("/var/lib/postgresql/data", ["/var", "/var/lib/postgresql", "/etc"], "/var/lib/postgresql"),
        ("/var/lib/postgresql/data/pg", ["/var/lib/postgresql/data", "/var/lib"], "/var/lib/postgresql/data"),
        ("/var/lib/postgresql/data2", ["/var/lib/postgresql/data"], None),
        ("/var/lib/postgresql/data", ["/var/lib/postgresql/data/"], "/var/lib/postgresql/data/"),
        ("/var/lib/postgresql/data", ["/"], "/"),
        ("/var/lib/postgresql/data", [], None),
    ],
)
def test_mount_behind_a_path_is_the_one_with_the_longest_destination(
    pgdata: str, destinations: list[str], expected: str | None
) -> None:
    mounts = [Mount(destination=each, source="", kind="volume", volume=each) for each in destinations]
    found = mount_behind(pgdata, mounts)
    assert (found.destination if found else None) == expected


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (volume("/var/lib/postgresql/data", "data"), "data"),
        (volume("/var/lib/postgresql/data", ANONYMOUS), ANONYMOUS),
        ({"Type": "bind", "Source": "/srv/pg", "Destination": "/var/lib/postgresql/data"}, None),
        ({"Type": "tmpfs", "Source": "", "Destination": "/var/lib/postgresql/data"}, None),
        (volume("/somewhere/else", "data"), None),
    ],
)
def test_volume_is_that_behind_pgdata_or_none(mount: dict[str, Any], expected: str | None) -> None:
    assert read(inspected(env=["PGDATA=/var/lib/postgresql/data"], mounts=[mount])).volume == expected


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, ["postgres", "-D", "/srv/pg"], {"data_directory": "/srv/pg"}),
        (["/opt/15/bin/postgres"], ["-D/srv/pg", "-p", "5433"], {"data_directory": "/srv/pg", "port": "5433"}),
        (["start.sh"], ["-c", "port=5433", "-cdata_directory=/d"], {"port": "5433", "data_directory": "/d"}),
        (["start.sh"], ["postgres", "--port=5433", "--log-statement=all"], {"port": "5433", "log_statement": "all"}),
        (None, ["sh", "-c", "exec postgres -D '/my data' -p 5433"], {"data_directory": "/my data", "port": "5433"}),
        (["tini", "-p", "SIGTERM", "--"], ["postgres", "-D", "/d"], {"data_directory": "/d"}),
        (["sh", "-c"], ["echo 'unclosed"], {}),
        (None, None, {}),
    ],
)  # fmt: skip
def test_settings_on_the_command_line_are_read(
    entrypoint: list[str] | None, command: list[str] | None, expected: dict[str, str]
) -> None:
    found = {"Config": {"Entrypoint": entrypoint, "Cmd": command}}
    assert server_options(found) == expected


def test_command_line_counts_more_than_the_environment_and_the_server_more_than_both() -> None:
    found = inspected(env=["PGDATA=/env", "PGPORT=1"], mounts=[volume("/data", "v")])
    found["Config"]["Cmd"] = ["postgres", "-D", "/data/db", "-p", "5433"]
    container = read(found)
    assert (container.pgdata, container.port, container.volume) == ("/data/db", 5433, "v")
    assert read(found, 5434, pgdata="/elsewhere").model_dump(include={"pgdata", "port"}) == {
        "pgdata": "/elsewhere", "port": 5434,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("destinations", "expected"),
    [
        (["/bitnami/postgresql"], "/bitnami/postgresql"),
        (["/var/lib/postgresql", "/backups"], "/var/lib/postgresql"),
        (["/one", "/two"], None),
        ([], None),
    ],
)
def test_an_image_that_says_nothing_has_its_data_in_the_usual_place_or_on_its_only_volume(
    destinations: list[str], expected: str | None
) -> None:
    mount = read(inspected(mounts=[volume(each, "v") for each in destinations])).data_mount
    assert (mount.destination if mount else None) == expected


def test_bind_mount_inside_a_volume_hides_the_volume() -> None:
    bind = {"Type": "bind", "Source": "/srv/pg", "Destination": "/var/lib/postgresql/data"}
    container = read(inspected(mounts=[volume("/var/lib/postgresql", "pinned"), bind]))
    assert container.volume is None
    assert container.data_mount is not None and container.data_mount.source == "/srv/pg"


def test_environment_says_where_the_data_and_the_port_are() -> None:
    container = read(inspected(env=["PGDATA=/data/a=b", "PGPORT=5555", "EMPTY"], mounts=[volume("/data", "v")]))
    assert (container.pgdata, container.port, container.volume) == ("/data/a=b", 5555, "v")
    assert read(inspected(env=["PGPORT=5555"]), 6000).port == 6000


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (None, []),
        ({"5432/tcp": None}, []),
        ({"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5433"}]}, [("127.0.0.1", 5433)]),
        ({"5432/tcp": [{"HostIp": "::", "HostPort": "5433"}]}, [("::1", 5433)]),
        ({"5432/tcp": [{"HostIp": "192.0.2.7", "HostPort": "1"}]}, [("192.0.2.7", 1)]),
        ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}]}, []),
    ],
)
def test_published_port_is_that_of_postgresql(ports: Any, expected: list[tuple[str, int]]) -> None:
    assert read(inspected(ports=ports)).published == expected


def test_name_labels_and_networks() -> None:
    networks = {"a": {"IPAddress": "172.18.0.2"}, "off": {"IPAddress": ""}}
    container = read(inspected(labels={"com.docker.compose.project": "atra"}, networks=networks))
    assert container.name == "knowledge_postgres"
    assert container.compose_project == "atra"
    assert container.addresses == ["172.18.0.2"]
    assert not container.host_network
    assert read(inspected(network="host")).host_network


def target(**given: Any) -> Target:
    return Target(container="c", volume="v", database="d", storages=["local"], **given)


def test_container_address_is_tried_before_the_published_port() -> None:
    networks = {"a": {"IPAddress": "172.18.0.2"}}
    ports = {"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5433"}]}
    container = read(inspected(networks=networks, ports=ports))
    assert [(way.host, way.port) for way in ways(target(), container)] == [("172.18.0.2", 5432), ("127.0.0.1", 5433)]
    assert way_in(target(), container, lambda host, port: True).host == "172.18.0.2"
    assert way_in(target(), container, lambda host, port: port == 5433).host == "127.0.0.1"


def test_address_in_the_configuration_is_the_only_one_tried() -> None:
    container = read(inspected(networks={"a": {"IPAddress": "172.18.0.2"}}))
    assert [(way.host, way.port) for way in ways(target(host="db.example", port=6432), container)] == [
        ("db.example", 6432)
    ]


def test_host_network_is_asked_on_loopback() -> None:
    container = read(inspected(network="host", env=["PGPORT=5499"]))
    assert [(way.host, way.port) for way in ways(target(), container)] == [("127.0.0.1", 5499)]


@pytest.mark.parametrize("networks", [{}, {"a": {"IPAddress": "172.18.0.2"}}])
def test_no_way_in_names_what_was_tried_and_what_to_do(networks: dict[str, Any]) -> None:
    container = read(inspected(networks=networks))
    with pytest.raises(NoWayIn, match=r"cannot be reached \(tried .*publish its port on loopback") as raised:
        way_in(target(), container, lambda host, port: False)
    assert ("172.18.0.2:5432" in str(raised.value)) == bool(networks)


@pytest.mark.parametrize("port", ["", "five", "-1", "0", "99999", "5432 "])
def test_a_pgport_that_is_no_port_leaves_postgresqls_own(port: str) -> None:
    assert read(inspected(env=[f"PGPORT={port}"])).port == 5432


@pytest.mark.parametrize("host", ["a..b", "a\0b", "x" * 300])
def test_what_is_no_host_name_does_not_listen(host: str) -> None:
    assert not listens(host, 5432, timeout=0.1)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///var/run/docker.sock", None),
        ("tcp://engine.example:2375", "engine.example"),
        ("tcp://127.0.0.1:2375", "127.0.0.1"),
    ],
)
def test_an_engine_behind_a_network_has_a_host(url: str, expected: str | None) -> None:
    client = Client(base_url=url, version="1.41")
    assert host_of(client) == expected
    client.host = "far.example"  # as where the way to it is a relay's socket
    assert host_of(client) == "far.example"
    client.close()


def test_a_remote_engines_addresses_are_never_taken_for_this_machines() -> None:
    addresses = ("0.0.0.0", "::", "127.0.0.1", "::1", "192.0.2.7")
    ports = {"5432/tcp": [{"HostIp": each, "HostPort": "5433"} for each in addresses]}
    networks = {"a": {"IPAddress": "172.18.0.2"}}
    remote = read(inspected(networks=networks, ports=ports), None, "far.example")
    assert [(way.host, way.port) for way in ways(target(), remote)] == [("far.example", 5433), ("192.0.2.7", 5433)]
    on_host = read(inspected(network="host"), None, "far.example")
    assert [way.host for way in ways(target(), on_host)] == ["far.example"]
    with pytest.raises(NoWayIn, match=r"publish its port on far\.example, or give the target a host and port"):
        way_in(target(), remote, lambda host, port: False)


class Going:
    """An engine on which a container goes between the list and the look at it; a real one does so once in a while.

    runs: what each container runs, by its id.
    """

    def __init__(self, *listed: dict[str, Any], gone: str, runs: dict[str, str] | None = None) -> None:
        self.listed, self.gone, self.runs = [*listed, {"Id": gone}], gone, runs or {}

    def top(self, name: str) -> dict[str, Any]:
        return {"Processes": [["1", self.runs.get(name, "sleep 300")]]}

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return self.listed

    def inspect_container(self, name: str) -> dict[str, Any]:
        for each in self.listed:
            if each["Id"] == name != self.gone:
                return each
        raise NotFound("No such container")


def client_of(api: Going) -> docker.DockerClient:
    return SimpleNamespace(api=api)  # type: ignore[return-value]


def test_a_helper_that_goes_meanwhile_does_not_hide_the_renamed_container() -> None:
    on_volume = inspected(mounts=[volume("/var/lib/postgresql/data", "pinned")])
    assert find_container(client_of(Going(on_volume, gone="helper")), "knowledge", "pinned") == on_volume
    with pytest.raises(ContainerMissing, match="'knowledge'"):
        find_container(client_of(Going(gone="helper")), "knowledge", "pinned")


USUAL, OTHER = "/var/lib/postgresql/data", "/source"
SERVER = "/opt/acme/pg/bin/postgres -c fsync=off"


def on_pinned(id_: str, destination: str = USUAL, *, writes: bool = True, **given: Any) -> dict[str, Any]:
    labels = given.get("labels", {})
    mount = volume(destination, "pinned") | {"RW": writes}
    return inspected(mounts=[mount], **given) | {"Id": id_, "Name": f"/{id_}", "Labels": labels}


STRAYS = [
    on_pinned("reader", OTHER, writes=False),
    on_pinned("reader_there", USUAL, writes=False, env=[f"PGDATA={USUAL}"]),
    on_pinned("writer", OTHER),
    on_pinned("ours", USUAL, labels={OUR_LABEL: "a run"}, env=[f"PGDATA={USUAL}"]),
    on_pinned("ours_elsewhere", OTHER, labels={OUR_LABEL: "a run"}),
]


@pytest.mark.parametrize("stray", STRAYS, ids=lambda each: each["Id"])
def test_a_stray_container_on_the_volume_is_not_the_targets_own_and_does_not_hide_it(stray: dict[str, Any]) -> None:
    with pytest.raises(ContainerMissing, match="'knowledge'"):
        find_container(client_of(Going(stray, gone="helper")), "knowledge", "pinned")
    renamed = on_pinned("renamed")
    assert find_container(client_of(Going(stray, renamed, gone="helper")), "knowledge", "pinned") == renamed


def test_an_image_that_says_nothing_is_known_by_the_server_that_it_runs() -> None:
    quiet = on_pinned("quiet", "/bitnami/postgresql")
    assert find_container(client_of(Going(quiet, gone="x", runs={"quiet": SERVER})), "knowledge", "pinned") == quiet


def test_of_several_that_keep_their_data_there_the_one_that_runs_a_server_is_the_targets_own() -> None:
    sleeping, serving = on_pinned("sleeping"), on_pinned("serving")
    engine = Going(sleeping, serving, gone="x", runs={"serving": SERVER})
    assert find_container(client_of(engine), "knowledge", "pinned") == serving
    both = Going(sleeping, serving, gone="x", runs={"serving": SERVER, "sleeping": SERVER})
    with pytest.raises(ContainerMissing):
        find_container(client_of(both), "knowledge", "pinned")
