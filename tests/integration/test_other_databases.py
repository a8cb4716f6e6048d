"""A backup is of a whole cluster: its other databases are judged too. And a history that is lost trusts nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.backup import back_up
from tasks.backups.omitted import lacks_rows
from tasks.checks.acceptance import accept_present
from tasks.databases.load import cannot_be_rebuilt
from tasks.errors import DumpFailed
from tasks.models import BEFORE_A_RESTORE
from tasks.restore.facts import Request
from tasks.restore.plan import make_plan
from tasks.restore.source import backup_called
from tasks.restore.world import observe_world
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.target import NAME, Target, target_for


@pytest.fixture
def server(postgres: PostgresServers) -> PostgresServer:
    started = postgres(version=17, database="knowledge_os")
    started.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id", "CREATE DATABASE billing")
    billing(started, "CREATE TABLE orders AS SELECT generate_series(1, 5000) AS id")
    return started


def billing(server: PostgresServer, statement: str) -> None:
    with server.connect(dbname="billing", autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    return target_for(server, tmp_path / "rollcall", tables={"experts": {"min": 80}})


def codes(findings: object) -> set[str]:
    return {each.code for each in findings if each.severity != "notice"}  # type: ignore[attr-defined]


def test_another_database_that_loses_rows_or_goes_makes_a_backup_quarantined(
    server: PostgresServer, target: Target
) -> None:
    assert not target.backup().quarantined
    billing(server, "DELETE FROM orders WHERE id > 10")
    lost = target.backup()
    assert lost.quarantined
    assert [each.message for each in lost.findings if each.code == "rows.dropped"] == [
        "In database billing: public.orders has 10 rows; 5,000 are expected (-99.8 %)."
    ]
    server.execute("DROP DATABASE billing")
    assert codes(target.verify().findings) == {"database.missing"}
    accept_present(target.config, NAME, "billing moved away", "a test", target.verify().checked_at, None)
    assert codes(target.verify().findings) == set()


BREAK = "CREATE SCHEMA gone; CREATE FUNCTION gone.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
LOSE = "DELETE FROM pg_namespace WHERE nspname = 'gone'"  # pg_dump: schema with OID … does not exist


def test_a_database_that_cannot_be_dumped_costs_the_others_nothing(server: PostgresServer, target: Target) -> None:
    billing(server, BREAK)
    billing(server, LOSE)
    made = target.backup()
    assert {each.database for each in made.objects if each.role == "dump"} == {"knowledge_os", "postgres"}
    assert (made.tally.counts, set(made.databases)) == ({"public.experts": 85}, {"postgres"})
    (said,) = [each.message for each in made.findings if each.code == "database.not_dumped"]
    assert said.startswith("The database billing could not be backed up, and this backup is without it. ")
    assert made.quarantined, "rotation must not delete the backups that hold it"
    assert lacks_rows(made)
    assert any(each.startswith("databases: without billing, which could not be backed up: ") for each in made.omitted)
    with pytest.raises(DumpFailed):
        back_up(target.config, NAME, BEFORE_A_RESTORE)

    target = target_for(server, target.folder, databases=["postgres"])
    assert target.backup().verdict == "healthy", "left out on purpose"


def test_the_targets_own_database_that_cannot_be_dumped_costs_the_others_nothing(
    server: PostgresServer, target: Target
) -> None:
    server.execute(BREAK, LOSE)
    made = target.backup()
    assert [each.database for each in made.objects if each.role == "dump"] == ["billing", "postgres"]
    assert made.databases["billing"].counts == {"public.orders": 5000}
    assert codes(made.findings) == {"database.not_dumped", "backup.missing"}
    assert made.quarantined
    assert "lists no dump of knowledge_os" in " ".join(cannot_be_rebuilt(made, "/var/lib/postgresql/data"))
    server.execute("DROP DATABASE billing")
    with pytest.raises(DumpFailed):
        target.backup()
    assert len(list(target.store.rglob("manifest.json"))) == 1


def test_a_restore_leaves_no_database_behind_without_a_word_though_no_backup_takes_it(
    server: PostgresServer, target: Target
) -> None:
    """The one because the configuration names others, the other because nobody may connect to it."""
    server.execute("CREATE DATABASE archive", "ALTER DATABASE archive ALLOW_CONNECTIONS false")
    target = target_for(server, target.folder, databases=[])
    made = target.backup()
    assert made.omitted == [
        "databases: narrowed by the configuration to knowledge_os, without billing",
        "databases: without archive, for ALLOW_CONNECTIONS is false there and nobody can dump that",
    ]

    world = observe_world(target.config, NAME)
    source = backup_called(target.config, NAME, made.id)
    plan = make_plan(world, source, Request(backup=made.id))

    assert [each.partition(" is there now")[0] for each in plan.blockers] == [
        "The database archive",
        "The database billing",
    ]
    assert [f"Not in backup {made.id}: {each}." for each in made.omitted] == plan.notes[-2:]
    assert make_plan(world, source, Request(leave_behind=["archive", "billing"])).blockers == []
    server.execute("DROP DATABASE archive WITH (FORCE)")
    with server.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE put_here AS SELECT 1 AS id")
    assert observe_world(target.config, NAME).databases == ["knowledge_os", "billing", "postgres"]


def test_a_lost_history_pins_and_accepts_nothing_while_a_storage_cannot_be_asked(
    server: PostgresServer, target: Target
) -> None:
    target.backup()
    shutil.rmtree(target.folder / "state")
    document = json.loads(target.file.read_text())
    document["storages"]["offsite"] = {"type": "local", "path": str(target.folder / "not/mounted")}
    document["targets"][NAME]["storages"].append("offsite")
    target.file.write_text(json.dumps(document))
    target.store.rename(target.folder / "away")
    target.store.write_text("a file where the storage should be")

    first, second = target.verify(), target.verify()
    assert "history.unknown" in codes(first.findings)
    assert "history.unknown" in codes(second.findings), "the first check must not have made itself the baseline"

    target.store.unlink()
    (target.folder / "away").rename(target.store)
    (target.folder / "not").mkdir()
    server.execute("DELETE FROM experts WHERE id > 1")
    assert {"rows.dropped", "rows.below_min"} <= codes(target.verify().findings)
