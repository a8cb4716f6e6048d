"""Clusters found in volumes by a helper that can change nothing."""

import io
import logging
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator

import pytest

from tasks.containers import clusters
from tasks.containers.clusters import ClusterVolume, clusters_in, look_into
from tasks.containers.contents import is_empty
from tasks.containers.engine import OUR_LABEL
from tasks.containers.other_files import in_words
from tasks.containers.volumes import Volume, find_volume
from tasks.errors import EngineError
from tests.bed import debian, images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer

IMAGE = images.tag(17)
NewVolume = Callable[..., str]


def run_in(bed: Bed, script: str, *mounts: str) -> str:
    """Run a script as root in a container of its own, which leaves nothing behind, and return what it prints."""
    labels = [f"--label={name}={value}" for name, value in bed.labels.items()]
    line = ["docker", "run", "--rm", *labels, *(f"--volume={each}" for each in mounts), "--entrypoint=sh", IMAGE]
    ran = subprocess.run([*line, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    return ran.stdout


@pytest.fixture
def owner(bed: Bed) -> Iterator[str]:
    """What the helpers of a test are labelled with; none of them may be left after it."""
    chosen = bed.name("owner")
    yield chosen
    assert bed.client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={chosen}"}) == []


@pytest.fixture
def new_volume(bed: Bed) -> Iterator[NewVolume]:
    """Makes a volume and runs a script as root in it, with `source` mounted read-only at /source."""
    made: list[str] = []

    def make(script: str = "", source: str | None = None) -> str:
        made.append(bed.name("volume"))
        bed.client.volumes.create(made[-1], labels=bed.labels)
        mounts = [f"{made[-1]}:/made", *([f"{source}:/source:ro"] if source else [])]
        if script:
            run_in(bed, f"set -e; cd /made; {script}", *mounts)
        return made[-1]

    yield make
    for each in made:
        bed.remove_volume(each)


def identifier(server: PostgresServer) -> str:
    return str(server.value("SELECT system_identifier FROM pg_control_system()"))


def places(found: list[ClusterVolume]) -> list[tuple[str, str]]:
    return [(each.volume.name, each.path) for each in found]


def test_clusters_of_every_version_and_layout_are_found_while_their_servers_run(
    bed: Bed, owner: str, postgres15: PostgresServer, postgres17: PostgresServer, postgres18: PostgresServer
) -> None:
    servers = [postgres15, postgres17, postgres18]

    found = {each.volume.name: each for each in clusters_in(bed.client, IMAGE, [s.volume for s in servers], owner)}

    assert {name: (each.major, each.path) for name, each in found.items()} == {
        postgres15.volume: ("15", ""),
        postgres17.volume: ("17", ""),
        postgres18.volume: ("18", "18/docker"),
    }
    for server in servers:
        each = found[server.volume]
        assert each.control.system_identifier == identifier(server)
        assert each.control.state == "in production"
        assert each.control.sound
        assert each.has_pid_file
        assert each.bytes is not None
        assert each.bytes > 20_000_000
        room = os.statvfs(bed.client.info()["DockerRootDir"])
        assert each.free_bytes is not None
        assert 0.5 < each.free_bytes / (room.f_bavail * room.f_frsize) < 2
        assert [user.container for user in each.volume.users] == [server.container]


def test_clusters_are_found_three_levels_below_the_root_and_no_deeper(
    bed: Bed, owner: str, postgres17: PostgresServer, new_volume: NewVolume
) -> None:
    deep = new_volume(
        """
        put() { mkdir -p "$1/global"; cp /source/PG_VERSION "$1"; cp /source/global/pg_control "$1/global"; }
        put 'a/with space/c'; put a/b/c/d; put old; put base/1; put "$(printf 'line\\nbreak')"
        mkdir tablespace; cp /source/PG_VERSION tablespace
        mkdir -p cut/global; cp /source/PG_VERSION cut; head -c 100 /source/global/pg_control > cut/global/pg_control
        mkdir -p odd/global; echo none > odd/PG_VERSION; cp /source/global/pg_control odd/global
        mkdir -p fifo/global; cp /source/PG_VERSION fifo; mkfifo fifo/global/pg_control
        mkdir -p link; cp /source/PG_VERSION link; ln -s /volumes/0/old/global link/global
        chmod 700 old a; chown -R postgres old a
        """,
        source=postgres17.volume,
    )

    found = clusters_in(bed.client, IMAGE, [deep], owner)

    assert places(found) == [(deep, "a/with space/c"), (deep, "old")]
    assert {each.control.system_identifier for each in found} == {identifier(postgres17)}


def test_what_looks_like_a_cluster_and_cannot_be_read_is_told_of(
    bed: Bed, owner: str, new_volume: NewVolume, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = new_volume("echo 17 > PG_VERSION; mkdir global; head -c 8192 /dev/zero > global/pg_control")

    with caplog.at_level(logging.WARNING, "rollcall"):
        assert clusters_in(bed.client, IMAGE, [damaged], owner) == []

    assert f"The cluster in volume {damaged} ('', PostgreSQL 17) cannot be read" in caplog.text


def test_an_empty_volume_stays_empty(bed: Bed, owner: str, new_volume: NewVolume) -> None:
    empty = new_volume()
    assert clusters_in(bed.client, IMAGE, [empty], owner) == []
    listed = run_in(bed, "find /it", f"{empty}:/it:ro")
    assert listed == "/it\n"


def test_a_volume_that_goes_or_cannot_be_mounted_costs_only_itself(
    bed: Bed, owner: str, postgres17: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"type": "none", "o": "bind", "device": "/does/not/exist"}
    broken = bed.name("broken")
    bed.client.volumes.create(broken, driver_opts=options, labels=bed.labels)
    try:
        with caplog.at_level(logging.WARNING, "rollcall"):
            found = clusters_in(bed.client, IMAGE, [broken, bed.name("never-made"), postgres17.volume], owner)
    finally:
        bed.remove_volume(broken)

    assert places(found) == [(postgres17.volume, "")]
    assert f"The volume {broken} cannot be looked into, for it cannot be mounted" in caplog.text


@pytest.fixture
def unreadable(bed: Bed) -> Iterator[str]:
    """A volume whose top folder lists nothing to whoever has no right to look at other processes."""
    name = bed.name("unreadable")
    options = {"type": "none", "o": "bind", "device": "/proc/1/map_files"}
    bed.client.volumes.create(name, driver_opts=options, labels=bed.labels)
    yield name
    bed.remove_volume(name)


def test_a_volume_that_cannot_be_read_is_neither_clear_nor_empty(
    bed: Bed, owner: str, unreadable: str, caplog: pytest.LogCaptureFixture
) -> None:
    image = bed.client.images.get(IMAGE).id
    with caplog.at_level(logging.WARNING, "rollcall"):
        assert look_into(bed.client, IMAGE, [unreadable], owner) == ([], {unreadable}, {}, set())
    assert f"{unreadable} cannot be searched to its end (find: '/volumes/0': Permission denied)" in caplog.text
    with pytest.raises(EngineError, match=f"{unreadable} cannot be looked into: a search through it ended with 1"):
        is_empty(bed.client, unreadable, image, owner)


FIND = """#!/bin/sh
/usr/bin/find "$@"
[ "$2" = -maxdepth ] || exit 0
echo "find: '$1/gone': No such file or directory" >&2
exit 1
"""


def test_what_goes_while_it_is_searched_makes_no_volume_unclear(
    bed: Bed, owner: str, postgres17: PostgresServer, new_volume: NewVolume
) -> None:
    """A race, so this image's `find` tells of a file that is gone, as the real one does when it loses that race."""
    image = f"rollcall-bed/losing-a-race:{bed.run_id}"
    box = bed.client.containers.create(IMAGE, labels=bed.labels)
    box.put_archive("/usr/local/bin", _executable("find", FIND))
    box.commit(*image.split(":"))
    box.remove(v=True)
    empty = new_volume()
    try:
        found, unclear, *_ = look_into(bed.client, image, [postgres17.volume, empty], owner)
    finally:
        bed.client.images.remove(image)
    assert (places(found), unclear) == ([(postgres17.volume, "")], set())


def _executable(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text), 0o755
        packed.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_a_plain_volume_that_cannot_be_mounted_costs_only_itself(
    bed: Bed, owner: str, postgres17: PostgresServer, postgres15: PostgresServer, new_volume: NewVolume
) -> None:
    halves = [new_volume() for _ in range(5)]
    broken = new_volume()
    volume = find_volume(bed.client, broken)
    assert volume is not None
    subprocess.run(["rmdir", volume.mountpoint], check=True)

    wanted = [postgres17.volume, *halves[:3], broken, *halves[3:], postgres15.volume]
    found = clusters_in(bed.client, IMAGE, wanted, owner)

    assert sorted(places(found)) == sorted([(postgres15.volume, ""), (postgres17.volume, "")])


def test_a_volume_removed_between_listing_and_mounting_is_not_brought_back(
    bed: Bed, owner: str, postgres17: PostgresServer
) -> None:
    there = find_volume(bed.client, postgres17.volume)
    assert there is not None
    gone = Volume(
        name=bed.name("gone"), driver="local", labels={}, options={}, created_at="", mountpoint="", users=[]
    )  # fmt: skip

    found = clusters._search(bed.client, IMAGE, [gone, there], owner).clusters

    assert places(found) == [(postgres17.volume, "")]
    assert find_volume(bed.client, gone.name) is None


def test_more_volumes_than_one_helper_takes_are_all_searched(
    bed: Bed, owner: str, postgres17: PostgresServer, new_volume: NewVolume
) -> None:
    many = [new_volume() for _ in range(clusters.AT_ONCE + 3)]
    assert places(clusters_in(bed.client, IMAGE, [*many, postgres17.volume], owner)) == [(postgres17.volume, "")]


def test_the_helper_reads_what_is_others_and_can_change_nothing(
    bed: Bed, owner: str, postgres17: PostgresServer
) -> None:
    volume = find_volume(bed.client, postgres17.volume)
    assert volume is not None
    config = clusters._helper(bed.client, IMAGE, [volume], owner, "token")
    tries = """
        ls /volumes/0/base > /dev/null && echo reads
        for each in 'touch /volumes/0/new' 'chmod 777 /volumes/0' 'chown 0 /volumes/0' 'touch /tmp/new' \
            'mount -o remount,rw /volumes/0' 'kill -0 -1' 'mknod /dev/shm/x b 8 0'; do
            $each 2> /dev/null && echo "could $each"
        done
        grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /sys/class/net
    """
    config["command"] = ["-c", tries]
    helper = bed.client.api.create_container(**config)["Id"]
    try:
        said = " ".join(clusters._listen(bed.client, helper, deadline=60)).split()
    finally:
        clusters._remove(bed.client, helper)

    assert said == ["reads", "CapEff:", "0000000000000004", "NoNewPrivs:", "1", "lo"]


@pytest.mark.parametrize("when", ["before its start", "at work"])
def test_a_helper_that_another_run_swept_is_started_again(
    bed: Bed, owner: str, postgres17: PostgresServer, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swept from between its steps: beside it, it would be over before it is found, as often as not."""
    swept: list[str] = []
    start, script = bed.client.api.start, clusters.SCRIPT

    def start_and_sweep(helper: str) -> None:
        if swept:
            return start(helper)
        swept.append(helper)
        monkeypatch.setattr(clusters, "SCRIPT", script)
        if when == "at work":
            start(helper)
        bed.client.api.remove_container(helper, force=True)
        return start(helper) if when == "before its start" else None

    monkeypatch.setattr(clusters, "SCRIPT", f"sleep 600\n{script}")
    with monkeypatch.context() as patched:
        patched.setattr(bed.client.api, "start", start_and_sweep)
        found = clusters_in(bed.client, IMAGE, [postgres17.volume], owner)

    assert places(found) == [(postgres17.volume, "")]
    assert len(swept) == 1


@pytest.mark.parametrize("image", ["rollcall-bed/not-there:1", "sha256:" + "0" * 64])
def test_an_image_that_is_not_there_is_one_clear_sentence(
    bed: Bed, owner: str, postgres17: PostgresServer, image: str
) -> None:
    with pytest.raises(EngineError, match="No helper container can be run from the image"):
        clusters_in(bed.client, image, [postgres17.volume], owner)


def test_busybox_does_as_well_as_coreutils(bed: Bed, owner: str, postgres18: PostgresServer) -> None:
    busybox = str(debian.static_busybox())
    image = f"rollcall-bed/busybox:{bed.run_id}"
    bed.client.api.import_image_from_data(_busybox_image(busybox), repository=image.partition(":")[0], tag=bed.run_id)
    try:
        found, unclear, *_ = look_into(bed.client, image, [postgres18.volume], owner)
    finally:
        bed.client.images.remove(image)

    assert [(each.path, each.major, each.has_pid_file) for each in found] == [("18/docker", "18", True)]
    assert None not in (found[0].bytes, found[0].free_bytes)
    assert found[0].control.system_identifier == identifier(postgres18)
    assert unclear == set()


def _busybox_image(busybox: str) -> bytes:
    tools = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(busybox, "bin/busybox")
        for tool in tools:
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if tool != "busybox":
                archive.addfile(link)
    return buffer.getvalue()


LAYOUT = """
cd /it && mkdir -p lost+found empty/deeper uploads/a 18/docker/conf.d wal/archive_status ts/one/PG_18_202506291 archive
echo 1 | tee uploads/a/1.jpg '.hid den' 18/server.key 18/docker/conf.d/a.conf archive/0001 ts/one/strange > /dev/null
ln -s /data/wal 18/docker/pg_wal2; rm -rf wal/*; mv 18/docker/pg_wal/* wal/; rm -r 18/docker/pg_wal
ln -s /data/wal 18/docker/pg_wal; rm 18/docker/pg_wal2; ln -s /data/ts/one 18/docker/pg_tblspc/99
"""


def test_what_no_cluster_in_a_volume_needs_is_named(
    bed: Bed, owner: str, postgres18: PostgresServer, new_volume: NewVolume
) -> None:
    copy = new_volume()
    bed.client.containers.run(
        IMAGE, ["sh", "-c", f"cp -a /from/. /it/ && {LAYOUT}"], entrypoint=[], remove=True, labels=bed.labels,
        volumes={postgres18.volume: {"bind": "/from", "mode": "ro"}, copy: {"bind": "/it", "mode": "rw"}},
    )  # fmt: skip

    _, _, others, linked = look_into(bed.client, IMAGE, [copy, postgres18.volume], owner)

    assert sorted((each.path, each.files) for each in others[copy]) == [
        (".hid den", 1), ("18/docker/conf.d/", 1), ("18/server.key", 1), ("archive/", 1), ("ts/one/strange", 1),
        ("uploads/", 1),
    ]  # fmt: skip
    assert postgres18.volume not in others
    assert linked == {copy}


def test_many_files_beside_a_cluster_do_not_hide_those_in_it(bed: Bed, owner: str, new_volume: NewVolume) -> None:
    volume = new_volume(
        "mkdir -p pgdata/global; for each in pgdata/PG_VERSION pgdata/global/pg_control pgdata/server.key ... "
        "'pgdata/base global' $(seq -f dump%03g 60); do echo 1 > \"$each\"; done"
    )

    found = look_into(bed.client, IMAGE, [volume], owner).others[volume]

    named = [each for each in found if not each.more]
    assert {"pgdata/server.key", "pgdata/base global", "dump001"} <= {each.path for each in named}
    (more,) = [each for each in found if each.more]
    assert (more.path, len(named) + more.files) == ("", 63)
    assert "more in its root" in in_words([more])
