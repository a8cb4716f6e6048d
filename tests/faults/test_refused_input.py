"""Bad input and a world that is not as configured: one sentence, in seconds, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.bed.postgres import PostgresServer, PostgresServers
from tests.faults.victim import Outcome, Victim

pytestmark = pytest.mark.slow


class Case(NamedTuple):
    """What is spoilt, words of the sentence, and the finding that `verify` makes of it (None: it fails too)."""

    spoil: Callable[[Victim], dict[str, str | None] | None]
    words: tuple[str, ...]
    finding: str | None = None


def put(*path: str, value: object) -> Callable[[Victim], None]:
    """Set a key of the configuration; a `TARGET` in the path is the target's name."""

    def spoil(victim: Victim) -> None:
        section = victim.document
        for key in path[:-1]:
            section = section[victim.name if key == "TARGET" else key]
        section[path[-1]] = value

    return spoil


def a_file_for_a_folder(victim: Victim) -> None:
    (victim.folder / "near").write_text("")


def a_file_for_the_state(victim: Victim) -> None:
    (victim.folder / "state").write_text("")


def a_history_of_rubbish(victim: Victim) -> None:
    (victim.folder / "state").mkdir()
    (victim.folder / "state/history.db").write_bytes(b"this is no database " * 500)


def only_a_file_for_the_history_folder(victim: Victim) -> None:
    (victim.folder / "history").write_text("")
    victim.document["history"] = "sqlite:///history/history.db"


def environment(**changes: str | None) -> Callable[[Victim], dict[str, str | None]]:
    return lambda _: changes


CASES = {
    "wrong password": Case(environment(FAULTS_PASSWORD="wrong"), ("password", "wrong"), "database.unreachable"),
    "missing role": Case(put("targets", "TARGET", "user", value="nobody"), ("nobody",), "database.unreachable"),
    "missing database": Case(
        put("targets", "TARGET", "database", value="atlantis"), ("atlantis", "does not exist"), "database.unreachable"
    ),
    "missing container": Case(
        put("targets", "TARGET", "container", value="atlantis"), ("no container", "atlantis"), "container.missing"
    ),
    "nothing listens": Case(
        lambda victim: victim.target.update(host="127.0.0.1", port=9), ("127.0.0.1:9",), "database.unreachable"
    ),
    "secret is not set": Case(environment(FAULTS_PASSWORD=None), ("FAULTS_PASSWORD", "not set")),
    "unknown key": Case(put("targets", "TARGET", "retain", value=7), ("line 1", "retain", "not known")),
    "unknown storage": Case(put("targets", "TARGET", "storages", value=["mars"]), ("mars",)),
    "secret written down": Case(put("targets", "TARGET", "password", value="hunter2"), ("{env: NAME}",)),
    "engine does not answer": Case(environment(DOCKER_HOST="unix:///nonexistent"), ("Docker engine",)),
    "history is rubbish": Case(a_history_of_rubbish, ("history.db", "damaged")),
    "history folder is a file": Case(only_a_file_for_the_history_folder, ("history",)),
    "state folder is a file": Case(a_file_for_the_state, ("state",)),
}


@pytest.mark.parametrize("case", CASES)
def test_backup_says_in_one_sentence_what_was_wrong_and_the_next_succeeds(victim: Victim, case: str) -> None:
    good = json.dumps(victim.document)
    if case == "missing container":
        victim.target["volume"] = "no-such-volume"
    changes = CASES[case].spoil(victim)
    outcome = victim.backup(environment=changes or {}).failed(*CASES[case].words)
    assert "hunter2" not in outcome.sentence
    assert outcome.seconds < 120
    mend(victim, good)
    assert victim.listed()["backups"] == []
    victim.leaves_nothing_stored()
    victim.backup().went_well()
    assert len(victim.is_whole()) == 1


def mend(victim: Victim, good: str) -> None:
    """Undo what a case spoilt."""
    victim.document = json.loads(good)
    for name in ("state", "near", "history"):
        if (victim.folder / name).is_file():
            (victim.folder / name).unlink()
    history = victim.folder / "state/history.db"
    if history.exists() and not history.read_bytes().startswith(b"SQLite"):
        history.unlink()


@pytest.mark.parametrize("case", CASES)
def test_verify_tells_a_database_that_is_not_there_from_a_check_that_cannot_be_made(victim: Victim, case: str) -> None:
    if case == "missing container":
        victim.target["volume"] = "no-such-volume"
    changes = CASES[case].spoil(victim)
    outcome = victim.verify(environment=changes or {})
    finding = CASES[case].finding
    if finding is None:
        outcome.failed(*CASES[case].words)
    else:
        critical(outcome, finding)
    assert outcome.seconds < 120


def critical(outcome: Outcome, finding: str) -> None:
    """Exit 2, and a document with the finding."""
    outcome.went_well(code=2)
    assert outcome.document["verdict"] == "critical"
    assert finding in outcome.codes


def test_a_stopped_container_fails_a_backup_and_is_a_finding(
    victim_of: Callable[[PostgresServer], Victim], own_server: PostgresServer, postgres: PostgresServers
) -> None:
    victim = victim_of(own_server)
    container = victim.engine.containers.get(own_server.container)
    container.stop(timeout=10)
    victim.backup().failed(own_server.container, "docker start")
    critical(victim.verify(), "container.stopped")
    container.start()
    postgres.ready(own_server)
    victim.backup().went_well()
    victim.verify().went_well()


def test_a_storage_folder_that_is_a_file_fails_a_backup(victim: Victim) -> None:
    a_file_for_a_folder(victim)
    victim.backup().failed("near")
    victim.leaves_no_process()
    (victim.folder / "near").unlink()
    victim.backup().went_well()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets: [", ("line 1", "not valid YAML")),
        ("storages: {}\n\ttargets: {}\n", ("line 2", "not valid YAML")),
        ("just words", ("must be a mapping",)),
        ("storages: {near: {type: local, path: x}}\n", ("targets", "missing")),
    ],
)
@pytest.mark.parametrize("command", ["backup", "verify", "backups", "history", "doctor"])
def test_a_broken_file_is_named_with_its_line(victim: Victim, command: str, text: str, words: tuple[str, ...]) -> None:
    target = [] if command == "doctor" else [victim.name]
    outcome = victim.start(command, *target, text=text).ended()
    outcome.failed(str(victim.config), *words)
    assert not (victim.folder / "state").exists()


@pytest.mark.parametrize("command", ["backup", "verify", "backups", "history"])
def test_an_unknown_target_is_answered_with_the_known_ones(victim: Victim, command: str) -> None:
    victim.start(command, "atlantis").ended().failed("atlantis", victim.name)
    assert not (victim.folder / "state").exists()


def test_the_command_line_itself_keeps_its_word(victim: Victim) -> None:
    victim.start("backup", "atlantis", at=None).ended().failed("atlantis", victim.name)
