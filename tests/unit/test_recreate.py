"""The create body of a replacement, from inspect JSON that an engine gave; what stands against it; what differs."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.containers.difference import difference
from tasks.containers.layer import MOST_CARRIED, layer_of
from tasks.containers.mounts import remounted
from tasks.containers.payload import Payload, means, names_of, replacement
from tasks.containers.recreate import _stop_seconds
from tasks.containers.refusals import blockers, reports
from tasks.errors import EngineError

RECORDED = Path(__file__).parent / "recorded"
DATA = "/var/lib/postgresql/data"
WRONG, PINNED = "knowledge_os_postgres_data", "atra_knowledge_postgres_data"
ANONYMOUS = "1b2319a1ba1fafd5dff2d2bbf03c5ecd739297319cb3e513c3cad3b7c9360312"
PASSWORD = "correct horse"

Json = dict[str, Any]
Change = Callable[[Json], object]


def recorded(change: Change = lambda _: None) -> Json:
    """The inspect JSON of a container with nearly every option, changed."""
    found: Json = json.loads((RECORDED / "container-20.10.json").read_text())
    change(found)
    return found


def image(**changed: Any) -> Json:
    return {**json.loads((RECORDED / "image-20.10.json").read_text()), **changed}


def payload(found: Json, *, api: str = "1.41", wrong: str = WRONG, **more: Any) -> Payload:
    of = more.pop("image", None) or image()
    return replacement(found, of, api_version=api, wrong=wrong, pinned=PINNED, destination=DATA, **more)


# The body


def test_every_option_is_in_the_body_as_it_was() -> None:
    found = recorded()
    body = payload(found).body

    host, config = dict(found["HostConfig"]), dict(found["Config"])
    del host["ContainerIDFile"]
    host["Binds"] = [host["Binds"][0], f"{PINNED}:{DATA}"]
    host["Mounts"] = [
        {"Type": "volume", "Source": ANONYMOUS, "Target": "/anonymous", "VolumeOptions": {"NoCopy": True}}
    ]
    del config["OnBuild"]
    assert body == {
        **config,
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {"first": {"Aliases": ["other-alias", "called-so"]}}},
    }


def test_the_other_networks_are_connected_afterwards_before_api_1_44() -> None:
    assert payload(recorded()).networks == {
        "static": {"IPAMConfig": {"IPv4Address": "10.231.78.77"}, "Aliases": ["second-alias", "called-so"]},
        "third": {"Aliases": ["called-so"]},
    }


def test_from_api_1_44_on_all_networks_are_named_at_create() -> None:
    def newer(found: Json) -> None:
        found["NetworkSettings"]["Networks"]["third"] |= {"GwPriority": 7, "DNSNames": ["a", "b"], "Aliases": None}
        found["Config"]["MacAddress"] = "02:42:c0:a8:e0:02"
        found["Config"]["Healthcheck"]["StartInterval"] = 500000000

    made = payload(recorded(newer), api="1.48")

    assert made.networks == {}
    assert made.body["NetworkingConfig"]["EndpointsConfig"] == {
        "first": {"Aliases": ["other-alias", "called-so"], "MacAddress": "02:42:c0:a8:e0:02"},
        "static": {"IPAMConfig": {"IPv4Address": "10.231.78.77"}, "Aliases": ["second-alias", "called-so"]},
        "third": {"GwPriority": 7},
    }
    assert "MacAddress" not in made.body
    assert made.body["Healthcheck"]["StartInterval"] == 500000000


def setting(path: str, value: Any) -> Change:
    """A change of one place, its keys separated by slashes."""
    *above, last = path.split("/")

    def change(found: Json) -> None:
        for key in above:
            found = found[key]
        found[last] = value

    return change


def both(*changes: Change) -> Change:
    return lambda found: [change(found) for change in changes]


OTHER = "e" * 64
OWN_ID = "af9819b25630fdce6cf1a3f9acabd6924ab3a2f02829a36c55421b557dfc0761"
SHARED = setting("HostConfig/NetworkMode", f"container:{OTHER}")
NO_NETWORKS = setting("NetworkSettings/Networks", {})

BODIES = [
    ("the old short id is no host name", setting("Config/Hostname", OWN_ID[:12]), "Hostname", None),
    ("nor is the host's own", setting("HostConfig/UTSMode", "host"), "Hostname", None),
    ("any other stays", lambda _: None, "Hostname", "called-so"),
    ("a MAC address that was asked for stays", setting("Config/MacAddress", "02:42:00:00:00:01"), "MacAddress",
     "02:42:00:00:00:01"),
    ("no entry point is not the image's", setting("Config/Entrypoint", None), "Entrypoint", [""]),
    ("another's network is called by name", SHARED, "HostConfig/NetworkMode", "container:the-other"),
    ("and has its own host name", SHARED, "Hostname", None),
    ("and domain", SHARED, "Domainname", None),
    ("and ports", SHARED, "ExposedPorts", None),
    ("and is no endpoint", both(SHARED, NO_NETWORKS), "NetworkingConfig/EndpointsConfig", {}),
    ("another's processes", setting("HostConfig/PidMode", f"container:{OTHER}"), "HostConfig/PidMode",
     "container:the-other"),
    ("another's memory", setting("HostConfig/IpcMode", f"container:{OTHER}"), "HostConfig/IpcMode",
     "container:the-other"),
    ("volumes from another", setting("HostConfig/VolumesFrom", [f"{OTHER}:ro", "named"]), "HostConfig/VolumesFrom",
     ["the-other:ro", "named"]),
    ("links as they were asked for", setting("HostConfig/Links", ["/other:/self/alias", "/b:/self/b"]),
     "HostConfig/Links", ["other:alias", "b:b"]),
    ("a network by its id is called by name", setting("HostConfig/NetworkMode", "4b1e1bc63473"),
     "HostConfig/NetworkMode", "first"),
    ("a network that was left is not joined", setting("HostConfig/NetworkMode", "left"), "HostConfig/NetworkMode",
     "first"),
    ("the host's network", both(setting("HostConfig/NetworkMode", "host"),
                                setting("NetworkSettings/Networks", {"host": {"NetworkID": "x"}})),
     "NetworkingConfig/EndpointsConfig", {}),
    ("no aliases on the default bridge", both(setting("HostConfig/NetworkMode", "default"),
     setting("NetworkSettings/Networks", {"bridge": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "1.2.3.4"}}})),
     "NetworkingConfig/EndpointsConfig", {"bridge": {}}),
    ("what is unknown stays", setting("HostConfig/Annotations", {"a": "b"}), "HostConfig/Annotations", {"a": "b"}),
    ("options of a newer engine too", setting("Config/Healthcheck/StartInterval", 5), "Healthcheck/StartInterval", 5),
    ("the privileged have no masked paths", setting("HostConfig/MaskedPaths", None), "HostConfig/MaskedPaths", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path", "expected"), [each[1:] for each in BODIES], ids=[each[0] for each in BODIES]
)
def test_the_body_holds(change: Change, path: str, expected: Any) -> None:
    node: Any = payload(recorded(change), names={OTHER: "the-other"}).body
    for key in path.split("/"):
        node = node.get(key)
    assert node == expected


def test_labels_are_set_and_taken_away() -> None:
    labels = payload(recorded(), labels={"hash": "new", "e": None}).body["Labels"]
    assert labels == {"a.b": "c=d", "rollcall.bed": "recorded", "hash": "new"}


def test_a_container_that_mounts_something_else_by_now_is_refused() -> None:
    with pytest.raises(EngineError, match=f"mounts {WRONG} at {DATA}, not another: it was changed meanwhile"):
        payload(recorded(), wrong="another")
    with pytest.raises(EngineError, match="mounts no volume"):
        payload(recorded(setting("Mounts", [])))


def test_only_what_must_exist_is_checked_for() -> None:
    made = payload(recorded())
    assert made.volumes == sorted([ANONYMOUS, PINNED])
    assert sorted(made.network_ids) == ["first", "static", "third"]


def test_a_payload_never_shows_its_body() -> None:
    made = payload(recorded())
    assert PASSWORD in str(made.body)
    assert PASSWORD not in f"{made!r} {made} {made.notes}"


# The image


def test_a_tag_that_moved_on_gives_way_to_the_id() -> None:
    made = payload(recorded(), image=image(RepoTags=["postgres:older"]))
    assert made.body["Image"] == recorded()["Image"]
    assert made.notes[0].startswith("postgres:15 is no longer the image that knowledge_postgres runs")


@pytest.mark.parametrize(
    ("name", "tags", "digests", "known"),
    [
        ("postgres", ["postgres:latest"], [], True),
        ("postgres:17", ["postgres:17"], [], True),
        ("postgres:17", ["postgres:16"], [], False),
        ("docker.io/library/postgres:17", ["postgres:17"], [], True),
        ("docker.io/pgvector/pgvector:pg16", ["pgvector/pgvector:pg16"], [], True),
        ("registry:5000/postgres", ["registry:5000/postgres:latest"], [], True),
        ("registry:5000/postgres", ["registry:5000/postgres:17"], [], False),
        ("postgres@sha256:aa", [], ["postgres@sha256:aa"], True),
        ("postgres:17@sha256:aa", [], ["postgres@sha256:aa"], True),
        ("postgres@sha256:aa", ["postgres:latest"], ["postgres@sha256:bb"], False),
        ("0123456789ab", [], [], True),
        ("fedcba987654", [], [], False),
    ],
)
def test_an_images_name_means_the_image_while_it_has_it(
    name: str, tags: list[str], digests: list[str], known: bool
) -> None:
    assert means(name, {"Id": "sha256:0123456789abcdef", "RepoTags": tags, "RepoDigests": digests}) is known


# Mounts


def mounting(binds: list[str], mounts: list[Json], top: list[Json], own: list[str], lenders: list[str]) -> Json:
    return {
        "HostConfig": {"Binds": binds, "Mounts": mounts, "VolumesFrom": lenders},
        "Config": {"Volumes": {at: {} for at in own}},
        "Mounts": [{"Type": "volume", "Driver": "local", "RW": True, **each} for each in top],
    }


def volume(name: str, at: str, **more: Any) -> Json:
    return {"Name": name, "Destination": at, **more}


def structure(source: str | None, at: str, **more: Any) -> Json:
    return {"Type": "volume", "Target": at, **({"Source": source} if source else {}), **more}


NOCOPY = {"VolumeOptions": {"NoCopy": True}}
MOUNTS = {
    "a bind keeps its flags": (
        (["w:/data:ro,z,nocopy", "/srv:/srv:rslave"], [], [volume("w", "/data")], ["/data"], []),
        (["p:/data:ro,z,nocopy", "/srv:/srv:rslave"], []),
    ),
    "a bind with a slash at its end": ((["w:/data/"], [], [volume("w", "/data")], [], []), (["p:/data/"], [])),
    "a drive's letter is no volume": (
        (["C:\\srv:/srv:ro", "w:/data"], [], [volume("w", "/data")], [], []),
        (["C:\\srv:/srv:ro", "p:/data"], []),
    ),
    "a bind without a source": ((["/data"], [], [volume("w", "/data")], [], []), (["p:/data:nocopy"], [])),
    "a structure keeps its flags": (
        ([], [structure("w", "/data", ReadOnly=True, Consistency="cached", VolumeOptions={"NoCopy": False})],
         [volume("w", "/data")], [], []),
        ([], [structure("p", "/data", ReadOnly=True, Consistency="cached", VolumeOptions={"NoCopy": False})]),
    ),
    "but not the other volume's driver and labels": (
        ([], [structure("w", "/data", VolumeOptions={"DriverConfig": {"Name": "x"}, "Labels": {"a": "b"}})],
         [volume("w", "/data")], [], []),
        ([], [structure("p", "/data", VolumeOptions={})]),
    ),
    "which other mounts keep": (
        ([], [structure("w", "/data"), structure("o", "/o", VolumeOptions={"DriverConfig": {"Name": "x"}})],
         [volume("w", "/data"), volume("o", "/o")], [], []),
        ([], [structure("p", "/data"), structure("o", "/o", VolumeOptions={"DriverConfig": {"Name": "x"}})]),
    ),
    "an anonymous structure": (
        ([], [structure(None, "/data")], [volume("w", "/data")], [], []),
        ([], [structure("p", "/data", **NOCOPY)]),
    ),
    "the image's own volume": (
        ([], [], [volume("w", "/data")], ["/data"], []),
        ([], [structure("p", "/data", **NOCOPY)]),
    ),
    "other anonymous volumes are named": (
        (["w:/data"], [structure(None, "/b")], [volume("w", "/data"), volume("aa", "/a", RW=False), volume("bb", "/b")],
         ["/a"], []),
        (["p:/data"], [structure("bb", "/b", **NOCOPY), structure("aa", "/a", **NOCOPY, ReadOnly=True)]),
    ),
    "lent volumes are left to their lender": (
        (["w:/data"], [], [volume("w", "/data"), volume("lent", "/lent")], [], ["lender"]),
        (["p:/data"], []),
    ),
    "own ones beside them are named": (
        (["w:/data"], [], [volume("w", "/data"), volume("aa", "/a")], ["/a"], ["lender"]),
        (["p:/data"], [structure("aa", "/a", **NOCOPY)]),
    ),
    "tmpfs and binds are left as they are": (
        (["w:/data"], [{"Type": "tmpfs", "Target": "/t"}, {"Type": "bind", "Source": "/s", "Target": "/s"}],
         [volume("w", "/data")], [], []),
        (["p:/data"], [{"Type": "tmpfs", "Target": "/t"}, {"Type": "bind", "Source": "/s", "Target": "/s"}]),
    ),
    "the wrong volume mounted twice is swapped once": (
        (["w:/data", "w:/again:ro"], [], [volume("w", "/data"), volume("w", "/again")], [], []),
        (["p:/data", "w:/again:ro"], []),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), MOUNTS.values(), ids=MOUNTS)
def test_the_volume_is_swapped_where_it_was_declared(given: Any, expected: tuple[list[str], list[Json]]) -> None:
    made = remounted(mounting(*given), "/data", "p")
    assert (made.binds, made.mounts) == expected


# What differs

# What belongs to one container and one start, and what mounts and networks are compared by instead.
NO_DIFFERENCE = (
    "Id Created State ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount MountLabel ProcessLabel ExecIDs "
    "GraphDriver SizeRw SizeRootFs HostConfig/ContainerIDFile HostConfig/Binds Mounts NetworkSettings"
)


def leaves(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}\0{key}" if path else key)
    else:
        yield path


def changed(found: Json, path: str) -> Json:
    other = copy.deepcopy(found)
    node: Any = other
    *above, last = path.split("\0")
    for key in above:
        node = node[key]
    node[last] = ["CHANGED"] if isinstance(node[last], list) else f"changed {node[last]}"
    return other


OPTIONS = [
    path for path in leaves(recorded()) if not path.replace("\0", "/").startswith(tuple(NO_DIFFERENCE.split(" ")))
]


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.replace("\0", "/"))
def test_no_option_differs_unseen(path: str) -> None:
    found = recorded()
    seen = difference(found, changed(found, path))
    assert len(seen) >= 1
    assert PASSWORD not in str(seen)


SEEN = [
    (setting("Config/Env", ["POSTGRES_PASSWORD=new", "TZ="]),
     ["Config.Env.LANG: only in the old one", "Config.Env.PATH: only in the old one",
      "Config.Env.PGDATA: only in the old one", "Config.Env.PG_MAJOR: only in the old one",
      "Config.Env.POSTGRES_PASSWORD: differs", "Config.Env.TZ: differs"]),
    (setting("Mounts/0/Name", PINNED), [f"Mounts.{DATA}.volume: {WRONG} → {PINNED}"]),
    (setting("Mounts/0/RW", False), [f"Mounts.{DATA}.writable: True → False"]),
    (setting("HostConfig/Binds/1", f"x:{DATA}:nocopy"), [f"Mounts.{DATA}.flags: none → ['nocopy']"]),
    (setting("HostConfig/RestartPolicy/Name", "no"),
     ["HostConfig.RestartPolicy: {'MaximumRetryCount': 0, 'Name': 'always'} → {'MaximumRetryCount': 0, 'Name': 'no'}"]),
    (setting("HostConfig/MemorySwappiness", 0), ["HostConfig.MemorySwappiness: none → 0"]),
    (setting("Config/StopTimeout", 0), ["Config.StopTimeout: 77 → 0"]),
    (setting("HostConfig/Mounts", [structure("o", "/o", VolumeOptions={"DriverConfig": {"Options": {"o": PASSWORD}}})]),
     ["Mounts./o.VolumeOptions.DriverConfig.Options.o: only in the new one"]),
    (setting("NetworkSettings/Networks/static/IPAMConfig", {"IPv4Address": "10.231.78.78"}),
     ["Networks.static.IPAMConfig: {'IPv4Address': '10.231.78.77'} → {'IPv4Address': '10.231.78.78'}"]),
    (setting("Config/Labels/e", "x"), ["Config.Labels.e: differs"]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), SEEN, ids=[each[1][0].partition(":")[0] for each in SEEN])
def test_what_differs_is_told_without_secrets(change: Change, expected: list[str]) -> None:
    def in_place(found: Json) -> None:
        change(Steps(found))  # type: ignore[arg-type]

    assert difference(recorded(), recorded(in_place)) == expected


class Steps:
    """Lets a path go through lists: `Mounts/0/Name`."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def __getitem__(self, key: str) -> "Steps":
        return Steps(self.node[int(key) if isinstance(self.node, list) else key])

    def __setitem__(self, key: str, value: Any) -> None:
        self.node[int(key) if isinstance(self.node, list) else key] = value


