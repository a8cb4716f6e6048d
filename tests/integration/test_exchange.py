"""Two real volumes change their data: by this process and by a helper container, interrupted after every rename, and
not at all where anything speaks against it."""

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.errors import APIError

from tasks.containers import exchange as exchanging
from tasks.containers.by_helper import sweep_helpers
from tasks.containers.engine import OUR_LABEL
from tasks.containers.exchange import can_exchange, exchange, folder_id, settle
from tasks.containers.exchange_by_helper import FoldersByHelper
from tasks.containers.exchange_moves import ASIDE, DATA
from tasks.containers.volumes import Volume, find_volume
from tasks.errors import EngineError
from tests.bed import images
from tests.bed.labels import Bed, pause
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import ROOT, run, wait_until
from tests.bed.shell import shell

IMAGE = images.tag(15)
SECONDS = 180
SUMS = "find . -type f -exec sha256sum {} + | sort | sha256sum"

Volumes = tuple[str, str]


@pytest.fixture
def owner(bed: Bed) -> str:
    return bed.name("exchange")


@pytest.fixture(params=["here", "by helper"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by helper":
        monkeypatch.setattr(exchanging, "shares_this_kernel", lambda _: False)
    return str(request.param)


@pytest.fixture
def by_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging, "shares_this_kernel", lambda _: False)


@pytest.fixture
def volumes(bed: Bed) -> Iterator[Volumes]:
    """Two volumes, each with files that say whose they are, owned by the database's user."""
    one, other = bed.name("pinned"), bed.name("staging")
    for name in (one, other):
        bed.client.volumes.create(name, labels=bed.labels)
    script = "for v in one other; do mkdir /$v/base && echo $v > /$v/base/whose; done; chown -R 999:999 /one /other"
    in_volumes(bed, script, one=one, other=other)
    yield one, other
    for name in (one, other):
        wait_until(lambda name=name: removed(bed, name), SECONDS, f"the removal of {name}")  # type: ignore[misc]


def removed(bed: Bed, name: str) -> bool:
    """False while somebody else on this engine, who looks into every volume, still has it mounted."""
    try:
        bed.remove_volume(name)
    except APIError:
        return False
    return True


def in_volumes(bed: Bed, script: str, **volumes: str) -> str:
    """What a line of shell prints, run as root with volumes at /NAME."""
    return shell(bed.client, IMAGE, script, labels=bed.labels, **volumes)


def whose(bed: Bed, volumes: Volumes) -> list[str]:
    return in_volumes(bed, "cat /one/base/whose /other/base/whose", one=volumes[0], other=volumes[1]).split()


def ids_of(bed: Bed, volumes: Volumes, owner: str) -> dict[str, str]:
    return {name: folder_id(bed.client, name, IMAGE, owner) for name in volumes}


def swapped(ids: dict[str, str], volumes: Volumes) -> dict[str, str]:
    one, other = volumes
    return {one: ids[other], other: ids[one]}


def folder_of(bed: Bed, name: str) -> Path:
    """The volume's own folder, on this machine."""
    return Path(volume_of(bed, name).mountpoint).parent


def volume_of(bed: Bed, name: str) -> Volume:
    found = find_volume(bed.client, name)
    assert found is not None
    return found


def settled(bed: Bed, volumes: Volumes, wanted: dict[str, str], owner: str) -> None:
    settle(bed.client, *volumes, wanted, IMAGE, owner)


def leaves_no_helper(bed: Bed, owner: str) -> None:
    assert bed.client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={owner}"}) == []


# What it does


@pytest.mark.usefixtures("way")
def test_data_changes_places_and_keeps_its_owner(bed: Bed, volumes: Volumes, owner: str) -> None:
    before = ids_of(bed, volumes, owner)
    exchange(bed.client, *volumes, IMAGE, owner)
    assert whose(bed, volumes) == ["other", "one"]
    assert ids_of(bed, volumes, owner) == swapped(before, volumes)
    assert in_volumes(bed, "stat -c %u:%g /one /one/base/whose", one=volumes[0]).split() == ["999:999"] * 2
    assert [each.name for each in folder_of(bed, volumes[0]).iterdir()] == [DATA]
    leaves_no_helper(bed, owner)


@pytest.mark.slow
@pytest.mark.usefixtures("way")
def test_settling_twice_is_settling_once(bed: Bed, volumes: Volumes, owner: str) -> None:
    before = ids_of(bed, volumes, owner)
    after = swapped(before, volumes)
    for wanted, expected in (
        (before, ["one", "other"]),
        (after, ["other", "one"]),
        (after, ["other", "one"]),
        (before, ["one", "other"]),
        (before, ["one", "other"]),
    ):
        settled(bed, volumes, wanted, owner)
        assert whose(bed, volumes) == expected


def test_both_ways_know_a_folder_by_the_same_id(bed: Bed, volumes: Volumes, owner: str) -> None:
    here = ids_of(bed, volumes, owner)
    root = str(folder_of(bed, volumes[0]).parent)
    seen = FoldersByHelper(bed.client, root, volumes, IMAGE, owner).arrange()
    assert {place.volume: each for place, each in seen.items()} == here


@pytest.mark.parametrize(
    ("version", "by"),
    [
        (15, "here"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((15, "helper"), (17, "here"), (17, "helper"))),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((18, "here"), (18, "helper"))),
    ],
)
def test_stopped_servers_start_with_each_other_s_data(
    bed: Bed, postgres: PostgresServers, owner: str, version: int, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "helper":
        monkeypatch.setattr(exchanging, "shares_this_kernel", lambda _: False)
    servers = [postgres(version=version), postgres(version=version)]
    for rows, server in zip((1, 26_337), servers, strict=True):
        server.execute("CREATE TABLE nodes (id int)", f"INSERT INTO nodes SELECT generate_series(1, {rows})")
    identifiers = [identifier(each) for each in servers]
    sums = [stopped(bed, each) for each in servers]
    exchange(bed.client, servers[0].volume, servers[1].volume, bed.client.images.get(images.tag(version)).id, owner)
    assert [checksum(bed, each) for each in servers] == sums[::-1]
    for server in servers:
        bed.client.containers.get(server.container).start()
    started = [postgres.ready(each) for each in servers]
    assert [each.value("SELECT count(*) FROM nodes") for each in started] == [26_337, 1]
    assert [identifier(each) for each in started] == identifiers[::-1]


def identifier(server: PostgresServer) -> int:
    return int(server.value("SELECT system_identifier FROM pg_control_system()"))


def stopped(bed: Bed, server: PostgresServer) -> str:
    bed.client.containers.get(server.container).stop(timeout=120)
    return checksum(bed, server)


def checksum(bed: Bed, server: PostgresServer) -> str:
    """Of every file in the volume."""
    return in_volumes(bed, f"cd /data && {SUMS}", data=server.volume)


# Stopped half-way


@pytest.fixture(scope="module")
def stopping_image(bed: Bed) -> Iterator[Callable[[int], str]]:
    """Makes an image whose `mv` does not come back from the rename of that number: `stopping_image(2)`.

    It counts in the image's data folder, which is a tmpfs in a helper.
    """
    made: dict[int, str] = {}

    def make(stop_after: int) -> str:
        script = (
            f'#!/bin/sh\n/usr/bin/mv "$@" || exit 1\necho >> {images.RECIPES[15].volume}/renames\n'
            f"[ $(wc -l < {images.RECIPES[15].volume}/renames) -ne {stop_after} ] || exec sleep 600\n"
        )
        if stop_after not in made:
            box = bed.client.containers.create(IMAGE, labels=bed.labels)
            box.put_archive("/usr/local/bin", archive("mv", script))
            made[stop_after] = box.commit().id
            box.remove(v=True)
        return made[stop_after]

    yield make
    for each in made.values():
        bed.client.images.remove(each)


def archive(name: str, script: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(script.encode()), 0o755
        tar.addfile(entry, io.BytesIO(script.encode()))
    return buffer.getvalue()


PROGRAM = """
import os, sys
from tasks.containers import exchange
from tasks.containers.engine import engine
one, other, image, owner, by = sys.argv[1:]
if by == "helper":
    exchange.shares_this_kernel = lambda _: False
with engine(None) as client:
    if by == "another user":
        os.setgroups([])
        group = os.stat("/var/run/docker.sock").st_gid
        os.setresgid(group, group, group)
        os.setresuid(65534, 65534, 65534)
    exchange.exchange(client, one, other, image, owner)
"""


def in_a_process(volumes: Volumes, image: str, owner: str, by: str = "helper") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, *volumes, image, owner, by]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def stops(bed: Bed, volumes: Volumes, owner: str) -> str:
    """Wait until the helper hangs after its rename; return its name."""
    name = FoldersByHelper(bed.client, "", volumes, IMAGE, owner).name

    def hangs() -> bool:
        try:
            processes = bed.client.api.top(name)["Processes"] or []
        except APIError:
            return False
        return any(process[-1] == "sleep 600" for process in processes)

    wait_until(hangs, SECONDS, "the helper's stop after its rename")
    return name


STOPPED_AFTER = {1: ({ASIDE}, {DATA}), 2: ({DATA, ASIDE}, set()), 3: ({DATA}, {DATA})}


@pytest.fixture
def killed_after(
    bed: Bed, volumes: Volumes, owner: str, stopping_image: Callable[[int], str]
) -> Iterator[Callable[[int], None]]:
    """Leaves an exchange stopped after so many renames: its process killed, its helper hanging."""
    started: list[subprocess.Popen[bytes]] = []

    def kill(renames: int) -> None:
        process = in_a_process(volumes, stopping_image(renames), owner)
        started.append(process)
        stops(bed, volumes, owner)
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL
        there = [{each.name for each in folder_of(bed, name).iterdir()} for name in volumes]
        assert tuple(there) == STOPPED_AFTER[renames]

    yield kill
    for process in started:
        process.kill()
        process.communicate(timeout=SECONDS)
    sweep_helpers(bed.client, owner)


@pytest.mark.slow
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("renames", [1, 2, 3])
@pytest.mark.parametrize("end", ["before", "after"])
def test_killed_after_any_rename_it_is_finished_or_undone(
    bed: Bed, volumes: Volumes, owner: str, killed_after: Callable[[int], None], renames: int, end: str
) -> None:
    before = ids_of(bed, volumes, owner)
    killed_after(renames)
    sweep_helpers(bed.client, owner)
    for _ in range(2):
        settled(bed, volumes, before if end == "before" else swapped(before, volumes), owner)
        assert whose(bed, volumes) == (["one", "other"] if end == "before" else ["other", "one"])
        assert [[each.name for each in folder_of(bed, name).iterdir()] for name in volumes] == [[DATA], [DATA]]
    leaves_no_helper(bed, owner)


@pytest.mark.slow
@pytest.mark.usefixtures("by_helper")
def test_a_helper_that_outlived_its_process_is_ended_first(
    bed: Bed, volumes: Volumes, owner: str, killed_after: Callable[[int], None]
) -> None:
    before = ids_of(bed, volumes, owner)
    killed_after(1)
    settled(bed, volumes, before, owner)
    assert whose(bed, volumes) == ["one", "other"]
    leaves_no_helper(bed, owner)


def test_a_helper_that_is_killed_is_one_sentence_and_can_be_settled(
    bed: Bed, volumes: Volumes, owner: str, stopping_image: Callable[[int], str]
) -> None:
    before = ids_of(bed, volumes, owner)
    with in_a_process(volumes, stopping_image(2), owner) as process:
        bed.client.api.kill(stops(bed, volumes, owner))
        _, stderr = process.communicate(timeout=SECONDS)
    last = stderr.decode().strip().splitlines()[-1]
    assert last.startswith("tasks.errors.EngineError: The data folders of")
    assert last.endswith("the helper container ended with 137.")
    settled(bed, volumes, swapped(before, volumes), owner)
    assert whose(bed, volumes) == ["other", "one"]


@pytest.mark.usefixtures("way", "volumes")
def test_half_an_exchange_is_told_by_whoever_does_not_know_its_aim(bed: Bed, volumes: Volumes, owner: str) -> None:
    folder = folder_of(bed, volumes[0])
    (folder / DATA).rename(folder / ASIDE)
    for ask in (lambda: folder_id(bed.client, volumes[0], IMAGE, owner), lambda: again(bed, volumes, owner)):
        with pytest.raises(EngineError, match=r"was interrupted \(folders found: .*_data\.rollcall-exchange"):
            ask()
    (folder / ASIDE).rename(folder / DATA)


def again(bed: Bed, volumes: Volumes, owner: str) -> str:
    exchange(bed.client, *volumes, IMAGE, owner)
    return ""


def test_the_engine_starts_nothing_while_a_data_folder_is_away(bed: Bed, volumes: Volumes) -> None:
    """What every state in between rests on: it makes no empty folder in the place either."""
    folder = folder_of(bed, volumes[0])
    binds = {volumes[0]: {"bind": "/data", "mode": "rw"}}
    box = bed.client.containers.create(IMAGE, ["1"], entrypoint="sleep", volumes=binds, labels=bed.labels)
    (folder / DATA).rename(folder / ASIDE)
    with pytest.raises(APIError, match="no such file or directory"):
        box.start()
    assert [each.name for each in folder.iterdir()] == [ASIDE]
    (folder / ASIDE).rename(folder / DATA)
    box.start()
    box.remove(force=True, v=True)


# What speaks against it


@pytest.fixture
def at_work(bed: Bed) -> Iterator[Callable[[str, str], str]]:
    """Starts a container that mounts a volume, or a host's folder: `at_work(source, mode)`."""
    started: list[str] = []

    def start(source: str, mode: str) -> str:
        name = bed.name("user")
        started.append(name)
        bed.client.containers.run(
            IMAGE,
            ["600"],
            entrypoint="sleep",
            name=name,
            volumes={source: {"bind": "/data", "mode": mode}},
            labels=bed.labels,
            detach=True,
        )
        return name

    yield start
    for name in started:
        bed.remove_container(name)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("which", "how"),
    [
        (0, "rw"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, "ro"), (1, "by its path"), (0, "paused"))),
    ],
)
def test_a_volume_in_use_is_left_alone(
    bed: Bed, volumes: Volumes, owner: str, at_work: Callable[[str, str], str], which: int, how: str
) -> None:
    before = ids_of(bed, volumes, owner)
    by_path = str(folder_of(bed, volumes[which]) / DATA)
    user = at_work(by_path if how == "by its path" else volumes[which], "ro" if how == "ro" else "rw")
    if how == "paused":
        pause(bed.client.containers.get(user))
    with pytest.raises(EngineError, match=rf"{volumes[which]} is in use by {user}; stop that first\."):
        exchange(bed.client, *volumes, IMAGE, owner)
    with pytest.raises(EngineError, match="is in use by"):
        settled(bed, volumes, swapped(before, volumes), owner)
    settled(bed, volumes, before, owner)
    assert ids_of(bed, volumes, owner) == before


