"""The census on the real engine: the incident's volumes and others, found, counted, ranked, and never written to."""

import json
import logging
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from deployments import census_show
from tasks.config import Config
from tasks.containers.clusters import ClusterVolume, clusters_in
from tasks.containers.engine import OUR_LABEL
from tasks.containers.images import LocalImages
from tasks.containers.volumes import KEEP_UNTIL_LABEL, OWNER_LABEL, RUN_LABEL, STORY_LABEL, list_volumes
from tasks.restore import counting
from tasks.restore.census import Entry, census, headline
from tasks.restore.counting import COPY_PREFIX, Counted, count_rows, owner_of
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.target import NAME, Target, target_for

TABLES = {"experts": {"min": 80}, "knowledge_nodes": {"min": 10000}}
FULL = {"public.experts": 85, "public.knowledge_nodes": 26337}
EMPTY = {"public.experts": 1, "public.knowledge_nodes": 27}
STORY = "What the database held before a restore."
PROJECT = "bed-project"


@dataclass(frozen=True)
class Scene:
    """The volumes by what is in them. right: pinned, not in use; wrong: in use by the target's container; other and
    locked: in use by other containers, of which one takes the target's login."""

    target: Target
    right: str
    wrong: str
    anonymous: str
    eighteen: str
    crashed: str
    kept: str
    other: PostgresServer
    locked: PostgresServer
    empty: str
    files: str

    @property
    def clusters(self) -> set[str]:
        idle = {self.right, self.anonymous, self.eighteen, self.crashed, self.kept}
        return idle | {self.wrong, self.other.volume, self.locked.volume}

    @property
    def idle(self) -> list[str]:
        return [self.right, self.anonymous, self.eighteen, self.crashed, self.kept, self.empty, self.files]


def fill(server: PostgresServer, counts: dict[str, int]) -> None:
    for table, rows in counts.items():
        server.execute(f"CREATE TABLE {table} AS SELECT n AS id FROM generate_series(1, {rows}) AS n")


