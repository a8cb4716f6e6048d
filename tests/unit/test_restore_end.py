"""How a restore comes to its end, in words: what does not run beside the right data; where late rows are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments import restore_show
from tasks.config import Config, load
from tasks.containers.volumes import RUN_LABEL, read_volume
from tasks.errors import DatabaseError, Refused, RolledBack
from tasks.restore.execute import give_up, written_meanwhile
from tasks.restore.facts import Request, Source
from tasks.restore.hands import Hands
from tasks.restore.journal import Header, Journal
from tasks.restore.plan import make_plan
from tasks.restore.report import RestoreReport, report_of
from tasks.restore.steps import BACKUP_LABEL, _is_our_copy, _is_refused
from tasks.restore.words import restore_markdown
from tests.bed.journals import AS_FOUND, HERE
from tests.unit.test_restore_plan import BACKUP, COPY, PINNED, RIGHT, astray, world

SICK = "A dependant does not run as it should: The container agent ended with exit code 3; see docker logs agent."


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "targets.yaml").write_text(
        "storages: {local: {type: local, path: ./backups}}\n"
        "targets: {knowledge_os: {container: c, volume: v, database: d, storages: [local]}}\n"
    )
    return load(str(tmp_path / "targets.yaml"))


def begun(config: Config, source: Source = BACKUP) -> Hands:
    plan = make_plan(astray() if source is PINNED else world(), source, Request())
    header = Header(
        run="r",
        plan=plan,
        approved_by="ann",
        owner="o",
        staging="staging",
        begun_at=datetime(2026, 2, 1, tzinfo=UTC),
        before=AS_FOUND,
        engine=HERE,
    )
    return Hands(config, Journal.begin(config.state, header))


def done(config: Config, **facts: list[str]) -> RestoreReport:
    hands = begun(config)
    hands.journal.write("done", "stop container", {"stopped_at": "2026-02-01T03:00:00+00:00"})
    found = {"counts_found": {}, "identity": {"system_identifier": "1"}, "answered_at": "2026-02-01T03:00:01+00:00"}
    hands.journal.write("done", "verify", found)
    hands.journal.write("done", "start dependants", facts)
    return report_of(hands, None)


def test_a_dependant_that_does_not_run_is_the_first_thing_said(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = done(config, dependants_unwell=[SICK])
    restore_show.restore(sick)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "RESTORED knowledge_os, BUT NOT ALL THAT DEPENDS ON IT RUNS"
    assert SICK in printed[2]
    shown = restore_markdown(sick)
    assert shown.startswith("# ⚠ knowledge_os is restored, and what depends on it does not all run\n")
    assert "exit code 3" in shown
    (sick_document,) = sick.model_dump(mode="json")["warnings"]
    assert sick_document == SICK


def test_a_restore_without_a_fault_says_nothing_of_one(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    well = done(config, dependants_unwell=[])
    restore_show.restore(well)
    assert capsys.readouterr().out.splitlines()[0] == "RESTORED knowledge_os"
    assert restore_markdown(well).startswith("# ✔ ")
    assert well.warnings == []


@pytest.mark.parametrize(
    ("source", "step", "volume"), [(BACKUP, "start container", "staging"), (PINNED, "start replacement", RIGHT)]
)
def test_what_clients_wrote_before_the_undo_is_in_a_volume_that_is_named(
    config: Config, source: Source, step: str, volume: str
) -> None:
    hands = begun(config, source)
    hands.journal.write("starting", "stop container")
    assert written_meanwhile(hands) == ""
    hands.journal.write("starting", step)
    hands.journal.write("undone", step)
    assert f" is in the volume {volume}, which is kept." in written_meanwhile(hands)


def test_whoever_says_no_before_anything_is_touched_is_refused_and_a_failure_is_rolled_back(config: Config) -> None:
    hands = begun(config)
    with pytest.raises(Refused, match=r"^Nobody has accepted that\.$"):
        give_up(hands, Refused("Nobody has accepted that."))
    assert Journal.active(config.state, hands.plan.target) is None
    with pytest.raises(RolledBack, match="It does not answer"):
        give_up(begun(config), DatabaseError("It does not answer."))


@pytest.mark.parametrize(
    ("changed", "source", "ours"),
    [
        ({}, BACKUP, True),
        ({RUN_LABEL: "another"}, BACKUP, False),
        ({BACKUP_LABEL: "another"}, BACKUP, False),
        ({}, COPY, False),
    ],
)
def test_only_a_volume_that_this_run_rebuilt_of_a_backup_is_a_mere_copy(
    config: Config, changed: dict[str, str], source: Source, ours: bool
) -> None:
    labels = {RUN_LABEL: "r", BACKUP_LABEL: source.name} | changed
    hands = begun(config, source)
    assert _is_our_copy(hands, read_volume({"Name": "staging", "Driver": "local", "Labels": labels}, [])) is ours
    assert not _is_our_copy(hands, None)


def test_what_was_refused_is_no_mere_copy_once_anything_else_was_touched(config: Config) -> None:
    hands = begun(config)
    hands.journal.write("starting", "rebuild")
    assert not _is_refused(hands)
    hands.journal.write("undoing", "", {"refused": True})
    assert _is_refused(hands)
    hands.journal.write("starting", "exchange")
    assert not _is_refused(hands)
