"""A restore that is refused says why in one sentence, exits 3 and touches nothing: the engine is as it was before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.labels import Bed, pause
from tests.bed.postgres import PostgresServers
from tests.bed.progress import ROOT
from tests.faults.restore_scene import Scene, scene
from tests.faults.victim import Outcome, Runs

REFUSED = 3


@pytest.fixture(scope="module")
def module_servers(bed: Bed) -> Iterator[PostgresServers]:
    servers = PostgresServers(bed)
    yield servers
    servers.remove_all()


@pytest.fixture(scope="module")
def bad_rows(
    tmp_path_factory: pytest.TempPathFactory, bed: Bed, runs: Runs, module_servers: PostgresServers
) -> Iterator[Scene]:
    """The right volume with too few rows; every test here leaves it as it is."""
    with scene("restore", 17, tmp_path_factory.mktemp("bad-rows"), bed, module_servers, runs) as made:
        yield made


def picture(made: Scene) -> dict[str, Any]:
    """What the engine holds of this run of the tests and of this target: containers as they are, volumes."""
    engine = made.victim.engine
    containers = {
        each.id: (each.name, each.status, each.attrs["HostConfig"]["RestartPolicy"]["Name"], str(each.attrs["Mounts"]))
        for name in (made.server.container, *made.dependants)
        for each in engine.containers.list(all=True, ignore_removed=True, filters={"name": name})
    }
    return {"containers": containers, "volumes": made.staging(), "helpers": made.victim.helpers()}


def refused(made: Scene, ask: Callable[[], Outcome], *words: str) -> str:
    """Ask, and fail unless that is refused with `words` and nothing has changed."""
    before, stored = picture(made), made.victim.is_whole()
    outcome = ask()
    assert outcome.code == REFUSED, (outcome.code, outcome.stderr)
    assert "Traceback" not in outcome.stderr
    missing = [each for each in words if each not in outcome.sentence]
    assert not missing, (missing, outcome.sentence)
    assert picture(made) == before
    assert made.victim.is_whole() == stored
    assert not (made.victim.folder / "state" / "restores").exists() or not list(
        (made.victim.folder / "state" / "restores").glob("*.journal")
    )
    return outcome.sentence


@pytest.mark.parametrize("typed", ["yes\n", "\n", "knowledge\n", ""])
def test_anything_but_the_targets_name_leaves_all_as_it_is(bad_rows: Scene, typed: str) -> None:
    victim = bad_rows.victim
    victim.config.write_text(json.dumps(victim.document))
    before = picture(bad_rows)
    done = subprocess.run(
        [sys.executable, "-m", "deployments", "restore-volume", victim.name, "--backup", "latest",
         "--config", str(victim.config)],
        input=typed, capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, **victim.environment},
    )  # fmt: skip
    assert done.returncode == REFUSED, done.stderr
    assert "Plan " in done.stderr and "rows after" in done.stderr
    assert ("Nobody answered" if typed == "" else "Not approved") in done.stderr
    assert picture(bad_rows) == before


def test_a_backup_that_does_not_exist(bad_rows: Scene) -> None:
    refused(bad_rows, lambda: ask(bad_rows, "--backup", "20200101T000000Z-abcdef"), "no backup 20200101T000000Z-abcdef")


def ask(made: Scene, *arguments: str) -> Outcome:
    return made.victim.start("restore-volume", made.victim.name, "--yes", "--json", *arguments).ended()


def test_two_sources_at_once(bad_rows: Scene) -> None:
    refused(bad_rows, lambda: ask(bad_rows, "--backup", "latest", "--from-volume", "x"), "exclude each other")


def test_a_volume_that_does_not_exist_that_is_pinned_or_holds_no_cluster(bad_rows: Scene, bed: Bed) -> None:
    empty = bed.name("empty")
    bed.client.volumes.create(empty, labels=bed.labels)
    refused(bad_rows, lambda: ask(bad_rows, "--from-volume", "no-such-volume"), "no volume no-such-volume")
    refused(bad_rows, lambda: ask(bad_rows, "--from-volume", bad_rows.pinned), "is the pinned volume itself")
    refused(bad_rows, lambda: ask(bad_rows, "--from-volume", empty), "holds no PostgreSQL cluster")
    bed.remove_volume(empty)


def test_a_database_and_a_role_that_would_be_left_behind(bad_rows: Scene) -> None:
    bad_rows.server.execute("CREATE DATABASE sales", "CREATE ROLE reader")
    try:
        words = refused(bad_rows, lambda: ask(bad_rows, "--backup", "latest"), "database sales", "role reader")
        assert "--leave-behind sales" in words
        refused(bad_rows, lambda: ask(bad_rows, "--backup", "latest", "--leave-behind", "sales"), "role reader")
    finally:
        bad_rows.server.execute("DROP DATABASE sales", "DROP ROLE reader")


def test_a_safety_backup_that_could_be_taken_cannot_be_left_out(bad_rows: Scene) -> None:
    refused(bad_rows, lambda: ask(bad_rows, "--backup", "latest", "--without-safety-backup"), "cannot be left out")


def test_a_quarantined_backup_is_never_the_default(bad_rows: Scene) -> None:
    bad = bad_rows.victim.start("backup", bad_rows.victim.name, "--json").ended()
    assert bad.document["quarantined"]
    plan = bad_rows.victim.start(
        "restore-volume", bad_rows.victim.name, "--dry-run", "--json", "--backup", "latest"
    ).ended().went_well().document["plan"]  # fmt: skip
    assert plan["source"]["name"] != bad.document["id"]
    assert plan["source"]["quarantined"] is False
    named = bad_rows.victim.start(
        "restore-volume", bad_rows.victim.name, "--dry-run", "--json", "--backup", bad.document["id"]
    ).ended().went_well().document["plan"]  # fmt: skip
    assert named["source"]["quarantined"] is True


def test_a_backup_without_roles_is_refused_and_no_role_is_offered_to_stay_behind(bad_rows: Scene) -> None:
    bad_rows.victim.target["roles"] = False
    try:
        bare = bad_rows.victim.start("backup", bad_rows.victim.name, "--json").ended()
    finally:
        bad_rows.victim.target["roles"] = True
    bad_rows.server.execute("CREATE ROLE reader")
    try:
        words = refused(bad_rows, lambda: ask(bad_rows, "--backup", bare.document["id"]), "holds no roles")
        assert "--leave-behind" not in words
    finally:
        bad_rows.server.execute("DROP ROLE reader")


def test_a_paused_container(bad_rows: Scene) -> None:
    pause(bad_rows.container())
    try:
        refused(bad_rows, lambda: ask(bad_rows, "--backup", "latest", "--without-safety-backup"), "is paused")
    finally:
        bad_rows.container().unpause()


def test_a_world_that_changes_while_the_plan_is_read(bad_rows: Scene) -> None:
    """A role that appears between plan and approval makes it another plan."""
    running = bad_rows.victim.start(
        "restore-volume", bad_rows.victim.name, "--yes", "--json", "--backup", "latest",
        at="approved", action="pause",
    ).at_the_point()  # fmt: skip
    bad_rows.server.execute("CREATE ROLE newcomer")
    try:
        outcome = running.go_on()
        assert outcome.code == REFUSED
        assert "the world changed" in outcome.sentence
    finally:
        bad_rows.server.execute("DROP ROLE newcomer")


@pytest.mark.parametrize("command", ["backup", "restore-volume"])
def test_a_second_run_does_not_pass_the_lock_of_a_restore(bad_rows: Scene, command: str) -> None:
    running = bad_rows.victim.start(
        "restore-volume", bad_rows.victim.name, "--yes", "--json", "--backup", "latest",
        at="approved", action="pause",
    ).at_the_point()  # fmt: skip
    try:
        more = ("--yes", "--backup", "latest") if command == "restore-volume" else ()
        second = plainly(bad_rows, command, *more)
        assert second.returncode == (REFUSED if command == "restore-volume" else 1)
        assert "Another run is at work" in second.stderr
    finally:
        bad_rows.server.execute("CREATE ROLE stopper")
        running.go_on()
        bad_rows.server.execute("DROP ROLE stopper")


def plainly(made: Scene, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "deployments", command, made.victim.name, *arguments,
            "--config", str(made.victim.config),
        ],
        capture_output=True, text=True, cwd=ROOT, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **made.victim.environment},
    )  # fmt: skip


def test_a_container_that_does_not_exist(bad_rows: Scene, tmp_path: Path) -> None:
    before = bad_rows.victim.target["container"]
    bad_rows.victim.target["container"] = "no-such-container"
    # The heir of a renamed container is found by its volume; here that is somebody else's, too.
    bad_rows.victim.target["volume"] = "no-such-volume"
    try:
        refused(
            bad_rows, lambda: ask(bad_rows, "--backup", "latest"), "no container 'no-such-container'", "Make it first"
        )
    finally:
        bad_rows.victim.target["container"], bad_rows.victim.target["volume"] = before, bad_rows.pinned
