"""The census's words: how a cluster was left, where the data most likely is, and what is printed."""

import json
from typing import Any

import pytest

from deployments import census_show
from tasks.config import Config
from tasks.containers.clusters import ClusterVolume
from tasks.containers.control_file import STATES
from tasks.containers.images import PostgresImage
from tasks.containers.other_files import OtherFiles
from tasks.containers.volumes import RUN_LABEL, STORY_LABEL, VolumeUser
from tasks.restore.census import Entry, entry, headline, ranked, state_of
from tasks.restore.counting import SMALL, Counted, Extent, no_room_for_a_copy, not_asked_for, place_of, writers
from tasks.restore.ranking import Expected
from tests.unit.census_clusters import EMPTY, FULL, OTHER, PINNED, cluster, expected

TARGET = "knowledge_os"


def used(found: ClusterVolume, **user: Any) -> ClusterVolume:
    given = {"container": "db", "id": "1", "running": True, "destination": "/x", "read_only": False} | user
    users = [*found.volume.users, VolumeUser.model_validate(given)]
    return found.model_copy(update={"volume": found.volume.model_copy(update={"users": users})})


def left(found: ClusterVolume, **facts: Any) -> ClusterVolume:
    return found.model_copy(update={"control": found.control.model_copy(update=facts)})


def labelled(found: ClusterVolume, **labels: str) -> ClusterVolume:
    return found.model_copy(update={"volume": found.volume.model_copy(update={"labels": labels})})


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (cluster(), "clean"),
        (left(cluster(), state=STATES[2]), "clean"),
        (left(cluster(), state=STATES[6]), "crashed: its server ended while in production"),
        (left(cluster(), state=STATES[4]), "crashed: its server ended while in crash recovery"),
        (left(cluster(), sound=False), "damaged: the checksum of its control file does not fit"),
        (used(left(cluster(), state=STATES[6])), "in use by db"),
        (used(used(cluster(), read_only=True), container="reader"), "in use by db and reader"),
        (used(cluster(), running=False), "clean"),
    ],
)
def test_how_a_cluster_was_left_is_told_in_words(found: ClusterVolume, state: str) -> None:
    assert state_of(found) == state


@pytest.mark.parametrize(
    ("extent", "size", "counted"),
    [
        ("small", SMALL - 1, True),
        ("small", SMALL, False),
        ("small", None, False),
        ("all", SMALL * 1000, True),
        ("all", None, True),
        ("none", 1, False),
    ],
)
def test_what_is_counted_depends_on_what_was_asked_for(extent: Extent, size: int | None, counted: bool) -> None:
    assert (not_asked_for(cluster(size=size), extent) is None) is counted


GIB = 1 << 30


@pytest.mark.parametrize(
    ("taken", "free", "words"),
    [
        (5 * GIB, 6 * GIB, None),
        (5 * GIB, None, None),
        (5 * GIB, 6 * GIB - 1, "a copy needs 5.4 GB, and the engine's disk has 6.4 GB left; make room"),
        (None, 900 * GIB, "nobody knows whether a copy has room"),
    ],
)
def test_a_copy_never_takes_the_last_room_of_the_engines_disk(
    taken: int | None, free: int | None, words: str | None
) -> None:
    found = no_room_for_a_copy(cluster(size=taken).model_copy(update={"free_bytes": free}))
    assert found is None if words is None else words in (found or "")


def test_only_running_containers_that_may_write_are_in_the_way_of_a_copy() -> None:
    found = used(used(used(cluster(), container="a"), container="b", read_only=True), container="c", running=False)
    assert [each.container for each in writers(found.volume)] == ["a"]


@pytest.mark.parametrize(
    ("pgdata", "volumes", "path", "destination", "inside"),
    [
        ("/var/lib/postgresql/data", ["/var/lib/postgresql/data"], "", "/var/lib/postgresql/data", ""),
        ("/var/lib/postgresql/18/docker", ["/var/lib/postgresql"], "18/docker", "/var/lib/postgresql", "/18/docker"),
        ("/var/lib/postgresql/18/docker", ["/var/lib/postgresql"], "", "/var/lib/postgresql", ""),
        ("/var/lib/postgresql/data", ["/var/lib/postgresql/data"], "a b/c", "/var/lib/postgresql/data", "/a b/c"),
        ("/pg", ["/other"], "", "/var/lib/postgresql/data", ""),
    ],
)
def test_a_copy_is_mounted_where_the_image_expects_its_volume(
    pgdata: str, volumes: list[str], path: str, destination: str, inside: str
) -> None:
    image = PostgresImage(id="1", tags=[], major="17", pgdata=pgdata, volumes=volumes, created_at="")
    place = place_of(image, cluster().model_copy(update={"path": path}))
    assert (place.destination, place.pgdata) == (destination, destination + inside)


def entries_of(*found: tuple[ClusterVolume, dict[str, int] | None], known: Expected | None = None) -> list[Entry]:
    """Ranked entries for clusters with their rows."""
    wanted = [known or expected()]
    return ranked([entry(each, Counted(counts=counts, how="by a test"), wanted) for each, counts in found])


