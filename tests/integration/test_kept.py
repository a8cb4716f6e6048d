"""Kept volumes on a real engine: listed with what lies in them, and removed only when nothing is lost by it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.checks.lock import only_run
from tasks.containers.clusters import clusters_in
from tasks.containers.contents import is_empty
from tasks.containers.control_file import ControlFile
from tasks.containers.volumes import (
    KEEP_UNTIL_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    find_volume,
)
from tasks.errors import Busy, EngineError, Refused
from tasks.restore.facts import Source
from tasks.restore.journal import Event, Header, Journal
from tasks.restore.kept import Kept, kept_volumes, remove_kept
from tasks.restore.plan import Plan
from tasks.restore.steps import BACKUP_LABEL
from tests.bed import images
from tests.bed.journals import AS_FOUND, HERE
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import ROOT
from tests.bed.shell import shell
from tests.bed.target import NAME, Target, target_for

RUN = "20260201T120000Z-aaaaaa"
BEGUN = datetime(2026, 2, 1, 12, tzinfo=UTC)
UNTIL = BEGUN + timedelta(days=30)
Line = tuple[Event, str, dict[str, Any]]
NOW = datetime.now(UTC) + timedelta(days=365)


@dataclass
class Shelf:
    """A target on a server of its own, and one kept volume beside it."""

    bed: Bed
    target: Target
    server: PostgresServer
    kept: str

    def listed(self) -> list[Kept]:
        return kept_volumes(self.target.config, NAME)

    def remove(self, **given: Any) -> None:
        remove_kept(self.target.config, NAME, self.kept, given.pop("now", NOW), **given)

    def is_there(self) -> bool:
        return self.bed.has_volume(self.kept)

    def control(self) -> ControlFile:
        """Of the cluster in the kept volume."""
        image = self.bed.client.images.get(images.tag(self.server.version)).id
        return clusters_in(self.bed.client, image, [self.kept], self.target.config.owner(NAME))[0].control

    def fill(self, script: str) -> None:
        """Run a line of shell with the server's data at /from and the kept volume at /to."""
        image, labels = images.tag(self.server.version), self.bed.labels
        shell(self.bed.client, image, script, labels=labels, read_only={"from": self.server.volume}, to=self.kept)

    def copy_the_data(self) -> None:
        """Of the stopped server; then start it again."""
        box = self.bed.client.containers.get(self.server.container)
        box.stop(timeout=120)
        self.fill("cp -a /from/. /to/")
        box.start()
        self.server = PostgresServers(self.bed).ready(self.server)

    def restored(self, run: str, source: Source, lines: list[Line]) -> Journal:
        """The journal of a restore, still active."""
        plan = Plan(
            target=NAME,
            situation="restore",
            container=self.server.container,
            container_id="",
            image_id="",
            destination="",
            pgdata="",
            mounted=self.server.volume,
            pinned=self.server.volume,
            pinned_exists=True,
            source=source,
            counts_now=None,
            counts_after={},
        )
        header = Header(
            run=run,
            plan=plan,
            approved_by="a test",
            owner="",
            staging=self.kept,
            begun_at=datetime.now(UTC),
            before=AS_FOUND,
            engine=HERE,
        )
        journal = Journal.begin(self.target.config.state, header)
        for line in lines:
            journal.write(*line)
        return journal


def labels(target: Target, **given: str) -> dict[str, str]:
    known = {
        TARGET_LABEL: NAME,
        OWNER_LABEL: target.config.owner(NAME),
        RUN_LABEL: RUN,
        STORY_LABEL: "What it held before.",
        KEEP_UNTIL_LABEL: UNTIL.isoformat(timespec="seconds"),
    }
    return known | given


@pytest.fixture
def make(bed: Bed, tmp_path: Path) -> Iterator[Callable[..., Shelf]]:
    """Makes a kept volume beside a server: `make(server)`; what is given more are its labels."""
    made: list[str] = []

    def shelf(server: PostgresServer, **given: str) -> Shelf:
        target = target_for(server, tmp_path)
        made.append(bed.name("kept"))
        bed.client.volumes.create(made[-1], labels=labels(target, **given) | bed.labels)
        return Shelf(bed, target, server, made[-1])

    yield shelf
    for each in made:
        bed.remove_volume(each)


