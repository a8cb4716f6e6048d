"""A backup killed with SIGKILL at any point leaves nothing that looks like a backup and is none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.s3 import S3Endpoint
from tests.faults.victim import Victim

pytestmark = pytest.mark.slow

SIGKILLED = -9

BEFORE_THERE_IS_A_BACKUP = [
    "lock taken",
    "helper started",
    "tables locked",
    "while the tally runs",
    "middle of the dump",
    "middle of a file",
    "file named, partial left",
    "dump stored, globals not",
    "before reading back",
    "before any manifest",
    "manifest written, not named",
]
AFTER = [
    "manifest named, partial left",
    "between two manifests",
    "before the history",
    "before rotation",
]


def killed(victim: Victim, point: str) -> list[str]:
    """Kill a backup at `point`; return the whole backups that are listed after it."""
    outcome = victim.backup(at=point)
    assert outcome.code == SIGKILLED, outcome.stderr
    victim.leaves_no_process()
    return victim.is_whole()


@pytest.mark.parametrize("point", BEFORE_THERE_IS_A_BACKUP)
def test_a_run_killed_before_its_manifest_leaves_no_backup_and_the_next_succeeds(victim: Victim, point: str) -> None:
    victim.add_local("far")
    victim.target["roles"] = point == "dump stored, globals not"
    assert killed(victim, point) == []
    made = victim.backup().went_well().document["id"]
    assert victim.is_whole() == [made]


@pytest.mark.parametrize("point", AFTER)
def test_a_run_killed_after_its_manifest_leaves_a_whole_backup_and_the_next_succeeds(
    victim: Victim, point: str
) -> None:
    victim.add_local("far")
    left = killed(victim, point)
    assert len(left) == 1
    made = victim.backup().went_well().document["id"]
    assert set(victim.is_whole()) == {made, *left}


@pytest.mark.parametrize("point", ["manifest rotated away", "one copy rotated away"])
def test_a_run_killed_while_it_rotates_leaves_whole_backups_and_the_next_succeeds(victim: Victim, point: str) -> None:
    victim.add_local("far")
    victim.target["retention"] = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}
    first = victim.backup().went_well().document["id"]
    left = killed(victim, point)
    assert left[-1:] == [first]
    assert len(left) == 2
    made = victim.backup().went_well().document["id"]
    assert victim.is_whole()[0] == made


@pytest.mark.parametrize(
    ("point", "objects"),
    [("second part of an upload", 0), ("upload complete", 1)],
)
def test_a_run_killed_while_it_uploads_leaves_no_object_that_is_a_backup(
    victim_of: Callable[[PostgresServer], Victim],
    large_database: PostgresServer,
    s3_server: S3Endpoint,
    s3_bucket: str,
    point: str,
    objects: int,
) -> None:
    victim = victim_of(large_database)
    victim.add_s3("offsite", s3_server, s3_bucket)
    assert killed(victim, point) == []
    keys = [each["Key"] for each in s3_server.client().list_objects_v2(Bucket=s3_bucket).get("Contents", [])]
    assert len(keys) == objects
    document = victim.backup().went_well().document
    assert {each["storage"] for each in document["objects"]} == {"near", "offsite"}
    assert victim.is_whole() == [document["id"]]


def test_a_killed_run_takes_its_programs_with_it_and_its_lock_holds_nobody_up(victim: Victim) -> None:
    running = victim.start("backup", victim.name, at="middle of the dump", action="pause").at_the_point()
    assert len(victim.helpers()) == 1
    assert victim.dumps()
    os.kill(running.pid, signal.SIGKILL)
    assert running.ended().code == SIGKILLED
    victim.leaves_no_process()
    assert victim.is_whole() == []
    assert victim.backup(at=None).went_well().seconds < 120
