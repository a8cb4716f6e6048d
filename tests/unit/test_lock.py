"""One run at a time on a target, one restore at a time on a volume: who waits for whom, and in which words."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments import cli
from tasks.checks.lock import is_held, only_run, only_run_on_volume, sharing
from tasks.config import Config, load
from tasks.errors import Busy, NeedsRecover, Refused
from tasks.restore.journal import Header, Journal
from tasks.restore.plan import Plan
from tasks.restore.records import records_of_all
from tasks.restore.recover import interruption_findings, recover, recover_first, refuse_interrupted
from tests.bed.journals import AS_FOUND, HERE

Refusal = Callable[..., tuple[int, str]]
TARGETS = """\
storages: {local: {type: local, path: ./backups}}
targets:
  one: {container: pg, volume: data, database: one, storages: [local]}
  two: {container: pg, volume: data, database: two, storages: [local]}
  moved: {container: pg2, volume: data, database: one, storages: [local]}
  far: {container: pg, volume: data, database: one, storages: [local], docker: {host: "ssh://db1"}}
  other: {container: pg3, volume: data3, database: one, storages: [local]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    return load(str(tmp_path / "targets.yaml"))


def backup_of(config: Config, target: str) -> AbstractContextManager[None]:
    return only_run(config.state, target)


def restore_of(config: Config, target: str) -> AbstractContextManager[None]:
    return only_run_on_volume(config, [target])


def interrupt(config: Config, target: str, run: str = "20260301T120000Z-aaaaaa") -> Journal:
    """A restore of the target that has begun and not ended."""
    plan = Plan(
        target=target, situation="restore", container="pg", container_id="1", image_id="2", destination="/d",
        pgdata="/d", mounted="data", pinned="data", pinned_exists=True, source=None, counts_now=None, counts_after={},
    )  # fmt: skip
    header = Header(
        run=run,
        plan=plan,
        approved_by="a test",
        owner="o",
        staging="s",
        begun_at=datetime(2026, 3, 1, tzinfo=UTC),
        before=AS_FOUND,
        engine=HERE,
    )
    return Journal.begin(config.state, header)


def test_targets_on_one_container_or_volume_of_one_engine_share_it(config: Config) -> None:
    assert sharing(config, "one") == sharing(config, "two") == sharing(config, "moved") == ["moved", "one", "two"]
    assert (sharing(config, "far"), sharing(config, "other")) == (["far"], ["other"])


@pytest.mark.parametrize(
    ("held", "asked"), [("one", "two"), ("two", "one"), ("one", "moved"), ("moved", "one"), ("two", "moved")]
)
def test_no_two_restores_are_at_work_on_one_volume_and_the_words_name_the_other(
    config: Config, held: str, asked: str
) -> None:
    said = rf"at work on {held}, which is on the container or volume of {asked} too"
    with restore_of(config, held):
        for refused in (restore_of, backup_of):
            with pytest.raises(Busy, match=said), refused(config, asked):
                pass
        with restore_of(config, "other"), restore_of(config, "far"):
            assert is_held(config.state, asked)
    with backup_of(config, held), pytest.raises(Busy, match=said), restore_of(config, asked):
        pass
    with restore_of(config, asked):
        pass


def test_a_run_of_the_same_target_is_named_as_before(config: Config) -> None:
    with restore_of(config, "two"):
        pass
    for first in (restore_of, backup_of):
        with first(config, "one"), pytest.raises(Busy, match="at work on one; wait"):
            backup_of(config, "one").__enter__()


def test_a_run_with_patience_goes_on_once_the_other_has_ended(config: Config) -> None:
    with ExitStack() as held:
        held.enter_context(only_run(config.state, "one"))
        with pytest.raises(Busy), only_run(config.state, "one", patience=0.3):
            pass
        threading.Timer(0.3, held.close).start()
        with only_run(config.state, "one", patience=30):
            assert is_held(config.state, "one")


@pytest.fixture
def refused(config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command line, without any Prefect, that is refused: its exit code and what it said."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "ROLLCALL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(config.state.parent))
    monkeypatch.setattr(cli, "ACCEPT_PATIENCE", 0.2)

    def run(*command: str) -> tuple[int, str]:
        file = str(config.state.parent / "targets.yaml")
        monkeypatch.setattr(sys, "argv", ["rollcall", *command, "--config", file])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rollcall: ")]
        return int(str(ended.value.code)), "\n".join(said)

    return run


def test_every_command_that_changes_a_target_heeds_its_whole_volume(config: Config, refused: Refusal) -> None:
    beside = "on the container or volume of two too"
    for first, commands in ((restore_of, ("restore-volume", "recover", "backup")), (backup_of, ("restore-volume",))):
        for command in commands:
            with first(config, "one"):
                code, said = refused(command, "two")
            assert (code, said.count("\n")) == (3 if command == "restore-volume" else 1, 0)
            assert f"at work on one, which is {beside}" in said
    interrupt(config, "one")
    for command, expected in (("restore-volume", 3), ("backup", 1)):
        code, said = refused(command, "two")
        assert code == expected
        assert beside in said
        assert said.endswith("rollcall recover one")


def test_nothing_half_way_is_accepted(config: Config, refused: Refusal) -> None:
    accept = ("accept", "two", "--reason", "meant", "--json")
    with backup_of(config, "two"):
        assert refused(*accept) == (
            1, "rollcall: Another run is at work on two; wait for it to end, then start this one again."
        )  # fmt: skip
    with restore_of(config, "one"):
        code, said = refused(*accept)
        assert (code, said.count("\n")) == (1, 0)
        assert "at work on one, which is on the container or volume of two too" in said
    for target in ("one", "two"):
        journal = interrupt(config, target)
        code, said = refused(*accept)
        assert (code, said.count("\n")) == (3, 0)
        assert f"rollcall recover {target}" in said
        journal.end()


def test_backups_of_two_targets_on_one_volume_run_side_by_side(config: Config) -> None:
    with backup_of(config, "one"), backup_of(config, "two"):
        assert is_held(config.state, "one")


def test_a_run_on_several_targets_of_one_volume_takes_each_lock_once(config: Config) -> None:
    with only_run_on_volume(config, ["two", "one", "other"]), ExitStack() as free:
        free.enter_context(backup_of(config, "far"))
        assert [each for each in config.targets if is_held(config.state, each)] == [*config.targets]


def test_a_restore_that_was_interrupted_keeps_every_target_of_its_volume_back(config: Config) -> None:
    journal = interrupt(config, "one")
    again = r"A restore of one, which is on the container or volume of two too, has not ended\..*rollcall recover one"
    with pytest.raises(NeedsRecover, match=again):
        recover_first(config, "two")
    for others_only in (True, False):
        with pytest.raises(Refused, match=again):
            refuse_interrupted(config, "two", others_only=others_only)
    said = recover(config, "two")
    assert said.outcome == "nothing to do"
    assert "rollcall recover one" in said.words
    for free in ("other", "far"):
        recover_first(config, free)
        refuse_interrupted(config, free)
    refuse_interrupted(config, "one", others_only=True)
    journal.end()
    recover_first(config, "two")
    assert recover(config, "two").words == "No restore of two was interrupted."


def test_a_check_of_the_other_target_tells_of_the_interrupted_restore_and_of_one_at_work(config: Config) -> None:
    interrupt(config, "one")
    (found,) = interruption_findings(config, "two")
    assert (found.code, found.severity) == ("restore.interrupted", "critical")
    assert found.message.startswith("one is on the container or volume of two too. A restore of one was interrupted")
    assert interruption_findings(config, "other") == []
    with restore_of(config, "one"):
        (found,) = interruption_findings(config, "two")
        assert (found.code, found.severity) == ("restore.running", "notice")
        assert "A restore of one is at work now" in found.message


def test_what_a_restore_of_the_other_target_made_live_is_known_of_a_kept_volume(config: Config) -> None:
    ended = [
        interrupt(config, target, f"20260301T12000{number}Z-aaaaaa").end()
        for number, target in enumerate(("one", "two"))
    ]
    both = records_of_all(config.state, sharing(config, "two"))
    assert [each.run for each in both] == [path.stem for path in ended]
    ended[0].write_text("torn")
    assert records_of_all(config.state, sharing(config, "two")) == [], "of one that cannot be read nothing is relied on"