@pytest.fixture
def shelf(make: Callable[..., Shelf], postgres15: PostgresServer) -> Shelf:
    """Beside the server that all tests share."""
    return make(postgres15)


@pytest.fixture
def own(make: Callable[..., Shelf], own_server: PostgresServer) -> Shelf:
    """Beside a server that the test may stop."""
    return make(own_server)


@pytest.fixture
def own_server(postgres: PostgresServers) -> PostgresServer:
    server = postgres(version=15)
    server.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
    return server


@pytest.mark.parametrize(
    "version", [15, pytest.param(17, marks=pytest.mark.slow), pytest.param(18, marks=pytest.mark.slow)]
)
def test_kept_volumes_are_listed_with_cluster_size_and_users(
    make: Callable[..., Shelf], postgres: PostgresServers, version: int
) -> None:
    shelf = make(postgres(version=version))
    shelf.copy_the_data()
    user = shelf.bed.name("user")
    shelf.bed.client.containers.create(
        images.tag(version), name=user, volumes={shelf.kept: {"bind": "/data"}}, labels=shelf.bed.labels
    )
    (kept,) = shelf.listed()
    shelf.bed.remove_container(user)
    assert kept.system_identifier == str(shelf.server.value("SELECT system_identifier FROM pg_control_system()"))
    assert kept.bytes is not None
    assert kept.bytes > 1_000_000
    assert kept.model_dump(exclude={"system_identifier", "bytes"}) == {
        "name": shelf.kept,
        "run": RUN,
        "story": "What it held before.",
        "created_at": BEGUN,
        "keep_until": UNTIL,
        "in_use_by": [user],
        "ours": True,
        "others": [],
    }


def test_volumes_of_other_targets_the_pinned_one_and_strangers_are_not_listed(
    make: Callable[..., Shelf], postgres15: PostgresServer
) -> None:
    shelf = make(postgres15, **{TARGET_LABEL: "another"})
    bed, target = shelf.bed, shelf.target
    stranger, anew = bed.name("stranger"), bed.name("anew")
    bed.client.volumes.create(stranger, labels={TARGET_LABEL: NAME} | bed.labels)
    bed.client.volumes.create(anew, labels=labels(target) | bed.labels)
    pinned_anew = target_for(shelf.server, target.folder, volume=anew)
    assert kept_volumes(pinned_anew.config, NAME) == []
    for each in (stranger, anew):
        bed.remove_volume(each)


def test_a_volume_is_listed_even_when_nobody_can_look_into_it(shelf: Shelf) -> None:
    """Neither is the container there, nor does its name lead to an image that is."""
    target_for(shelf.server, shelf.target.folder, container="nowhere")
    (kept,) = shelf.listed()
    assert (kept.name, kept.system_identifier) == (shelf.kept, None)


def test_an_empty_volume_is_removed_after_its_time(shelf: Shelf) -> None:
    with pytest.raises(Refused, match=r"is kept until 2026-03-03 12:00 UTC; ask again then\."):
        shelf.remove(now=UNTIL - timedelta(seconds=1))
    shelf.remove(now=UNTIL)
    assert not shelf.is_there()


def test_a_volume_with_anything_in_it_that_is_no_cluster_is_not_empty(shelf: Shelf) -> None:
    image, owner = images.tag(15), shelf.target.config.owner(NAME)
    shelf.fill("mkdir -p '/to/a folder/another'")
    assert is_empty(shelf.bed.client, shelf.kept, image, owner)
    shelf.fill("echo row > '/to/a folder/another/file'; chown -R 999:999 /to; chmod 700 /to '/to/a folder'")
    assert not is_empty(shelf.bed.client, shelf.kept, image, owner)
    with pytest.raises(Refused, match=r"cannot be read, so nobody knows whether it is anywhere else; copy it away"):
        shelf.remove()
    assert shelf.is_there()
    with pytest.raises(EngineError, match="cannot be looked into"):
        is_empty(shelf.bed.client, shelf.kept, "nowhere", owner)


