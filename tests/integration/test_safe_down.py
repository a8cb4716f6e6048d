"""`rollcall down` on a real Compose project: a database goes only if a backup that was just proven holds all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.checks.shelves import shelves
from tasks.config import load
from tasks.containers.engine import OWN_SOCKET
from tasks.errors import Refused
from tasks.leaving import act
from tasks.leaving.look import look_at_project
from tasks.storage.catalogue import Catalogue
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.integration.down_scene import CONTENT, DATA, DELETE, DownScene, down_scene, text

BOTH = ["app", "db"]


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: str) -> Iterator[DownScene]:
    with down_scene(bed, tmp_path, monkeypatch) as made:
        yield made


class Typing:
    """Standard input of somebody who does something else before the words are typed."""

    def __init__(self, first: Callable[[], object], words: str = DELETE) -> None:
        self.first, self.words = first, words

    def readline(self) -> str:
        self.first()
        return self.words


def stored(scene: DownScene) -> Catalogue:
    return shelves(load(str(scene.config)), scene.target)


def test_a_plan_and_a_wrong_answer_touch_nothing_and_yes_does_not_stand_for_the_words(scene: DownScene) -> None:
    planned = scene.down(dry_run=True, volumes=True)
    assert planned.outcome == "planned"
    assert planned.plan.blockers == []
    fates = {each.name: each.fate for each in planned.plan.volumes}
    assert fates[scene.volume()] == "goes once proven"
    assert fates[scene.volume("cache")] == "goes"

    with pytest.raises(Refused, match=r"Nobody answered\. Nothing stands for DELETE VOLUMES"):
        scene.down("", volumes=True, how="given")
    with pytest.raises(Refused, match="Nothing was touched"):
        scene.down("no\n")

    assert scene.runs() == BOTH
    assert scene.exists(scene.volume())


@pytest.mark.slow
def test_what_a_killed_down_stopped_is_shown_and_started_only_once_that_is_approved(scene: DownScene) -> None:
    config = load(str(scene.config))
    act.stop_all(config, look_at_project(config, str(scene.project.folder)))

    plan = scene.down(dry_run=True, volumes=True).plan
    assert plan.earlier is not None
    assert set(plan.earlier.starts) == set(plan.containers)
    assert (plan.blockers, plan.backups) == ([], {scene.target: None})
    with pytest.raises(Refused, match="Nothing was touched"):
        scene.down("no\n")
    assert scene.runs() == []

    # Somebody has another server on the volume meanwhile.
    host = scene.client.api.create_host_config(binds=[f"{scene.volume()}:{DATA}"], network_mode="none")
    beside = scene.bed.name("beside")
    scene.client.api.create_container(
        images.tag(17), ["600"], entrypoint=["sleep"], name=beside, labels=scene.bed.labels, host_config=host
    )
    scene.client.api.start(beside)
    try:
        world = look_at_project(config, str(scene.project.folder))
        act.start_after_a_killed_one(config, world)
    finally:
        scene.bed.remove_container(beside)
    assert world.earlier is not None
    assert f"{scene.container} is not started: {beside} has its data mounted" in world.earlier.left[0]
    assert scene.runs() == ["app"]
    assert look_at_project(config, str(scene.project.folder)).earlier is None


@pytest.mark.slow
def test_what_was_typed_goes_and_a_restore_brings_every_row_back(scene: DownScene) -> None:
    before = scene.ask(CONTENT)
    scene.configure(docker={"host": OWN_SOCKET})  # the engine that nothing names, written otherwise

    report = scene.down(DELETE, volumes=True)

    assert scene.runs() == []
    assert {scene.volume(), scene.volume("cache")} <= set(report.removed)
    assert not scene.exists(scene.volume())
    assert not scene.exists(scene.volume("cache"))
    scene.project.up()
    assert scene.ask("SELECT count(*) FROM pg_class WHERE relname = 'experts'") == "0"
    scene.restore()
    assert scene.ask(CONTENT) == before


@pytest.mark.slow
def test_without_volumes_everything_stays_and_is_proven_first(scene: DownScene) -> None:
    report = scene.down(how="given")

    assert scene.runs() == []
    assert report.removed == []
    assert scene.exists(scene.volume())
    assert scene.exists(scene.volume("cache"))
    (made,) = stored(scene).backups
    assert report.backups == {scene.target: made.manifest.id}
    assert made.proven_at is not None
    # The database is down now, and nothing was written since: the backup that is there is proven once more.
    again = scene.down(DELETE, volumes=True)
    assert again.backups == report.backups
    assert not scene.exists(scene.volume())


@pytest.mark.slow
def test_a_database_that_is_down_and_was_written_to_since_its_backup_stays(scene: DownScene) -> None:
    scene.backup()
    scene.prove()
    scene.ask("INSERT INTO experts VALUES (86, 'the last one')")
    scene.project.compose("stop")

    with pytest.raises(Refused, match=r"something was written after backup .* Have its database run"):
        scene.down(DELETE, volumes=True)

    assert scene.exists(scene.volume())
    scene.project.compose("start")
    assert scene.ask("SELECT count(*) FROM experts") == "86"


@pytest.mark.slow
def test_what_is_written_while_somebody_reads_is_backed_up_again(
    scene: DownScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Typing(lambda: scene.ask("INSERT INTO experts VALUES (86, 'written at the last moment')"))
    monkeypatch.setattr("tests.integration.down_scene.io.StringIO", lambda _: late)

    report = scene.down(volumes=True)

    assert scene.volume() in report.removed
    found = {each.manifest.id: each.manifest.tally.counts["public.experts"] for each in stored(scene).backups}
    assert sorted(found.values()) == [85, 86]
    assert found[report.backups[scene.target]] == 86


@pytest.mark.slow
def test_somebody_outside_who_never_stops_writing_keeps_the_volume(scene: DownScene) -> None:
    ended = threading.Event()
    writer = threading.Thread(target=_write_until, args=(scene, ended))
    writer.start()
    try:
        with pytest.raises(
            Refused, match=r"what ran before is started again\. The volume .* stays: (something|somebody) was"
        ):
            scene.down(DELETE, volumes=True)
    finally:
        ended.set()
        writer.join()

    assert scene.runs() == BOTH
    assert int(scene.ask("SELECT count(*) FROM experts")) > 85


def _write_until(scene: DownScene, ended: threading.Event) -> None:
    box = scene.client.containers.get(scene.container)
    line = ["psql", "-U", "admin", "-d", "knowledge_os", "-c", "INSERT INTO experts VALUES (0, 'again')"]
    while not ended.wait(0.2):
        try:
            box.exec_run(line)
        except Exception:  # noqa: BLE001 - it is down at times
            continue


@pytest.mark.slow
def test_the_incident_an_idle_volume_with_the_only_copy_is_refused_and_external_is_left_alone(scene: DownScene) -> None:
    """The project that made the volume is brought down with --volumes, while the container runs on another one."""
    scene.backup()
    scene.prove()
    scene.ask("INSERT INTO experts VALUES (86, 'after the last backup')")
    before = scene.ask(CONTENT)
    scene.project.compose("rm", "-s", "-f", "db")
    scene.project.write(text(scene.container).replace("data:", "other:"), "other.yml")
    scene.project.up("db", files=("other.yml",))
    scene.ask("CREATE TABLE experts AS SELECT 1 AS id")

    with pytest.raises(Refused, match=f"row of the volume {scene.volume()}: something was written after"):
        scene.down(DELETE, volumes=True)

    assert scene.exists(scene.volume())
    scene.project.write(text(scene.container, f"{{external: true, name: {scene.volume()}}}"))
    report = scene.down(DELETE, volumes=True)
    assert scene.exists(scene.volume())
    assert scene.volume() not in report.removed
    assert not scene.exists(scene.volume("cache"))
    scene.project.up()
    assert scene.ask(CONTENT) == before


@pytest.mark.slow
def test_clusters_of_nobody_of_others_and_without_a_name_are_precious(
    scene: DownScene, postgres: PostgresServers
) -> None:
    scene.configure(volume="elsewhere", container="nobody")
    with pytest.raises(Refused, match=f"volume {scene.volume()} holds a PostgreSQL 17 cluster.* belongs to no target"):
        scene.down(DELETE, volumes=True)
    scene.configure(volume=scene.volume(), container=scene.container)

    stranger = scene.client.containers.create(
        "rollcall-bed/postgres:17", name=scene.bed.name("stranger"), labels=scene.bed.labels,
        volumes={scene.volume(): {"bind": "/there", "mode": "ro"}},
    )  # fmt: skip
    with pytest.raises(Refused, match=f"is mounted by {stranger.name}, which is not of project"):
        scene.down(DELETE, volumes=True)
    stranger.remove(v=True)

    # Compose 1 would mount the old container's volume again.
    scene.project.compose("rm", "-s", "-f", "db")
    scene.project.write(text(scene.container).replace(f"volumes: [data:{DATA}]", "tty: false"))
    scene.project.up("db")
    scene.ask("SELECT 1")
    with pytest.raises(Refused, match="is anonymous and holds a PostgreSQL 17 cluster"):
        scene.down(how="given")
    assert "db" in scene.runs()

    scene.project.compose("rm", "-s", "-f", "-v", "db")
    scene.project.write(
        text(scene.container)
        .replace(f"volumes: [data:{DATA}]", "volumes: []")
        .replace("POSTGRES_USER", "PGDATA: /in-the-container, POSTGRES_USER")
    )
    scene.project.up("db")
    scene.ask("SELECT 1")
    with pytest.raises(Refused, match="keeps a PostgreSQL cluster in itself"):
        scene.down(how="given")


def test_a_volume_with_files_that_no_backup_holds_stays(scene: DownScene) -> None:
    before = scene.ask(CONTENT)
    box = scene.client.containers.get(scene.container)
    box.exec_run(["sh", "-c", f"mkdir {DATA}/uploads && echo photo > {DATA}/uploads/1.jpg"])

    with pytest.raises(Refused, match=rf"volume {scene.volume()} also holds uploads/ \(1 file, \d+ kB\), which no"):
        scene.down(DELETE, volumes=True)
    assert scene.runs() == BOTH

    report = scene.down(how="given")
    (line,) = [each for each in report.plan.volumes if each.name == scene.volume()]
    assert "also uploads/ (1 file" in line.holds
    scene.project.up()
    assert scene.ask(CONTENT) == before
    box = scene.client.containers.get(scene.container)
    assert box.exec_run(["cat", f"{DATA}/uploads/1.jpg"]).output == b"photo\n"


@pytest.mark.slow
def test_a_file_that_comes_while_somebody_reads_keeps_the_volume(
    scene: DownScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = scene.client.containers.get(scene.container)
    late = Typing(lambda: box.exec_run(["touch", f"{DATA}/server.key"]))
    monkeypatch.setattr("tests.integration.down_scene.io.StringIO", lambda _: late)

    with pytest.raises(Refused, match=r"is started again\. The volume .* stays: it also holds server\.key"):
        scene.down(volumes=True)

    assert scene.runs() == BOTH
    assert scene.exists(scene.volume())
