"""Two runs at once, and sessions that lock tables while a backup wants to read them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until
from tests.faults.victim import Victim

pytestmark = pytest.mark.slow


@pytest.fixture
def busy(
    victim_of: Callable[[PostgresServer], Victim],
    postgres17: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
) -> Iterator[Victim]:
    """A target on a database of the test's own, which others write to."""
    database = fresh_database(postgres17)
    database.execute(
        "CREATE TABLE experts (id int)",
        "CREATE TABLE nodes AS SELECT n, repeat(md5(random()::text), 4) AS t FROM generate_series(1, 10000) AS n",
    )
    yield victim_of(database)


def test_of_two_backups_at_once_the_second_is_told_so_at_once(victim: Victim) -> None:
    first = victim.start("backup", victim.name, "--json", at="middle of the dump", action="pause").at_the_point()
    second = victim.backup().failed("Another run", victim.name)
    assert second.seconds < 60
    made = first.go_on().went_well().document["id"]
    assert victim.is_whole() == [made]
    victim.leaves_nothing_stored()


def test_a_truncate_that_queues_while_a_backup_runs_waits_and_nothing_deadlocks(busy: Victim) -> None:
    running = busy.start("backup", busy.name, "--json", at="middle of the dump", action="pause").at_the_point()
    truncating = threading.Thread(target=busy.server.execute, args=("TRUNCATE nodes",))
    truncating.start()
    wait_until(lambda: waiting(busy) == 1, 60, "the TRUNCATE in the queue")
    document = running.go_on().went_well().document
    truncating.join(120)
    assert not truncating.is_alive()
    assert document["tally"]["counts"]["public.nodes"] == 10000
    assert busy.server.value("SELECT count(*) FROM nodes") == 0
    busy.leaves_no_process()


def test_a_truncate_that_queues_between_our_lock_and_pg_dumps_own_is_survived(busy: Victim) -> None:
    running = busy.start("backup", busy.name, "--json", at="tables locked", action="pause").at_the_point()
    truncating = threading.Thread(target=busy.server.execute, args=("TRUNCATE nodes",))
    truncating.start()
    wait_until(lambda: waiting(busy) == 1, 60, "the TRUNCATE in the queue")
    document = running.go_on().went_well().document
    truncating.join(120)
    assert not truncating.is_alive()
    assert document["tally"]["counts"]["public.nodes"] in {0, 10000}
    assert document["tally"]["counts"]["public.nodes"] == 0 or "new snapshot" not in running.folder.name
    busy.leaves_no_process()
    busy.leaves_nothing_stored()


def waiting(victim: Victim) -> int:
    """How many sessions wait for a lock in the target's database."""
    return int(
        victim.server.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


def test_a_table_locked_for_some_seconds_is_waited_for(busy: Victim) -> None:
    with busy.server.connect() as other:
        other.execute("LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE")
        running = busy.start("backup", busy.name, "--json")
        time.sleep(5)
        assert running.poll() is None
        other.rollback()
        running.ended().went_well()
    assert len(busy.is_whole()) == 1


def test_a_table_locked_for_ever_fails_the_backup_by_name(busy: Victim) -> None:
    busy.target["lock_wait"] = 0.2
    with busy.server.connect() as other:
        other.execute("LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE")
        outcome = busy.backup().failed("public.nodes", str(other.info.backend_pid), "lock_wait")
        other.rollback()
    assert outcome.seconds < 60
    busy.leaves_no_process()
    busy.leaves_nothing_stored()
    busy.backup().went_well()
    assert len(busy.is_whole()) == 1
