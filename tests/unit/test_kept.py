"""Kept volumes as their labels describe them, when one may not be removed yet, and what records of restores tell."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.kept_show import kept_document, kept_table, removed_document
from tasks.containers.other_files import OtherFiles
from tasks.containers.volumes import (
    KEEP_UNTIL_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    Volume,
    VolumeUser,
)
from tasks.restore.facts import Source
from tasks.restore.journal import Event, Header, Journal
from tasks.restore.kept import Kept, describe, not_yet, with_its_record
from tasks.restore.plan import Plan
from tasks.restore.records import read_records
from tests.bed.journals import AS_FOUND, HERE

TARGET, OWNER, RUN = "knowledge_os", "knowledge_os-0123456789ab", "20260201T120000Z-aaaaaa"
BEGUN = datetime(2026, 2, 1, 12, tzinfo=UTC)
UNTIL = BEGUN + timedelta(days=30)
NAME = f"atra_knowledge_postgres_data.rollcall-{RUN}"


def volume(users: list[VolumeUser] | None = None, **labels: str) -> Volume:
    known = {
        RUN_LABEL: RUN,
        TARGET_LABEL: TARGET,
        OWNER_LABEL: OWNER,
        STORY_LABEL: "What it held before.",
        KEEP_UNTIL_LABEL: UNTIL.isoformat(timespec="seconds"),
    }
    return Volume(
        name=NAME,
        driver="local",
        labels=known | labels,
        options={},
        created_at="2026-01-01T00:00:00Z",
        mountpoint=f"/var/lib/docker/volumes/{NAME}/_data",
        users=users or [],
    )


KEPT = describe(volume(), None, OWNER)


def test_a_volume_is_ours_wherever_the_state_folder_was_moved_to(tmp_path: Path) -> None:
    elsewhere = describe(volume(**{OWNER_LABEL: "knowledge_os-ba9876543210"}), None, OWNER)
    assert not with_its_record(elsewhere, tmp_path, TARGET).ours
    records = tmp_path / "restores" / TARGET
    records.mkdir(parents=True)
    (records / "20260201T110000Z-bbbbbb.journal").touch()
    assert not with_its_record(elsewhere, tmp_path, TARGET).ours, "another run's record"
    (records / f"{RUN}.journal").touch()
    assert with_its_record(elsewhere, tmp_path, TARGET).ours
    assert not with_its_record(elsewhere, tmp_path, "other").ours
    assert with_its_record(KEPT, tmp_path / "nowhere", TARGET).ours


def test_a_kept_volume_is_described_by_its_labels() -> None:
    assert Kept(name=NAME, run=RUN, story="What it held before.", created_at=BEGUN, keep_until=UNTIL) == KEPT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-03T12:00:00+00:00", UNTIL),
        ("2026-03-03T12:00:00", UNTIL),
        ("2026-03-03T13:00:00+01:00", UNTIL),
        ("soon", None),
        ("", None),
    ],
)
def test_the_time_it_is_kept_until_is_read_as_utc(text: str, expected: datetime | None) -> None:
    assert describe(volume(**{KEEP_UNTIL_LABEL: text}), None, OWNER).keep_until == expected


def test_a_run_that_has_no_time_in_its_id_has_none() -> None:
    assert describe(volume(**{RUN_LABEL: "by-hand"}), None, OWNER).created_at is None


NOT_YET = [
    ({}, UNTIL, False, None),
    ({}, UNTIL - timedelta(seconds=1), False, f"The volume {NAME} is kept until 2026-03-03 12:00 UTC; ask again then."),
    ({"keep_until": None}, UNTIL, False, f"The volume {NAME} does not say until when it is kept"),
    ({"in_use_by": ["old", "new"]}, UNTIL, False, f"The volume {NAME} is mounted by old, new, running or not"),
    ({"ours": False}, UNTIL, False, f"The volume {NAME} was made by a Rollcall with another state folder"),
    ({}, UNTIL, True, "A restore of knowledge_os was interrupted and has not ended."),
]


@pytest.mark.parametrize(("given", "now", "at_work", "expected"), NOT_YET)
def test_why_it_may_not_be_removed_yet(
    given: dict[str, Any], now: datetime, at_work: bool, expected: str | None
) -> None:
    reason = not_yet(KEPT.model_copy(update=given), TARGET, now, at_work=at_work)
    assert (reason or "").startswith(expected or "")
    assert (reason is None) == (expected is None)


# Records


def journal(
    state: Path, run: str, source: Source | None, lines: list[tuple[Event, str, dict[str, Any]]], **more: Any
) -> Path:
    plan = Plan(
        target=TARGET,
        situation="restore",
        container="knowledge_postgres",
        container_id="1",
        image_id="2",
        destination="/var/lib/postgresql",
        pgdata="/var/lib/postgresql/18/docker",
        mounted="atra",
        pinned="atra",
        pinned_exists=True,
        source=source,
        counts_now=None,
        counts_after={},
        **more,
    )
    header = Header(
        run=run,
        plan=plan,
        approved_by="a test",
        owner=OWNER,
        staging=NAME,
        begun_at=BEGUN,
        before=AS_FOUND,
        engine=HERE,
    )
    begun = Journal.begin(state, header)
    for line in lines:
        begun.write(*line)
    return begun.end()


REBUILT: list[tuple[Event, str, dict[str, Any]]] = [
    ("starting", "rebuild", {}),
    ("done", "rebuild", {"rebuilt": {"system_identifier": "7000", "counts": {}}}),
]


def test_records_tell_what_was_rebuilt_served_and_committed(tmp_path: Path) -> None:
    backup = Source(kind="backup", name="B")
    journal(tmp_path, "a", backup, [*REBUILT, ("starting", "start container", {}), ("committed", "commit", {})])
    journal(tmp_path, "b", backup, [*REBUILT, ("undoing", "rebuild", {}), ("undone", "rebuild", {})])
    journal(tmp_path, "c", Source(kind="volume", name="K"), [("starting", "rebuild", {})])
    done, undone, unproven = read_records(tmp_path, TARGET)
    assert (done.run, done.rebuilt_cluster, done.served) == ("a", "7000", True)
    assert done.rebuilt_at is not None
    assert done.committed_at is not None
    assert done.rebuilt_at <= done.committed_at
    assert (undone.rebuilt_cluster, undone.served, undone.committed_at) == ("7000", False, None)
    assert (unproven.source_volume, unproven.rebuilt_cluster, unproven.rebuilt_at) == ("K", None, None)


def test_copied_files_are_known_by_their_whole_path_and_only_where_the_pinned_volume_gave_them(tmp_path: Path) -> None:
    copied = {"taken_over": [name.encode().hex() for name in ("server.key", "a\nb")]}
    lines: list[tuple[Event, str, dict[str, Any]]] = [("starting", "rebuild", {}), ("done", "rebuild", copied)]
    for run, volume in (("a", "atra"), ("b", "another"), ("c", None)):
        journal(tmp_path, run, None, lines, taken_over_from=volume)
    ours, others, none = read_records(tmp_path, TARGET)
    assert ours.taken_over == ["18/docker/server.key", "18/docker/a\nb"]
    assert others.taken_over == none.taken_over == []


def test_without_records_there_are_none(tmp_path: Path) -> None:
    assert read_records(tmp_path, TARGET) == []


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"\xff\n", b'{"run": '])
def test_one_record_that_cannot_be_read_makes_all_unreliable(tmp_path: Path, damage: bytes) -> None:
    journal(tmp_path, "a", None, REBUILT)
    journal(tmp_path, "b", None, REBUILT).write_bytes(damage)
    assert read_records(tmp_path, TARGET) == []


# What is printed


def test_the_table_has_the_whole_name_the_story_and_both_ways_on(capsys: pytest.CaptureFixture[str]) -> None:
    kept = KEPT.model_copy(update={"bytes": 85_000_000, "system_identifier": "7000", "in_use_by": ["old"]})
    kept_table([kept, KEPT.model_copy(update={"ours": False})], TARGET, UNTIL)
    printed = capsys.readouterr().out
    for each in (
        NAME,
        "2026-02-01 12:00 UTC",
        "2026-03-03 12:00 UTC (over)",
        "85.0 MB",
        "7000",
        "old",
        "What it held before.",
        "It was made with another state folder",
        f"rollcall restore-volume {TARGET} --from-volume NAME",
        f"rollcall kept {TARGET} --remove NAME",
    ):
        assert each in printed


def test_files_that_no_backup_holds_are_named_before_somebody_removes_them(capsys: pytest.CaptureFixture[str]) -> None:
    kept_table([KEPT.model_copy(update={"others": [OtherFiles(path="uploads/", files=1, bytes=4096)]})], TARGET, UNTIL)
    assert "It also holds uploads/ (1 file, 4 kB), which no backup" in " ".join(capsys.readouterr().out.split())


def test_no_kept_volume_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    kept_table([], TARGET)
    assert capsys.readouterr().out == "No volume of knowledge_os is kept.\n"


def test_the_document_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    kept_document([KEPT], TARGET)
    document = json.loads(capsys.readouterr().out)
    assert document["target"] == TARGET
    assert document["kept"][0] == json.loads(KEPT.model_dump_json())
    removed_document(NAME, TARGET)
    assert json.loads(capsys.readouterr().out) == {"target": TARGET, "removed": NAME}