def run_in(bed: Bed, script: str, *mounts: str) -> str:
    """Run a script as root in a container of its own, which leaves nothing behind, and return what it prints."""
    labels = [f"--label={name}={value}" for name, value in bed.labels.items()]
    box = ["docker", "run", "--rm", *labels, *(f"--volume={each}" for each in mounts), "--entrypoint=bash"]
    line = [*box, images.tag(17), "-c", f"set -e; {script}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=True).stdout


def content(bed: Bed, volume: str) -> str:
    """A checksum over every file's name, owner, mode, times and bytes."""
    names = r"find . -printf '%p %m %U:%G %T@ %C@ %s\n' | sort"
    bytes_of_each = "find . -type f -print0 | sort -z | xargs -0r sha256sum"
    return run_in(bed, f"cd /it; {{ {names}; {bytes_of_each}; }} | sha256sum", f"{volume}:/it:ro")


@dataclass
class Maker:
    """Makes the scene's servers and volumes, and remembers the volumes."""

    bed: Bed
    servers: PostgresServers
    volumes: list[str] = field(default_factory=list)

    def volume(self, stem: str | None = None, **labels: str) -> str:
        """A new one; anonymous without a stem."""
        made = self.bed.client.volumes.create(stem and self.bed.name(stem), labels=self.bed.labels | labels)
        self.volumes.append(str(made.name))
        return self.volumes[-1]

    def started(self, counts: dict[str, int], **options: Any) -> PostgresServer:
        """A server with rows."""
        server = self.servers(**options)
        fill(server, counts)
        return server

    def stopped(self, server: PostgresServer) -> str:
        """The volume of a server that was shut down, and whose container is gone."""
        self.bed.client.containers.get(server.container).stop(timeout=60)
        self.bed.remove_container(server.container)
        return server.volume

    def grown(self, cluster: str, counts: dict[str, int], **options: Any) -> PostgresServer:
        """A server on a copy of a small cluster, which is quicker made than a new one, with rows of its own."""
        copy = self.volume("grown")
        run_in(self.bed, "cp -a /from/. /to/", f"{cluster}:/from:ro", f"{copy}:/to")
        server = self.servers(volume=copy, **options)
        server.execute("DROP TABLE experts")
        fill(server, counts)
        return server


@pytest.fixture(scope="module")
def scene(bed: Bed, postgres15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    make = Maker(bed, PostgresServers(bed))
    name = bed.name("knowledge-postgres")
    right = make.started(
        FULL, volume=make.volume("atra_data", **{"com.docker.compose.project": PROJECT}), container=name
    )
    target = target_for(right, tmp_path_factory.mktemp("census"), tables=TABLES)
    target.verify()
    kept = make.volume("kept", **{RUN_LABEL: "r1", STORY_LABEL: STORY})
    make.stopped(right)
    run_in(bed, "cp -a /from/. /to/", f"{right.volume}:/from:ro", f"{kept}:/to")
    target_for(right, target.folder, tables=TABLES, container=name)

    small = make.stopped(make.started({"experts": 3}, volume=make.volume()))
    wrong = make.grown(small, EMPTY, container=name)
    crashed = make.grown(small, EMPTY)
    bed.client.containers.get(crashed.container).kill("SIGKILL")
    locked = make.grown(small, {})
    locked.execute("ALTER ROLE admin PASSWORD 'another'")
    files = make.volume("files")
    run_in(bed, "echo 17 > /it/PG_VERSION; mkdir /it/base; seq 1000 > /it/base/1", f"{files}:/it")
    yield Scene(
        target=target,
        right=right.volume,
        wrong=wrong.volume,
        anonymous=small,
        eighteen=make.stopped(make.started({"experts": 5}, version=18, volume=make.volume("eighteen"))),
        crashed=crashed.volume,
        kept=kept,
        other=postgres15,
        locked=locked,
        empty=make.volume("empty"),
        files=files,
    )
    make.servers.remove_all()
    for each in make.volumes:
        bed.remove_volume(each)


def only(volumes: set[str]) -> Callable[..., Counted]:
    """Counts in these volumes: others, on an engine that is used for more than this test, take their time."""

    def count(
        client: docker.DockerClient, config: Config, target: str, cluster: ClusterVolume, local: LocalImages
    ) -> Counted:
        if cluster.volume.name not in volumes:
            return Counted(how="not of this test")
        return count_rows(client, config, target, cluster, local)

    return count


def ours(entries: list[Entry], scene: Scene) -> dict[str, Entry]:
    return {each.cluster.volume.name: each for each in entries if each.cluster.volume.name in scene.clusters}


@pytest.fixture(scope="module")
def before(bed: Bed, scene: Scene) -> dict[str, str]:
    """Checksums of the volumes that nobody runs on, taken before any census."""
    return {volume: content(bed, volume) for volume in scene.idle}


@pytest.fixture(scope="module")
def entries(scene: Scene, before: dict[str, str]) -> list[Entry]:
    """One census that counts everything, which several tests look at."""
    return census(scene.target.config, NAME, "all", only(scene.clusters))


@pytest.fixture(scope="module")
def found(entries: list[Entry], scene: Scene) -> dict[str, Entry]:
    return ours(entries, scene)


def test_every_volume_with_a_cluster_is_listed_and_no_other(entries: list[Entry], scene: Scene) -> None:
    volumes = {each.cluster.volume.name for each in entries}
    assert scene.clusters <= volumes
    assert not {scene.empty, scene.files} & volumes


def test_the_rows_are_counted_wherever_they_can_be(found: dict[str, Entry], scene: Scene) -> None:
    counts = {volume: each.counts for volume, each in found.items() if volume != scene.other.volume}
    assert counts == {
        scene.right: FULL,
        scene.kept: FULL,
        scene.wrong: EMPTY,
        scene.crashed: EMPTY,
        scene.anonymous: {"public.experts": 3},
        scene.eighteen: {"public.experts": 5},
        scene.locked.volume: None,
    }
    assert found[scene.right].counted_how == "by a server on a copy"
    assert found[scene.wrong].counted_how.startswith("by the running server in knowledge-postgres")
    assert found[scene.other.volume].counts is not None
    assert found[scene.other.volume].counted_how == f"by the running server in {scene.other.container}"


def test_a_server_that_refuses_our_login_is_told_of(found: dict[str, Entry], scene: Scene) -> None:
    how = found[scene.locked.volume].counted_how
    assert how.startswith(f"not counted: {scene.locked.container} runs on it and cannot be asked (")
    assert "password" in how


def test_the_state_of_each_is_told_in_words(found: dict[str, Entry], scene: Scene) -> None:
    states = {
        volume: each.state.partition(":")[0].partition(" knowledge-postgres")[0] for volume, each in found.items()
    }
    assert states == {
        scene.right: "clean",
        scene.kept: "clean",
        scene.anonymous: "clean",
        scene.eighteen: "clean",
        scene.crashed: "crashed",
        scene.wrong: "in use by",
        scene.other.volume: f"in use by {scene.other.container}",
        scene.locked.volume: f"in use by {scene.locked.container}",
    }
    assert {volume for volume, each in found.items() if each.kept} == {scene.kept}
    assert found[scene.kept].kept == STORY


def test_versions_layouts_and_projects_are_told(found: dict[str, Entry], scene: Scene) -> None:
    facts = {volume: (each.cluster.major, each.cluster.path, each.compose_project) for volume, each in found.items()}
    assert facts[scene.right] == ("17", "", PROJECT)
    assert facts[scene.other.volume] == ("15", "", None)
    assert facts[scene.eighteen] == ("18", "18/docker", None)
    assert all((each.cluster.bytes or 0) > 20_000_000 for each in found.values())


def test_the_right_one_comes_first_and_the_line_for_people_says_why(entries: list[Entry], scene: Scene) -> None:
    assert [each.cluster.volume.name for each in entries[:2]] == [scene.right, scene.kept]
    assert [each.rank for each in entries] == list(range(1, len(entries) + 1))
    assert headline(entries, NAME) == (
        f"Your data is most likely in {scene.right}, because its system identifier is the pinned one, "
        "it holds 85 of 85 experts and 26,337 of 26,337 knowledge_nodes and its name is the pinned one."
    )


def test_no_volume_is_changed_and_nothing_is_left_behind(
    bed: Bed, entries: list[Entry], scene: Scene, before: dict[str, str]
) -> None:
    assert entries
    assert {volume: content(bed, volume) for volume in scene.idle} == before
    owner = owner_of(scene.target.config, NAME)
    assert bed.client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={owner}"}) == []
    assert [each.name for each in list_volumes(bed.client) if each.labels.get(OWNER_LABEL) == owner] == []


def test_nothing_is_counted_where_that_was_not_asked_for(scene: Scene, before: dict[str, str]) -> None:
    found = ours(census(scene.target.config, NAME, "none"), scene)

    assert {each.counts for each in found.values()} == {None}
    assert {each.counted_how for each in found.values()} == {"not counted: not asked for"}
    assert min(found.values(), key=lambda each: each.rank).cluster.volume.name == scene.right
    assert headline(list(found.values()), NAME).endswith("is the pinned one; though its rows were not counted.")


def test_big_volumes_are_counted_only_on_request(
    scene: Scene, before: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.restore.counting.SMALL", 1_000_000)
    found = ours(census(scene.target.config, NAME, "small"), scene)

    assert {each.counts for each in found.values()} == {None}
    assert all(each.counted_how.endswith("; ask with --count all") for each in found.values())


@pytest.mark.slow
def test_before_anything_is_known_the_floors_decide(scene: Scene, before: dict[str, str], tmp_path: Path) -> None:
    config = scene.target.config.model_copy(update={"history": f"sqlite:///{tmp_path}/new.db", "state": tmp_path})
    entries = census(config, NAME, "all", only({scene.right, scene.wrong, scene.kept}))

    best = entries[0]
    assert [each.cluster.volume.name for each in entries[:2]] == [scene.right, scene.kept]
    assert best.reasons == [
        "it holds 85 experts (at least 80 expected) and 26,337 knowledge_nodes (at least 10,000 expected)",
        "its name is the pinned one",
    ]


def test_copies_that_killed_runs_left_are_taken_away_and_never_listed(bed: Bed, scene: Scene) -> None:
    owner = owner_of(scene.target.config, NAME)

    def left(until: str, owner: str) -> str:
        labels = {RUN_LABEL: "census-1", OWNER_LABEL: owner, KEEP_UNTIL_LABEL: until}
        name = f"{COPY_PREFIX}{secrets.token_hex(6)}"
        bed.client.volumes.create(name, labels=bed.labels | labels)
        part = "cd /from; cp --parents PG_VERSION global/pg_control /to"
        run_in(bed, part, f"{scene.anonymous}:/from:ro", f"{name}:/to")
        return name

    old, young, others = left("2020-01-01", owner), left("2999-01-01", owner), left("2020-01-01", "another")
    try:
        listed = {each.cluster.volume.name for each in census(scene.target.config, NAME, "none")}
        assert not {old, young, others} & listed
        assert [bed.has_volume(each) for each in (old, young, others)] == [False, True, True]
    finally:
        bed.remove_volume(young)
        bed.remove_volume(others)


def test_with_several_targets_each_has_its_own_line(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    config = scene.target.config
    other = config.targets[NAME].model_copy(update={"volume": scene.anonymous})
    both = config.model_copy(update={"targets": config.targets | {"other": other}})

    entries = census(both, None)

    assert headline(entries, NAME).startswith(f"Your data is most likely in {scene.right}, because its system")
    assert headline(entries, "other").startswith("No volume convinces as the one with your data. The nearest is ")
    assert f"{scene.anonymous}: its name is the pinned one" in headline(entries, "other")
    census_show.census(entries, both, None)
    assert capsys.readouterr().out.startswith(
        f"{NAME}: {headline(entries, NAME)}\nother: {headline(entries, 'other')}\n"
    )
    assert {each.counted_how for each in entries} == {"not counted: name a target to have its tables counted"}


def one(bed: Bed, scene: Scene, volume: str) -> ClusterVolume:
    """The cluster in `volume`, as a census comes upon it."""
    owner = owner_of(scene.target.config, NAME)
    return clusters_in(bed.client, images.tag(17), [volume], owner)[0]


def counted(bed: Bed, scene: Scene, cluster: ClusterVolume) -> Counted:
    local = LocalImages(bed.client, scene.target.config.target(NAME).container)
    return count_rows(bed.client, scene.target.config, NAME, cluster, local)


@pytest.fixture
def sleeper(bed: Bed) -> Iterator[Callable[[str, str], str]]:
    """Starts a container that mounts a volume and is no server: `sleeper(volume, mode)`."""
    made: list[str] = []

    def start(volume: str, mode: str) -> str:
        box = bed.client.containers.run(
            images.tag(17),
            ["-c", "sleep 600"],
            entrypoint="sh",
            name=bed.name("sleeper"),
            labels=bed.labels,
            volumes={volume: {"bind": "/data", "mode": mode}},
            network_mode="none",
            detach=True,
        )
        made.append(str(box.name))
        return made[-1]

    yield start
    for each in made:
        bed.remove_container(each)


def test_a_volume_that_another_program_writes_to_is_never_copied(
    bed: Bed, scene: Scene, sleeper: Callable[[str, str], str]
) -> None:
    name = sleeper(scene.anonymous, "rw")
    found = counted(bed, scene, one(bed, scene, scene.anonymous))
    assert found.counts is None
    assert found.how.startswith(f"not counted: {name} runs on it and cannot be asked (")


@pytest.mark.slow
def test_a_copy_made_while_somebody_began_to_write_proves_nothing(
    bed: Bed, scene: Scene, sleeper: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = counting.rebuild_from_volume

    def rebuild_and_be_disturbed(*given: Any, **named: Any) -> Any:
        built = undisturbed(*given, **named)
        sleeper(scene.anonymous, "rw")
        return built

    monkeypatch.setattr(counting, "rebuild_from_volume", rebuild_and_be_disturbed)
    found = counted(bed, scene, one(bed, scene, scene.anonymous))
    assert found == Counted(how="not counted: somebody began to use it while it was copied; ask again")


def test_a_version_that_no_local_image_runs_is_told_of(bed: Bed, scene: Scene) -> None:
    cluster = one(bed, scene, scene.anonymous).model_copy(update={"major": "9.4"})
    how = "not counted: no local image runs PostgreSQL 9.4; pull one, then ask again"
    assert counted(bed, scene, cluster) == Counted(how=how)


@pytest.mark.slow
def test_a_cluster_that_cannot_be_started_is_told_of_and_leaves_nothing(bed: Bed, scene: Scene) -> None:
    broken = bed.name("broken")
    bed.client.volumes.create(broken, labels=bed.labels)
    try:
        run_in(bed, "cp -a /from/. /to/; rm -r /to/pg_wal", f"{scene.anonymous}:/from:ro", f"{broken}:/to")
        found = counted(bed, scene, one(bed, scene, broken))
    finally:
        bed.remove_volume(broken)

    assert found.counts is None
    assert found.how.startswith("not counted: ")
    owner = owner_of(scene.target.config, NAME)
    assert [each.name for each in list_volumes(bed.client) if each.labels.get(OWNER_LABEL) == owner] == []


def test_a_database_of_another_name_is_no_match(bed: Bed, scene: Scene) -> None:
    config = scene.target.config
    other = config.target(NAME).model_copy(update={"database": "elsewhere"})
    config = config.model_copy(update={"targets": {NAME: other}})
    local = LocalImages(bed.client, other.container)
    found = count_rows(bed.client, config, NAME, one(bed, scene, scene.anonymous), local)
    assert found == Counted(counts={}, how="it has no database elsewhere, by a server on a copy")


@pytest.mark.slow
def test_of_several_clusters_in_a_volume_none_is_given_the_rows_of_another(bed: Bed, scene: Scene) -> None:
    both = bed.name("both")
    bed.client.volumes.create(both, labels=bed.labels)
    try:
        copy = "mkdir /to/a /to/b; cp -a /one/. /to/a; cp -a /other/. /to/b"
        run_in(bed, copy, f"{scene.anonymous}:/one:ro", f"{scene.right}:/other:ro", f"{both}:/to")
        found = clusters_in(bed.client, images.tag(17), [both], scene.target.config.owner(NAME))
        rows = {each.path: counted(bed, scene, each).counts for each in found}
    finally:
        bed.remove_volume(both)

    assert rows["a"] in (None, {"public.experts": 3})
    assert rows["b"] in (None, FULL)
    assert any(rows.values())


def test_people_read_a_table_and_programs_one_document(
    entries: list[Entry], scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    config = scene.target.config
    census_show.census(entries, config, NAME)
    text = capsys.readouterr().out
    census_show.census_document(entries, config, NAME)
    document = json.loads(capsys.readouterr().out)

    assert text.startswith(f"Your data is most likely in {scene.right}, because ")
    assert all(volume in text for volume in scene.clusters)
    assert f" 1  {scene.right}: its system identifier is the pinned one; it holds 85 of 85 experts and " in text
    assert "; its name is the pinned one; counted by a server on a copy\n" in text
    assert f"kept: {STORY}" in text
    first = document["entries"][0]
    assert first["volume"] == scene.right
    assert {*first} >= {
        "volume", "rank", "score", "reasons", "major", "system_identifier", "timeline", "checkpoint_lsn",
        "checkpoint_at", "state", "bytes", "compose_project", "created_at", "counts", "counted_how", "kept",
    }  # fmt: skip
    assert (first["counts"], first["major"], first["compose_project"], first["kept"]) == (FULL, "17", PROJECT, None)
    assert document["summary"][NAME] == headline(entries, NAME)


def test_progress_is_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rollcall"):
        census(scene.target.config, NAME, "none")
    assert "Looking into " in caplog.text
    assert " PostgreSQL clusters found" in caplog.text
