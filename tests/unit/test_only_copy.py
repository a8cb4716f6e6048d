"""Which kept volumes hold rows that are nowhere else: every fact that tells, one at a time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.containers.control_file import ControlFile
from tasks.containers.other_files import OtherFiles
from tasks.restore.only_copy import Facts, Record, Stored, holders, only_copy

STOPPED = datetime(2026, 2, 1, 12, 0, 30, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NAME = "atra_data.rollcall-20260201T120000Z-aaaaaa"
RUN = "20260201T120000Z-aaaaaa"


def cluster(**given: Any) -> ControlFile:
    known = {
        "system_identifier": "7000",
        "control_version": 1300,
        "catalog_version": 202209061,
        "state": "shut down",
        "checkpoint_lsn": "1/10",
        "timeline": 1,
        "changed_at": STOPPED,
    }
    return ControlFile.model_validate(known | given)


def stored(**given: Any) -> Stored:
    known = {
        "id": "B",
        "created_at": STOPPED + 2 * DAY,
        "quarantined": False,
        "narrowed": False,
        "system_identifier": "7000",
        "timeline": 1,
        "checkpoint_lsn": "1/20",
    }
    return Stored.model_validate(known | given)


def record(**given: Any) -> Record:
    return Record.model_validate({"run": RUN, "begun_at": STOPPED - MINUTE} | given)


def facts(**given: Any) -> Facts:
    known = {"name": NAME, "target": "knowledge_os", "run": RUN, "backup": "B", "clusters": [cluster()], "empty": False}
    return Facts.model_validate(known | {"stored": [], "records": []} | given)


PUT_ASIDE = record(committed_at=STOPPED + MINUTE, rebuilt_cluster="8000", rebuilt_at=STOPPED - MINUTE, served=True)
COPIED = record(run="second", begun_at=STOPPED + DAY, committed_at=STOPPED + DAY + MINUTE, source_volume=NAME)
COPIED_ANOTHER = record(
    run="third", begun_at=STOPPED + DAY, committed_at=STOPPED + DAY + MINUTE, source_volume="another"
)
FROM_BACKUP = record(run="fourth", begun_at=STOPPED + DAY, committed_at=STOPPED + DAY + 2 * MINUTE)
LIVE_AGAIN = facts(stored=[stored()], records=[PUT_ASIDE, COPIED])

REBUILT = record(rebuilt_cluster="7000", rebuilt_at=STOPPED + MINUTE)
UNDONE = facts(stored=[stored(system_identifier="6000")], records=[REBUILT])


def changed(base: Facts, **given: Any) -> Facts:
    return base.model_copy(update=given)


ELSEWHERE = {
    "it was made live again, and a good backup was taken of that": LIVE_AGAIN,
    "the restore was undone: it holds what the backup holds": UNDONE,
    "it holds what a quarantined backup holds": changed(UNDONE, stored=[stored(quarantined=True)]),
    "it holds nothing": changed(LIVE_AGAIN, clusters=[], empty=True, stored=[]),
    "each of its two clusters is elsewhere": changed(
        LIVE_AGAIN, clusters=[cluster(), cluster(system_identifier="7000", timeline=1)]
    ),
    "a good one among others": changed(LIVE_AGAIN, stored=[stored(id="X", quarantined=True), stored()]),
}

NOT_KNOWN = "[BX] of .* UTC, is not known to be of data that came from this volume"

ONLY_COPY = {
    "no backup is there": (changed(LIVE_AGAIN, stored=[]), "none was taken of that cluster"),
    "backups are of another cluster": (
        changed(LIVE_AGAIN, stored=[stored(system_identifier="9000")]),
        "none was taken of that cluster",
    ),
    "the backup was taken before the server stopped": (
        facts(stored=[stored(created_at=STOPPED - MINUTE)], records=[PUT_ASIDE]),
        "the last one of that cluster, B of 2026-02-01 11:59:30 UTC, was taken before its server stopped",
    ),
    "the backup is of after the stop, but of whatever was mounted then": (
        facts(stored=[stored()], records=[PUT_ASIDE]),
        NOT_KNOWN,
    ),
    "no record tells what was live": (facts(stored=[stored()]), NOT_KNOWN),
    "the backup is quarantined": (
        changed(LIVE_AGAIN, stored=[stored(quarantined=True)]),
        "B of .*, is quarantined",
    ),
    "databases were left out": (changed(LIVE_AGAIN, stored=[stored(narrowed=True)]), "leaves databases or tables out"),
    "another copy of the same cluster was live": (
        changed(LIVE_AGAIN, records=[PUT_ASIDE, COPIED_ANOTHER]),
        NOT_KNOWN,
    ),
    "something else was made live before the backup": (
        changed(LIVE_AGAIN, records=[PUT_ASIDE, COPIED, FROM_BACKUP]),
        NOT_KNOWN,
    ),
    "the copy was made live only after the backup": (
        changed(LIVE_AGAIN, stored=[stored(created_at=STOPPED + DAY)]),
        NOT_KNOWN,
    ),
    "the copying restore was undone": (
        changed(LIVE_AGAIN, records=[PUT_ASIDE, COPIED.model_copy(update={"committed_at": None})]),
        NOT_KNOWN,
    ),
    "it was written to since it was copied": (
        changed(LIVE_AGAIN, clusters=[cluster(changed_at=STOPPED + DAY + MINUTE)]),
        NOT_KNOWN,
    ),
    "the backup's cluster is behind": (changed(LIVE_AGAIN, stored=[stored(checkpoint_lsn="0/FFFFFFFF")]), NOT_KNOWN),
    "the backup's cluster is on an older timeline": (
        changed(LIVE_AGAIN, clusters=[cluster(timeline=2)]),
        NOT_KNOWN,
    ),
    "its server was killed": (
        changed(LIVE_AGAIN, clusters=[cluster(state="in production")]),
        "its server was not shut down in order, so it may hold rows newer than that",
    ),
    "its control file is damaged": (changed(LIVE_AGAIN, clusters=[cluster(sound=False)]), "not shut down in order"),
    "one of its two clusters is nowhere else": (
        changed(LIVE_AGAIN, clusters=[cluster(), cluster(system_identifier="7777")]),
        "holds cluster 7777 as it was at 2026-02-01 12:00:30 UTC",
    ),
    "the backup it was rebuilt from is gone": (
        changed(UNDONE, stored=[stored(id="X")]),
        NOT_KNOWN,
    ),
    "it holds another cluster than was rebuilt": (
        changed(UNDONE, records=[REBUILT.model_copy(update={"rebuilt_cluster": "8000"})]),
        "none was taken",
    ),
    "the container ran on it before the restore was undone": (
        changed(UNDONE, records=[REBUILT.model_copy(update={"served": True})]),
        "none was taken",
    ),
    "it was written to after the proof": (
        changed(UNDONE, clusters=[cluster(changed_at=STOPPED + 2 * MINUTE)]),
        "none was taken",
    ),
    "it was never proven": (
        changed(UNDONE, records=[REBUILT.model_copy(update={"rebuilt_at": None})]),
        "none was taken",
    ),
    "it is a copy of a volume whose name is a backup's": (
        changed(UNDONE, records=[REBUILT.model_copy(update={"source_volume": "B"})]),
        "none was taken",
    ),
    "the rebuilt cluster was not shut down in order": (
        changed(UNDONE, clusters=[cluster(state="in production")]),
        "not shut down in order",
    ),
    "a storage could not be asked": (
        changed(LIVE_AGAIN, stored=[], unreachable=["offsite"]),
        r"none was taken of that cluster \(offsite could not be asked\)",
    ),
}


@pytest.mark.parametrize("known", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_volume_whose_rows_are_in_a_backup_may_go(known: Facts) -> None:
    assert only_copy(known) is None
    assert all(set(holders(each, known)) == {"B"} for each in known.clusters or [])


@pytest.mark.parametrize(("known", "why"), ONLY_COPY.values(), ids=ONLY_COPY)
def test_a_volume_whose_rows_may_be_nowhere_else_may_not(known: Facts, why: str) -> None:
    sentence = str(only_copy(known))
    assert sentence.startswith(f"The volume {NAME} holds cluster 7")
    assert sentence.endswith(
        f"rollcall restore-volume knowledge_os --from-volume {NAME}, then rollcall backup knowledge_os. "
        "To lose them, add --even-if-only-copy."
    )
    assert re.search(why, sentence)


@pytest.mark.parametrize("clusters", [None, []], ids=["nobody could look", "no cluster can be read in it"])
def test_what_cannot_be_read_is_taken_for_precious(clusters: list[ControlFile] | None) -> None:
    sentence = only_copy(changed(LIVE_AGAIN, clusters=clusters))
    assert sentence == (
        f"What the volume {NAME} holds cannot be read, so nobody knows whether it is anywhere else; copy it away first."
    )


def test_files_that_no_backup_holds_keep_a_volume_unless_its_restore_has_copied_them() -> None:
    others = [OtherFiles(path=path, files=1, bytes=4096) for path in ("uploads/", "18/docker/server.key")]
    assert f"The volume {NAME} also holds uploads/ and 18/docker/server.key (2 files" in str(
        only_copy(changed(LIVE_AGAIN, others=others))
    )
    copied = [each.model_copy(update={"taken_over": ["18/docker/server.key"]}) for each in LIVE_AGAIN.records]
    assert "also holds uploads/ (1 file" in str(only_copy(changed(LIVE_AGAIN, others=others, records=copied)))
    assert only_copy(changed(LIVE_AGAIN, others=others[1:], records=copied)) is None
    for path, more in (("server.key", False), ("18/server.key", False), ("18/docker/server.key/", True)):
        lost = OtherFiles(path=path, files=1, bytes=4096, more=more)
        assert "copy that elsewhere first" in str(only_copy(changed(LIVE_AGAIN, others=[lost], records=copied)))