def test_what_belongs_to_one_start_is_no_difference() -> None:
    def another(found: Json) -> None:
        found["Id"] = "9" * 64
        found["Name"] = "/other"
        found["State"]["Status"] = "exited"
        for network in found["NetworkSettings"]["Networks"].values():
            network["Aliases"] = [each for each in [*reversed(network["Aliases"])] if each != OWN_ID[:12]]
            network["Aliases"].append("9" * 12)
            network |= {"IPAddress": "10.9.9.9", "MacAddress": "02:42:00:00:00:99", "EndpointID": "x"}

    assert difference(recorded(), recorded(another)) == []


# What stands against it


def other(**changed: Any) -> Json:
    """Another container, which has nothing to do with ours."""
    host = {"NetworkMode": "default", **changed.pop("host", {})}
    found = {
        "Id": OTHER,
        "Name": "/app",
        "State": {"Status": "running"},
        "Config": {"Labels": {}},
        "HostConfig": host,
        "Mounts": [],
    }
    return {**found, **changed}


def mounted_on(kind: str) -> Change:
    return setting("Mounts", [{"Type": kind, "Source": "/srv", "Destination": DATA, "RW": True}])


BLOCKERS: list[tuple[Change, Json, str]] = [
    (setting("HostConfig/AutoRemove", True), other(), "was started with --rm"),
    (setting("Config/Labels", {"com.docker.swarm.service.name": "x"}), other(), "belongs to a Docker Swarm service"),
    (setting("Config/Labels", {"io.kubernetes.pod.name": "x"}), other(), "belongs to a Kubernetes pod"),
    (setting("State/Status", "paused"), other(), "is paused; docker unpause"),
    (setting("State/Status", "restarting"), other(), "is restarting;"),
    (mounted_on("bind"), other(), r"is on no Docker volume \(a folder of the host\)"),
    (mounted_on("tmpfs"), other(), r"is on no Docker volume \(memory\)"),
    (setting("Mounts", []), other(), r"is on no Docker volume \(its own layer\)"),
    (setting("HostConfig/Mounts", [structure(WRONG, DATA, VolumeOptions={"Subpath": "x"})]), other(), "volume-subpath"),
    (NO_NETWORKS, other(), "is connected to no network any more"),
    (setting("HostConfig/VolumesFrom", ["app:ro"]), other(Mounts=[{"Type": "volume", **volume(WRONG, DATA)}]),
     r"has its data volume from app \(--volumes-from\)"),
    (lambda _: None, other(host={"NetworkMode": f"container:{OWN_ID}"}), "app shares the network namespace of"),
    (lambda _: None, other(host={"PidMode": "container:knowledge_postgres"}), "app shares the process namespace of"),
    (lambda _: None, other(host={"IpcMode": f"container:{OWN_ID[:12]}"}), "app shares the memory namespace of"),
    (lambda _: None, other(host={"VolumesFrom": ["knowledge_postgres:ro"]}), "app has its volumes from"),
    (lambda _: None, other(host={"Links": ["/knowledge_postgres:/app/db"]}), "a link stays with the old container"),
    (lambda _: None, other(Mounts=[{"Type": "volume", **volume(PINNED, "/x")}]), f"{PINNED} is in use by app"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "beside", "sentence"), BLOCKERS, ids=[each[2] for each in BLOCKERS])