def test_the_only_copy_goes_only_when_a_person_says_so(own: Shelf) -> None:
    own.copy_the_data()
    identifier = own.control().system_identifier
    with pytest.raises(Refused, match=f"holds cluster {identifier} as it was at .* none was taken of that cluster"):
        own.remove()
    manifest = own.target.backup()
    with pytest.raises(Refused, match=f"{manifest.id} of .* UTC, is not known to be of data that came from this"):
        own.remove()
    assert own.is_there()
    with pytest.raises(Refused, match="is kept until"):
        own.remove(now=UNTIL - timedelta(days=1), even_if_only_copy=True)
    own.remove(even_if_only_copy=True)
    assert not own.is_there()


def test_a_copy_that_was_made_live_and_backed_up_may_go(own: Shelf) -> None:
    """As `restore-volume --from-volume` and `backup` leave it behind: the same cluster, further on."""
    own.copy_the_data()
    source = Source(kind="volume", name=own.kept)
    own.restored("20260301T120000Z-bbbbbb", source, [("committed", "commit", {})]).end()
    with pytest.raises(Refused, match="none was taken of that cluster"):
        own.remove()
    manifest = own.target.backup()
    dump = own.target.path(next(each.key for each in manifest.objects if each.role == "dump"))
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Refused, match=f"rows can be read back whole: {manifest.id}: .*SHA"):
        own.remove()
    assert own.is_there()
    dump.write_bytes(whole)
    own.fill("mkdir /to/another; echo 17 > /to/another/PG_VERSION; mkdir /to/another/global; "
             "head -c 8192 /dev/zero > /to/another/global/pg_control")  # fmt: skip
    with pytest.raises(Refused, match="cannot be read, so nobody knows whether it is anywhere else"):
        own.remove()
    own.fill("rm -r /to/another")
    own.remove()
    assert not own.is_there()


@pytest.mark.slow
def test_what_an_undone_restore_rebuilt_from_a_backup_may_go_while_the_backup_is_there(
    make: Callable[..., Shelf], own_server: PostgresServer
) -> None:
    shelf = make(own_server, **{BACKUP_LABEL: "to be named"})
    manifest = shelf.target.backup()
    shelf.bed.remove_volume(shelf.kept)
    named = labels(shelf.target, **{BACKUP_LABEL: manifest.id}) | shelf.bed.labels
    shelf.bed.client.volumes.create(shelf.kept, labels=named)
    shelf.copy_the_data()
    rebuilt = {"rebuilt": {"system_identifier": shelf.control().system_identifier}}
    lines: list[Line] = [("starting", "rebuild", {}), ("done", "rebuild", rebuilt)]
    record = shelf.restored(RUN, Source(kind="backup", name=manifest.id), lines).end()
    stored = shelf.target.path(f"{NAME}/{manifest.id}/manifest.json")
    stored.rename(stored.with_suffix(".away"))
    with pytest.raises(Refused, match="none was taken of that cluster"):
        shelf.remove()
    stored.with_suffix(".away").rename(stored)
    whole = record.read_bytes()
    record.write_bytes(whole[:-20])
    with pytest.raises(Refused, match="the last one of that cluster"):
        shelf.remove()
    record.write_bytes(whole)
    shelf.remove()
    assert not shelf.is_there()


@pytest.mark.slow
def test_a_killed_server_s_volume_is_the_only_copy_whatever_the_backups_say(own: Shelf) -> None:
    box = own.bed.client.containers.get(own.server.container)
    box.kill()
    own.fill("cp -a /from/. /to/")
    box.start()
    PostgresServers(own.bed).ready(own.server)
    source = Source(kind="volume", name=own.kept)
    own.restored("20260301T120000Z-bbbbbb", source, [("committed", "commit", {})]).end()
    own.target.backup()
    with pytest.raises(Refused, match="its server was not shut down in order"):
        own.remove()
    assert own.is_there()


