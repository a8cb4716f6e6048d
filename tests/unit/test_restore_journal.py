"""The journal of a restore: durable, torn lines, one per target, kept as the record."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.errors import ConfigError, NeedsRecover
from tasks.restore.facts import Request
from tasks.restore.journal import Header, Journal, active_path
from tasks.restore.plan import make_plan
from tests.bed.journals import AS_FOUND, HERE
from tests.unit.test_restore_plan import BACKUP, world

NOW = datetime(2026, 2, 1, 3, 0, tzinfo=UTC)
TARGET = "knowledge_os"


def header(run: str = "run-1") -> Header:
    made = make_plan(world(), BACKUP, Request())
    return Header(
        run=run,
        plan=made,
        approved_by="ann",
        owner="knowledge_os-0",
        staging="staging",
        begun_at=NOW,
        before=AS_FOUND,
        engine=HERE,
    )


def test_what_was_written_is_read_again_word_for_word(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path, header())
    journal.write("starting", "exchange", {"folders": {"a": "1:2", "b": "1:3"}})
    journal.write("done", "exchange", {"more": 1})
    again = Journal.active(tmp_path, TARGET)
    assert again is not None
    assert (again.header, again.lines) == (journal.header, journal.lines)
    assert again.facts == {"folders": {"a": "1:2", "b": "1:3"}, "more": 1}


def test_steps_are_started_done_undone_and_committed(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path, header())
    journal.write("starting", "rebuild")
    journal.write("done", "rebuild")
    journal.write("starting", "stop container")
    assert journal.started() == ["rebuild", "stop container"]
    assert (journal.is_done("rebuild"), journal.is_done("stop container")) == (True, False)
    journal.write("undoing", "stop container")
    journal.write("undone", "stop container")
    assert journal.started() == ["rebuild"]
    assert not journal.committed
    journal.write("committed", "commit")
    assert journal.committed


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_line_torn_by_a_power_loss_counts_as_not_written_and_spoils_none_after_it(tmp_path: Path, kept: int) -> None:
    journal = Journal.begin(tmp_path, header())
    journal.write("starting", "rebuild")
    whole = journal.path.read_bytes()
    journal.write("done", "rebuild")
    torn = journal.path.read_bytes()[len(whole) :][:kept]
    journal.path.write_bytes(whole + torn)
    again = Journal.active(tmp_path, TARGET)
    assert again is not None
    assert not again.is_done("rebuild")
    again.write("undoing", "rebuild")
    last = Journal.active(tmp_path, TARGET)
    assert last is not None
    assert [line.event for line in last.lines] == ["starting", "undoing"]


def test_a_second_restore_does_not_begin_over_one_that_has_not_ended(tmp_path: Path) -> None:
    Journal.begin(tmp_path, header())
    with pytest.raises(NeedsRecover, match="rollcall recover knowledge_os"):
        Journal.begin(tmp_path, header("run-2"))
    active = Journal.active(tmp_path, TARGET)
    assert active is not None
    assert active.header.run == "run-1"


def test_an_ended_journal_stays_as_the_record_and_is_in_nobodys_way(tmp_path: Path) -> None:
    record = Journal.begin(tmp_path, header()).end()
    assert record == tmp_path / "restores" / TARGET / "run-1.journal"
    assert json.loads(record.read_text().splitlines()[-1])["event"] == "ended"
    assert Journal.active(tmp_path, TARGET) is None
    Journal.begin(tmp_path, header("run-2"))


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "state", header())
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_first_line_is_said_and_nothing_is_guessed(tmp_path: Path) -> None:
    path = active_path(tmp_path, TARGET)
    path.parent.mkdir()
    path.write_text('{"run": "half')
    with pytest.raises(NeedsRecover, match="damaged in its first line"):
        Journal.active(tmp_path, TARGET)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "restores").write_text("a file")
    with pytest.raises(ConfigError, match="nothing was touched"):
        Journal.begin(tmp_path, header())
