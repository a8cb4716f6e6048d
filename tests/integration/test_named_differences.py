"""A definition that comes back in another way is named, asked about and accepted by name; lost rows are not."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from flows import drill as drill_flow
from flows import restore_volume as restore_flow
from tasks.checks.shelves import shelves
from tasks.containers.volumes import TARGET_LABEL, list_volumes
from tasks.errors import Refused, RolledBack
from tasks.models import Manifest, Tally
from tasks.restore.approval import How, asked
from tasks.restore.drill import DrillResult
from tasks.restore.report import RestoreReport
from tasks.storage.catalogue import manifest_key, serialised
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import ROOT
from tests.bed.target import NAME, Target, target_for

pytestmark = pytest.mark.slow

VIEW = "view public.v"
OPTION = "--accept-differences 'knowledge_os: view public.v'"


@pytest.fixture
def server(postgres: PostgresServers) -> PostgresServer:
    made = postgres(version=17, command=["-c", "fsync=off"])
    made.execute(
        "CREATE TABLE t AS SELECT n AS id, n AS a FROM generate_series(1, 85) AS n",
        "CREATE VIEW v AS SELECT id FROM t WHERE a BETWEEN 1 AND 3 AND id > 0",
    )
    return made


def tampered(target: Target, change: Callable[[Tally], dict[str, Any]]) -> Manifest:
    """A new backup whose manifest says something else than what was dumped."""
    taken = target.backup()
    other = taken.model_copy(update={"tally": taken.tally.model_copy(update=change(taken.tally))})
    path = target.path(manifest_key(NAME, taken.id))
    path.chmod(0o600)
    path.write_bytes(serialised(other))
    return other


def another_view(tally: Tally) -> dict[str, Any]:
    text = tally.definitions[VIEW].replace("3", "4")
    return {
        "definitions": tally.definitions | {VIEW: text},
        "schema_objects": tally.schema_objects | {VIEW: "another"},
        "schema_fingerprint": "another",
    }


def drill(target: Target, accept: list[str] | None = None) -> DrillResult:
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    result: DrillResult = run(NAME, str(target.file), "latest", accept)
    return result


def restore(target: Target, backup: str, accept: list[str] | None = None, how: How = "given") -> RestoreReport:
    run = getattr(restore_flow.restore_volume, "fn", restore_flow.restore_volume)
    with asked(how, "tester"):
        report: RestoreReport = run(NAME, str(target.file), backup, dry_run=False, accept_differences=accept)
    return report


def rollcall(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deployments", *arguments, "--config", str(target.file)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_restore_asks_about_a_definition_that_differs_and_goes_on_when_it_is_accepted_by_name(
    server: PostgresServer, engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_for(server, tmp_path)
    backup = tampered(target, another_view).id

    refused = rollcall(target, "restore-volume", NAME, "--backup", backup, "--yes")
    assert refused.returncode == 3, refused.stderr
    said = " ".join(refused.stderr.split())
    assert f"Every row of backup {backup} was rebuilt and proven; 1 definition differs" in said
    assert f"the definition of the {VIEW} differs" in said
    assert OPTION in said
    assert server.value("SELECT count(*) FROM t") == 85, "nothing was stopped"

    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NAME}\nno\n"))
    with pytest.raises(Refused, match="That was not accepted: 'no' was typed, so nothing was touched"):
        restore(target, backup, how="terminal")
    assert not [each.name for each in list_volumes(engine) if each.labels.get(TARGET_LABEL) == NAME]

    report = restore(target, backup, [VIEW])
    assert [each.object for each in report.differences] == [VIEW]
    assert "BETWEEN" not in str(report.differences[0].expected)
    entry = next(each for each in shelves(target.config, NAME).backups if each.manifest.id == backup)
    assert entry.proven_at is not None
    assert [each.object for each in entry.differences] == [VIEW]


def test_a_drill_proves_the_rows_says_what_differs_and_remembers_what_was_accepted(
    server: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(server, tmp_path)
    backup = tampered(target, another_view).id

    done = rollcall(target, "drill", NAME)
    assert done.returncode == 2, done.stderr
    assert f"ROWS PROVEN, 1 DEFINITION DIFFERS {NAME}" in done.stdout
    assert OPTION in " ".join(done.stdout.split())
    listed = rollcall(target, "backups", NAME)
    assert ", 1 differ" in listed.stdout
    planned = rollcall(target, "restore-volume", NAME, "--backup", backup, "--dry-run")
    assert "Comes back in another way" in planned.stdout

    assert rollcall(target, "drill", NAME, "--accept-differences", VIEW).returncode == 0
    again = drill(target)
    assert (again.proven, again.rows_proven, again.unaccepted) == (True, True, [])
    assert [each.object for each in again.named] == [VIEW]


def test_rows_that_are_missing_are_accepted_by_no_option_for_definitions(
    server: PostgresServer, tmp_path: Path
) -> None:
    target = target_for(server, tmp_path)
    backup = tampered(target, lambda tally: {"counts": {"public.t": 86}}).id
    result = drill(target, ["all-definitions", "rows in public.t"])
    assert (result.proven, result.rows_proven) == (False, False)
    option = r"--accept-differences 'knowledge_os: rows in public\.t: 85 instead of 86'"
    with pytest.raises(RolledBack, match=option):
        restore(target, backup, ["all-definitions", "rows in public.t"])


def test_an_extension_comes_back_in_its_version_and_one_that_the_image_cannot_make_is_named(
    server: PostgresServer, tmp_path: Path
) -> None:
    server.execute(
        'CREATE SCHEMA "Ext"',
        "CREATE EXTENSION cube VERSION '1.4' SCHEMA \"Ext\"",
        'CREATE EXTENSION earthdistance SCHEMA "Ext"',
        "CREATE EXTENSION pg_trgm VERSION '1.4'",
        "CREATE TABLE words AS SELECT 'word'::text AS word",
        "CREATE INDEX ON words USING gin (word gin_trgm_ops)",
        "CREATE DATABASE other",
    )
    with server.connect(dbname="other", autocommit=True) as connection:
        connection.execute("CREATE TABLE o AS SELECT 1 AS a")
        connection.execute("CREATE EXTENSION pg_trgm")
    target = target_for(server, tmp_path)
    target.backup()
    assert drill(target).reason is None

    server.execute("UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'pg_trgm'")
    target.backup()
    result = drill(target)
    assert (result.proven, result.rows_proven) == (False, True)
    assert [each.object for each in result.unaccepted] == ["extension pg_trgm"]
    assert "version 1.6 instead of version 0.9" in result.differences[0]
    assert "ALTER EXTENSION pg_trgm UPDATE" in result.differences[0]
    said = rollcall(target, "doctor").stdout
    assert "The extension pg_trgm of knowledge_os has version 0.9" in " ".join(said.split())


@pytest.mark.parametrize("version", [15, 17])
def test_the_grants_comment_limit_and_owner_of_the_database_come_back_beside_an_older_extension(
    postgres: PostgresServers, tmp_path: Path, version: int
) -> None:
    server = postgres(version=version, command=["-c", "fsync=off"])
    server.execute(
        "CREATE TABLE t AS SELECT 1 AS id",
        "CREATE EXTENSION pg_trgm VERSION '1.4'",
        "CREATE ROLE reader",
        'CREATE ROLE "The Owner"',
        f'ALTER DATABASE {server.database} OWNER TO "The Owner"',
        f"REVOKE CONNECT ON DATABASE {server.database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {server.database} TO reader WITH GRANT OPTION",
        f"COMMENT ON DATABASE {server.database} IS 'ours'",
        f"ALTER DATABASE {server.database} CONNECTION LIMIT 7",
        "GRANT TEMPORARY ON DATABASE postgres TO reader",
    )
    target = target_for(server, tmp_path)
    taken = target.backup()
    told = json.loads(taken.tally.definitions["database itself"])
    assert (told["owner"], told["connection_limit"], told["comment"]) == ("The Owner", 7, "ours")
    assert "CONNECT TO reader WITH GRANT OPTION" in told["privileges"]
    assert "CONNECT TO PUBLIC" not in told["privileges"]
    assert drill(target).differences == []

    lost = tampered(target, without_grants)
    result = drill(target)
    assert [each.object for each in result.unaccepted] == ["database itself"], lost.id
    assert "the definition of the database itself differs" in result.differences[0]


def without_grants(tally: Tally) -> dict[str, Any]:
    """As of a database whose grants came back as other ones."""
    return {
        "definitions": tally.definitions | {"database itself": "{}"},
        "schema_objects": tally.schema_objects | {"database itself": "another"},
        "schema_fingerprint": "another",
    }