def test_a_volume_that_even_a_stopped_container_mounts_stays(shelf: Shelf) -> None:
    user = shelf.bed.name("user")
    shelf.bed.client.containers.create(
        images.tag(15), name=user, volumes={shelf.kept: {"bind": "/data"}}, labels=shelf.bed.labels
    )
    with pytest.raises(Refused, match=rf"is mounted by {user}, running or not"):
        shelf.remove(even_if_only_copy=True)
    shelf.bed.remove_container(user)
    shelf.remove()


def test_nothing_is_removed_while_a_restore_has_not_ended(shelf: Shelf) -> None:
    journal = shelf.restored(RUN, Source(kind="backup", name="B"), [])
    with pytest.raises(Refused, match=f"was interrupted and has not ended.*rollcall recover {NAME}"):
        shelf.remove(even_if_only_copy=True)
    journal.end()
    with only_run(shelf.target.config.state, NAME), pytest.raises(Busy):
        shelf.remove(even_if_only_copy=True)
    assert shelf.is_there()


@pytest.mark.parametrize("name", ["nowhere", "", "../.."])
def test_a_name_that_is_no_kept_volume_is_refused(shelf: Shelf, name: str) -> None:
    for each in (name, shelf.server.volume):
        with pytest.raises(Refused, match=f"{NAME} has no kept volume"):
            remove_kept(shelf.target.config, NAME, each, NOW, even_if_only_copy=True)
    assert find_volume(shelf.bed.client, shelf.server.volume) is not None


def test_another_state_folder_s_volume_is_left_alone(make: Callable[..., Shelf], postgres15: PostgresServer) -> None:
    shelf = make(postgres15, **{OWNER_LABEL: "knowledge_os-of-somebody-else"})
    assert not shelf.listed()[0].ours
    with pytest.raises(Refused, match="made by a Rollcall with another state folder"):
        shelf.remove(even_if_only_copy=True)
    assert shelf.is_there()

    # The folder has the record of the run: it was only moved.
    shelf.restored(RUN, Source(kind="backup", name="B"), []).end()
    assert shelf.listed()[0].ours
    shelf.remove(even_if_only_copy=True)
    assert not shelf.is_there()


@pytest.mark.slow
def test_what_a_real_restore_put_aside_goes_once_it_was_live_again_and_backed_up(
    postgres: PostgresServers, own_server: PostgresServer, tmp_path: Path, bed: Bed
) -> None:
    """Twice through the whole program: the first time away from the data, the second time back to it."""
    target = target_for(own_server, tmp_path)
    target.backup()
    own_server.execute("DROP TABLE experts", "CREATE TABLE later AS SELECT 1 AS id")
    old = str(own_server.value("SELECT system_identifier FROM pg_control_system()"))
    try:
        restore(target, "--backup", "latest")
        (kept,) = kept_volumes(target.config, NAME)
        assert kept.system_identifier == old
        assert kept.in_use_by == []
        with pytest.raises(Refused, match="no stored backup is known to hold every row of it"):
            remove_kept(target.config, NAME, kept.name, NOW)
        restore(target, "--from-volume", kept.name)
        assert postgres.ready(own_server).value("SELECT count(*) FROM later") == 1
        with pytest.raises(Refused, match="no stored backup is known to hold every row of it"):
            remove_kept(target.config, NAME, kept.name, NOW)
        assert not target.backup().quarantined
        remove_kept(target.config, NAME, kept.name, NOW)
        (second,) = kept_volumes(target.config, NAME)
        assert second.system_identifier != old
        with pytest.raises(Refused, match=r"the last one of that cluster, .* was taken before its server stopped"):
            remove_kept(target.config, NAME, second.name, NOW)
    finally:
        for each in kept_volumes(target.config, NAME):
            bed.client.api.remove_volume(each.name)


def restore(target: Target, *source: str) -> None:
    """`rollcall restore-volume`, approved."""
    line = [sys.executable, "-m", "deployments", "restore-volume", NAME, *source, "--yes", "--config", str(target.file)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