def test_the_incident_is_told_in_one_line() -> None:
    entries = entries_of((cluster("os_data", OTHER, hours=9), EMPTY), (cluster("right", PINNED), FULL))

    assert [(each.rank, each.cluster.volume.name) for each in entries] == [(1, "right"), (2, "os_data")]
    assert headline(entries, TARGET) == (
        "Your data is most likely in right, because its system identifier is the pinned one, it holds "
        "85 of 85 experts and 26,337 of 26,337 knowledge_nodes and its name is the pinned one."
    )


def test_the_pinned_cluster_without_its_rows_does_not_hide_where_the_rows_are() -> None:
    entries = entries_of((cluster("right", PINNED), EMPTY), (cluster("copy", OTHER), FULL))

    assert headline(entries, TARGET) == (
        "right: its system identifier is the pinned one, its name is the pinned one and it holds 1 of 85 experts and "
        "27 of 26,337 knowledge_nodes. Your data is rather in copy, because it holds 85 of 85 experts "
        f"and 26,337 of 26,337 knowledge_nodes; though its system identifier is {OTHER}, and {PINNED} is pinned."
    )


def test_rows_that_were_not_counted_are_told_of() -> None:
    line = headline(entries_of((cluster("right", PINNED), None)), TARGET)
    assert line.endswith("and its name is the pinned one; though its rows were not counted.")


def test_where_nothing_convinces_it_says_so() -> None:
    entries = entries_of((cluster("right", OTHER), None), (cluster("old", OTHER), EMPTY))

    assert headline(entries, TARGET) == (
        "No volume convinces as the one with your data. The nearest is right: its name is the pinned one and its "
        f"system identifier is {OTHER}, and {PINNED} is pinned. The rows of 1 of 2 were not counted."
    )


def test_where_nothing_is_known_it_says_so() -> None:
    nothing_known = expected(None).rules.model_copy(update={"tables": {}})
    line = headline(entries_of((cluster("a"), None), known=Expected(TARGET, nothing_known)), TARGET)
    assert "The nearest is a: nothing is known of it." in line


def test_an_engine_without_a_cluster_is_told_of() -> None:
    assert headline([], TARGET) == "No volume of this Docker engine holds a PostgreSQL cluster."


def test_a_cluster_below_the_root_is_named_with_its_place() -> None:
    inside = cluster("right", PINNED).model_copy(update={"path": "18/docker"})
    assert " is most likely in right (in 18/docker), because " in headline(entries_of((inside, FULL)), TARGET)


def test_only_volumes_of_our_own_runs_have_a_story() -> None:
    story = {STORY_LABEL: "What it held before."}
    kept, foreign = labelled(cluster("a"), **story, **{RUN_LABEL: "r"}), labelled(cluster("b"), **story)
    assert {each.cluster.volume.name: each.kept for each in entries_of((kept, None), (foreign, None))} == {
        "a": "What it held before.",
        "b": None,
    }


def config() -> Config:
    target = expected().rules.model_dump(mode="json", exclude={"docker"})
    storages = {"s": {"type": "local", "path": "/backups"}}
    return Config.model_validate({"storages": storages, "targets": {TARGET: target}})


def test_a_name_with_markup_in_it_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    odd = labelled(cluster("right", PINNED), **{RUN_LABEL: "r", STORY_LABEL: "[bold]kept[/]"})
    nothing_expected = Expected(TARGET, expected().rules.model_copy(update={"tables": {}}))
    rows = FULL | {'"[red]"."x"': 30000, "public.more": 2}
    census_show.census(entries_of((odd, rows), known=nothing_expected), config(), TARGET)

    line = (
        'right: its name is the pinned one; it holds 85 experts, 26,337 knowledge_nodes, 30,000 "[red]"."x" and 1 more '
        "tables, counted by a test; kept: [bold]kept[/]"
    )
    assert f" 1  {line}\n" in capsys.readouterr().out


def test_rows_that_a_reason_names_are_not_named_again(capsys: pytest.CaptureFixture[str]) -> None:
    census_show.census(entries_of((cluster("right", PINNED), FULL)), config(), TARGET)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.count("26,337") == 2
    assert line.endswith("; its name is the pinned one; counted by a test")


def test_files_that_belong_to_no_cluster_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with_uploads = cluster("right", PINNED).model_copy(update={"others": [OtherFiles(path="uploads/", files=2)]})
    census_show.census(entries_of((with_uploads, FULL)), config(), TARGET)
    printed = " ".join(capsys.readouterr().out.split())
    assert "the volume also holds uploads/ (2 files, size unknown)" in printed


def test_an_empty_census_prints_its_one_line_and_an_empty_document(capsys: pytest.CaptureFixture[str]) -> None:
    census_show.census([], config(), TARGET)
    assert capsys.readouterr().out == "No volume of this Docker engine holds a PostgreSQL cluster.\n"
    census_show.census_document([], config(), None)
    assert json.loads(capsys.readouterr().out) == {
        "target": None,
        "summary": {TARGET: "No volume of this Docker engine holds a PostgreSQL cluster."},
        "entries": [],
    }


def test_the_document_holds_no_more_than_plain_data() -> None:
    document = census_show.entry_document(entries_of((used(cluster("right", PINNED)), FULL))[0])
    assert json.loads(json.dumps(document)) == document
    assert document["score"] == [
        {"target": TARGET, "same_cluster": True, "rows": "near", "share": 1.0, "pinned_volume": True}
    ]
    assert document["checkpoint_at"] == "2026-02-01T00:00:00+00:00"
    assert document["created_at"] is None
