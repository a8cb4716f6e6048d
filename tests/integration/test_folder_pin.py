"""Data in a folder of the engine's host: pinned, checked, backed up, drilled; and told where it is unexpected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import drill as drill_flow
from tasks.checks.lock import sharing
from tasks.config import load
from tasks.containers.engine import engine
from tasks.containers.neighbours import look_around
from tasks.doctor.examine import examine
from tasks.restore.world import observe_world
from tasks.watching.sighting import sight
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PASSWORD, USER, PostgresServer, PostgresServers
from tests.bed.shell import shell
from tests.bed.target import NAME, Target, target_for

PGDATA = images.RECIPES[15].volume


@pytest.fixture
def folder(bed: Bed, tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "postgres"
    made.mkdir()
    yield made
    shell(bed.client, images.tag(15), "rm -rf /host/postgres", labels=bed.labels, host=str(tmp_path))


@pytest.fixture
def server(bed: Bed, postgres: PostgresServers, folder: Path) -> Iterator[PostgresServer]:
    name = bed.name("folder")
    box = bed.client.containers.create(
        images.tag(15), ["-c", "fsync=off"], name=name, labels=bed.labels,
        environment={"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "knowledge_os"},
        volumes={str(folder): {"bind": PGDATA, "mode": "rw"}},
    )  # fmt: skip
    try:
        box.start()
        started = postgres.ready(PostgresServer(name, "", "", 15, "knowledge_os", "bridge"))
        started.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
        yield started
    finally:
        bed.remove_container(name)


def pinned_to(server: PostgresServer, home: Path, **rules: Any) -> Target:
    """A target that says `folder`, or whatever `rules` say, in the place of `volume`."""
    made = target_for(server, home)
    document = json.loads(made.file.read_text())
    del document["targets"][NAME]["volume"]
    document["targets"][NAME] |= rules
    made.file.write_text(json.dumps(document))
    return made


def codes(target: Target) -> dict[str, str]:
    return {each.code: each.message for each in target.verify().findings if each.code != "backup.missing"}


def test_a_folder_is_pinned_checked_backed_up_and_drilled(server: PostgresServer, folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    home = tmp_path / "home"
    for spelled in (f"{link}/", f"/host_mnt{folder}", str(folder)):
        assert set(codes(pinned_to(server, home, folder=spelled))) <= {"cluster.pinned"}
    target = pinned_to(server, home, folder=str(folder))
    identity = target.verify().identity
    assert identity is not None
    assert (identity.volume, identity.folder, identity.data_on) == (None, str(folder), "folder")
    assert identity.folder_id == f"{folder.stat().st_dev}:{folder.stat().st_ino}"

    manifest = target.backup()
    assert not manifest.quarantined
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    assert run(NAME, str(target.file)).proven

    wrong = [each for each in examine(target.config) if not each.well and each.subject.startswith(NAME)]
    assert not wrong, [f"{each.subject}: {each.words}" for each in wrong]
    with engine(None) as client:
        seen = sight(client, target.config.target(NAME), look_around(client))
    assert (seen.volume, seen.running, seen.pinned, seen.servers) == (str(folder), True, True, ())

    [blocker] = observe_world(target.config, NAME).obstacles
    assert f"in the host's folder {folder}" in blocker
    assert "docs/restore-by-hand.md" in blocker


def test_another_place_than_the_pinned_one_is_told_with_advice_that_loses_nothing(
    bed: Bed, server: PostgresServer, folder: Path, tmp_path: Path
) -> None:
    """At first sight the name in the file may be the wrong one: what is not there must not be started on."""
    home = tmp_path / "home"
    said = codes(pinned_to(server, home, volume="no-such-volume"))
    assert set(said) == {"volume.mismatch", "volume.missing"}
    assert f"in the host's folder {folder}" in said["volume.mismatch"]
    assert f"write `folder: {folder}` instead of `volume: no-such-volume`" in said["volume.mismatch"]
    assert "started with the wrong" not in said["volume.mismatch"]

    said = codes(pinned_to(server, home, folder=str(tmp_path / "other")))
    assert set(said) == {"volume.mismatch", "volume.missing"}
    assert f"write `folder: {folder}` instead of `folder: {tmp_path / 'other'}`" in said["volume.mismatch"]


def test_a_renamed_container_is_found_by_its_folder_and_a_second_server_on_it_is_critical(
    bed: Bed, server: PostgresServer, folder: Path, tmp_path: Path
) -> None:
    target = pinned_to(server, tmp_path / "home", folder=str(folder))
    target.verify()
    box = bed.client.containers.get(server.container)
    box.rename(renamed := bed.name("renamed"))
    try:
        assert set(codes(target)) == {"container.renamed"}
    finally:
        box.rename(server.container)
    other = bed.client.containers.run(
        images.tag(15), ["-c", "exec -a postgres bash -c 'sleep 300; :'"], entrypoint="bash", detach=True,
        name=bed.name("second"), labels=bed.labels, volumes={str(folder): {"bind": PGDATA, "mode": "rw"}},
    )  # fmt: skip
    try:
        assert f"the pinned folder {folder} beside" in codes(target)["volume.shared"]
    finally:
        other.remove(force=True)
    assert renamed


@pytest.mark.parametrize(("tmpfs", "words"), [(True, "in memory (a tmpfs)"), (False, "in the container itself")])
def test_data_that_is_nowhere_is_told_as_what_it_is(
    bed: Bed, postgres: PostgresServers, tmp_path: Path, tmpfs: bool, words: str
) -> None:
    name, pgdata = bed.name("nowhere"), "/srv/data"
    bed.client.containers.run(
        images.tag(15), ["-c", "fsync=off"], name=name, labels=bed.labels, detach=True,
        environment={
            "POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "knowledge_os", "PGDATA": pgdata
        },
        tmpfs={"/srv": "size=200m"} if tmpfs else {},
    )  # fmt: skip
    try:
        server = postgres.ready(PostgresServer(name, "", "", 15, "knowledge_os", "bridge"))
        said = codes(pinned_to(server, tmp_path, volume="v"))
        assert f"keeps its data {words}" in said["volume.mismatch"]
        assert "back it up now, then move it" in said["volume.mismatch"]
        assert ("stopping" if tmpfs else "removing") in said["volume.not_pinned"]
    finally:
        bed.client.containers.get(name).remove(force=True, v=True)


def test_targets_in_one_folder_share_it_and_others_do_not(server: PostgresServer, tmp_path: Path) -> None:
    target = pinned_to(server, tmp_path, folder="/srv/a")
    document = json.loads(target.file.read_text())
    own = document["targets"][NAME]
    document["targets"] |= {"same": own | {"container": "b"}, "other": own | {"container": "c", "folder": "/srv/c"}}
    target.file.write_text(json.dumps(document))
    assert sharing(load(os.fspath(target.file)), NAME) == sorted([NAME, "same"])