@pytest.mark.usefixtures("way")
def test_a_container_that_starts_after_the_look_is_seen(
    bed: Bed, volumes: Volumes, owner: str, at_work: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = exchanging.moves

    def start_meanwhile(*given: object) -> object:
        at_work(volumes[0], "rw")
        return decide(*given)  # type: ignore[arg-type]

    before = ids_of(bed, volumes, owner)
    with monkeypatch.context() as patched:
        patched.setattr(exchanging, "moves", start_meanwhile)
        with pytest.raises(EngineError, match="is in use by"):
            exchange(bed.client, *volumes, IMAGE, owner)
    assert ids_of(bed, volumes, owner) == before


@pytest.mark.usefixtures("way")
def test_two_file_systems_are_refused_and_nothing_is_copied(bed: Bed, volumes: Volumes, owner: str) -> None:
    place = folder_of(bed, volumes[0]) / DATA
    run(["mount", "-t", "tmpfs", "rollcall-bed", str(place)])
    try:
        with pytest.raises(EngineError, match=r"different file system|another file system"):
            exchange(bed.client, *volumes, IMAGE, owner)
    finally:
        run(["umount", str(place)])
    assert whose(bed, volumes) == ["one", "other"]


@pytest.mark.usefixtures("way")
def test_a_link_on_the_way_to_a_folder_is_refused(bed: Bed, volumes: Volumes, owner: str) -> None:
    in_volumes(bed, "mkdir -p /one/18/db /other/18/db", one=volumes[0], other=volumes[1])
    ids = exchanging.folder_ids(bed.client, volumes, IMAGE, owner, "18/db")
    in_volumes(bed, "mv /one/18 /one/hidden && ln -s hidden /one/18", one=volumes[0])
    with pytest.raises(EngineError, match=r"_data/18 is a link"):
        settle(bed.client, *volumes, swapped(ids, volumes), IMAGE, owner, "18/db")
    leaves_no_helper(bed, owner)


@pytest.mark.usefixtures("way")
def test_a_volume_with_driver_options_is_refused(bed: Bed, volumes: Volumes, owner: str) -> None:
    special = bed.name("special")
    bed.client.volumes.create(
        special, driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, labels=bed.labels
    )
    assert "has driver options (device, o, type)" in str(
        can_exchange(volume_of(bed, special), volume_of(bed, volumes[0]))
    )
    for pair in ((special, volumes[0]), (volumes[0], special)):
        with pytest.raises(EngineError, match=f"The volume {special} has driver options"):
            exchange(bed.client, *pair, IMAGE, owner)
    bed.remove_volume(special)


def test_a_volume_that_is_missing_is_named(bed: Bed, volumes: Volumes, owner: str) -> None:
    with pytest.raises(EngineError, match=r"^There is no volume nowhere on this Docker engine\.$"):
        exchange(bed.client, volumes[0], "nowhere", IMAGE, owner)


@pytest.mark.usefixtures("by_helper")
def test_where_neither_way_works_it_is_said_in_one_sentence(bed: Bed, volumes: Volumes, owner: str) -> None:
    with pytest.raises(EngineError) as caught:
        exchange(bed.client, *volumes, f"sha256:{'0' * 64}", owner)
    root = folder_of(bed, volumes[0]).parent
    said, _, why = str(caught.value).partition(" (")
    assert said == (
        f"The data folders of {volumes[0]} and {volumes[1]} cannot be exchanged: this program may not write to {root} "
        "on the engine's host, and a helper container that could is refused"
    )
    assert "No such image" in why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_only_talk_to_the_engine_exchanges_by_helper(bed: Bed, volumes: Volumes, owner: str) -> None:
    """As most are who are in the group `docker`."""
    with in_a_process(volumes, IMAGE, owner, by="another user") as process:
        _, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (0, b"")
    assert whose(bed, volumes) == ["other", "one"]
