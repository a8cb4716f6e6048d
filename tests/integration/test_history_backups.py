"""What the history remembers of stored backups, and how all targets stand, in both of its databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from tasks.errors import HistoryError
from tasks.history.backups import remember_proof, remember_stored, stored_backups
from tasks.history.records import Observation, Run, StoredBackup
from tasks.history.standing import Standing, standings
from tasks.history.store import History, open_history
from tasks.history.tables import SCHEMA_VERSION
from tests.bed.postgres import PostgresServer

NOW = datetime(2026, 2, 1, 2, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/history.db"
    fresh: Callable[[PostgresServer], PostgresServer] = request.getfixturevalue("fresh_database")
    server = fresh(request.getfixturevalue("postgres17"))
    made = URL.create("postgresql+psycopg", server.user, server.password, server.host, server.port, server.database)
    return made.render_as_string(hide_password=False)


@pytest.fixture
def history(url: str) -> Iterator[History]:
    with open_history(url) as opened:
        yield opened


def backup(name: str, age: timedelta = DAY, target: str = "shop", **given: Any) -> StoredBackup:
    fields: dict[str, Any] = {
        "target": target,
        "id": name,
        "created_at": NOW - age,
        "quarantined": False,
        "stored": {"local": 3_000_000_000, "offsite": 3_000_000_000},
        "raw_bytes": 9_000_000_000,
        "seconds": 31.7,
    }
    return StoredBackup.model_validate(fields | given)


def seen(age: timedelta, target: str = "shop", **given: Any) -> Observation:
    fields: dict[str, Any] = {
        "target": target,
        "checked_at": NOW - age,
        "kind": "verify",
        "verdict": "healthy",
        "counts": {"public.orders": 7},
        "accepted": True,
    }
    return Observation.model_validate(fields | given)


def stand(history: History, *targets: str) -> list[Standing]:
    return list(standings(history, targets, NOW, dict.fromkeys(targets, HOUR)).values())


def test_backups_come_back_as_they_were_oldest_first(history: History) -> None:
    one, two = backup("b2", 2 * DAY, proven_at=NOW), backup("b1", quarantined=True)
    remember_stored(history, "shop", [two, one], complete=True)
    remember_stored(history, "other", [backup("b1", target="other")], complete=True)
    assert stored_backups(history, "shop") == [one, two]


def test_what_no_storage_lists_any_more_is_forgotten(history: History) -> None:
    remember_stored(history, "shop", [backup("b1"), backup("b2")], complete=True)
    remember_stored(history, "shop", [backup("b2")], complete=True)
    assert [each.id for each in stored_backups(history, "shop")] == ["b2"]
    remember_stored(history, "shop", [], complete=True)
    assert stored_backups(history, "shop") == []


def test_what_a_silent_storage_held_stays_known(history: History) -> None:
    remember_stored(history, "shop", [backup("b1"), backup("b2", proven_at=NOW - HOUR)], complete=True)
    here = backup("b2", stored={"local": 5})
    remember_stored(history, "shop", [here, backup("b3", HOUR)], complete=False)
    found = {each.id: each for each in stored_backups(history, "shop")}
    assert sorted(found) == ["b1", "b2", "b3"]
    assert found["b2"].stored == {"local": 5, "offsite": 3_000_000_000}
    assert found["b2"].proven_at == NOW - HOUR


def test_a_proof_is_noted_at_the_backup_it_is_of(history: History) -> None:
    remember_stored(history, "shop", [backup("b1"), backup("b2")], complete=True)
    remember_proof(history, "shop", "b1", NOW)
    remember_proof(history, "shop", "unknown", NOW)
    assert [each.proven_at for each in stored_backups(history, "shop")] == [NOW, None]


@pytest.mark.parametrize(("before", "lacks"), [(1, ["backups", "being_told"]), (2, ["being_told"])])
def test_a_history_of_a_version_before_is_taken_along(url: str, before: int, lacks: list[str]) -> None:
    with open_history(url) as old, old.writing() as connection:
        connection.execute(text("ALTER TABLE alerts DROP COLUMN missed"))
        for table in lacks:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text(f"UPDATE rollcall_schema SET version = {before}"))
    with open_history(url) as history:
        remember_stored(history, "shop", [backup("b1")], complete=True)
    with open_history(url) as again, again.reading() as connection:
        assert connection.execute(text("SELECT version FROM rollcall_schema")).scalar_one() == SCHEMA_VERSION
        assert connection.execute(text("SELECT count(*) FROM being_told")).scalar_one() == 0
        assert len(stored_backups(again, "shop")) == 1


def test_every_target_stands_by_its_newest_check_and_its_own_backups(history: History) -> None:
    history.record(seen(MINUTE, verdict="critical"))
    history.record(seen(2 * MINUTE))
    history.record(seen(MINUTE, "other", counts={}))
    history.record(seen(timedelta(0), "shop/second"))
    remember_stored(history, "shop", [backup("b1", proven_at=NOW - HOUR), backup("b2", HOUR)], complete=True)
    shop, other, new = stand(history, "shop", "other", "new")
    assert (shop.verdict, shop.checked_at, shop.counts) == ("critical", NOW - MINUTE, {"public.orders": 7})
    assert shop.last_backup == backup("b2", HOUR)
    assert shop.last_proven_at == NOW - HOUR
    assert (other.verdict, other.last_backup) == ("healthy", None)
    assert (new.checked_at, new.stale) == (None, True)


def test_quarantined_backups_count_neither_as_the_newest_nor_as_proven(history: History) -> None:
    bad = {"quarantined": True, "proven_at": NOW}
    stored = [backup("b1", 3 * DAY, proven_at=NOW - 2 * DAY), backup("b2", DAY), backup("b3", HOUR, **bad)]
    remember_stored(history, "shop", stored, complete=True)
    remember_stored(history, "other", [backup("b1", DAY, "other", **bad)], complete=True)
    shop, other = stand(history, "shop", "other")
    assert (shop.last_backup, shop.last_proven_at) == (backup("b2", DAY), NOW - 2 * DAY)
    assert (other.last_backup, other.last_proven_at) == (None, None)


def test_a_check_dated_in_the_future_does_not_hide_those_of_today(history: History) -> None:
    history.record(seen(-DAY))
    history.record(seen(MINUTE, verdict="critical"))
    (shop,) = stand(history, "shop")
    assert (shop.verdict, shop.checked_at) == ("critical", NOW - MINUTE)


def test_a_backup_and_a_proof_dated_in_the_future_do_not_hide_those_of_before(history: History) -> None:
    stored = [
        backup("b1", DAY, proven_at=NOW - HOUR),
        backup("b2", -365 * DAY),
        backup("b3", 2 * DAY, proven_at=NOW + DAY),
    ]
    remember_stored(history, "shop", stored, complete=True)
    remember_stored(history, "other", [backup("b1", -MINUTE, "other", proven_at=NOW + MINUTE)], complete=True)
    shop, other = stand(history, "shop", "other")
    assert (shop.last_backup, shop.last_proven_at) == (stored[0], NOW - HOUR)
    assert other.last_backup is not None
    assert other.last_proven_at == NOW + MINUTE, "a clock may be a little ahead"


def test_the_last_run_of_a_kind_counts_for_its_target(history: History) -> None:
    history.record(seen(10 * MINUTE))
    history.record(seen(10 * MINUTE, "other"))
    for outcome, age in (("failed", 9 * MINUTE), ("proven", 8 * MINUTE)):
        at = NOW - age
        history.record_run(Run(target="shop", kind="drill", started_at=at, ended_at=at, outcome=outcome))
    at = NOW - MINUTE
    history.record_run(Run(target="shop", kind="verify", started_at=at, ended_at=at, outcome="failed", message="Why."))
    shop, other = stand(history, "shop", "other")
    assert shop.last_drill is not None
    assert shop.last_drill.outcome == "proven"
    assert [each.code for each in shop.findings] == ["check.failed"]
    assert (other.last_drill, other.findings) == (None, [])


def test_a_damaged_row_is_one_sentence(history: History) -> None:
    history.record(seen(MINUTE))
    with history.writing() as connection:
        connection.execute(text("UPDATE observations SET findings = '[{\"code\": 1}]'"))
    with pytest.raises(HistoryError, match="holds a row that cannot be read"):
        stand(history, "shop")