def test_it_is_refused_with_one_sentence(change: Change, beside: Json, sentence: str) -> None:
    found = recorded(change)
    (said,) = blockers(found, [found, beside], PINNED)
    with pytest.raises(EngineError, match=sentence):
        raise EngineError(said)


NO_BLOCKERS = {
    "itself and a stranger": other(),
    "a stopped user of the pinned volume": other(
        State={"Status": "exited"}, Mounts=[{"Type": "volume", **volume(PINNED, "/x")}]
    ),
    "a helper of ours": other(
        host={"NetworkMode": f"container:{OWN_ID}"}, Config={"Labels": {"io.rollcall.helper": "x"}}
    ),
    "one linked to another": other(host={"Links": ["/knowledge_postgres_2:/app/db"]}),
}


@pytest.mark.parametrize("beside", NO_BLOCKERS.values(), ids=NO_BLOCKERS)
def test_nothing_stands_against_it(beside: Json) -> None:
    found = recorded()
    assert blockers(found, [found, beside], PINNED) == []


def test_names_are_known_by_id() -> None:
    assert names_of([other()]) == {OTHER: "app"}


# What is lost


def test_only_files_of_the_containers_own_layer_are_lost() -> None:
    there = {
        "/root": 0, "/root/.psql_history": 1, "/run": 0, "/run/postgresql/.s.PGSQL.5432": 1, "/tmp/x": 1,
        f"{DATA}/base": 1, "/scratch/y": 1, "/anonymous": 1, "/docker-entrypoint-initdb.d": 1, "/etc": 0,
        "/etc/hosts": 0, "/etc/passwd": 0, "/var/lib": 0, "/usr/bin/gone": 2,
    }  # fmt: skip
    carried, lost, ports = reports(recorded(), [{"Path": path, "Kind": kind} for path, kind in there.items()])

    assert carried.endswith("copied into the new one: /etc/passwd.")
    assert "not in the new one: /root/.psql_history, /usr/bin/gone; they stay" in lost
    assert ports == "The host's port for 5432/tcp is chosen at each start: it may be another one afterwards."


def test_many_lost_files_are_counted() -> None:
    (lost, _) = reports(recorded(), [{"Path": f"/var/log/{number}", "Kind": 1} for number in range(12)])
    assert "and 7 more;" in lost


def test_what_lies_where_secrets_do_is_carried_and_a_process_s_sign_of_life_is_not() -> None:
    there = {
        "/run": 0, "/run/secrets": 1, "/run/secrets/password": 1, "/run/our.conf": 1, "/run/a.pid": 1,
        "/run/postgresql": 0, "/run/postgresql/.s.PGSQL.5432.lock": 1, "/run/lock/x": 1,
        "/run/service": 1, "/run/service/patroni": 1, "/opt": 0, "/opt/a.pid": 1, "/opt/.s.PGSQL.5432": 1,
    }  # fmt: skip
    layer = layer_of(recorded(), [{"Path": path, "Kind": kind} for path, kind in there.items()])
    assert layer == (["/run/our.conf", "/run/secrets", "/run/secrets/password"], [])


def test_of_more_files_than_are_worth_copying_the_secrets_are() -> None:
    there = [*(f"/usr/lib/x{number}" for number in range(MOST_CARRIED)), "/run/secrets/password"]
    layer = layer_of(recorded(), [{"Path": path, "Kind": 1} for path in there])
    assert (layer.carried, len(layer.lost)) == (["/run/secrets/password"], MOST_CARRIED)


@pytest.mark.parametrize(("own", "seconds"), [(None, 60), (10, 60), (300, 300), (-1, -1), (0, 60)])
def test_a_stop_takes_as_long_as_the_container_says_but_at_least_a_minute(own: int | None, seconds: int) -> None:
    assert _stop_seconds({"Config": {"StopTimeout": own}}) == seconds
