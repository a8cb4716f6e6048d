"""The account of a backup: which storages still take part, and what must be cleared away."""

from datetime import UTC, datetime

import pytest

from tasks.backups.ledger import Ledger
from tasks.backups.take import Part
from tasks.errors import StorageError
from tasks.models import StoredObject, Tally

NOW = datetime(2026, 2, 1, 2, 0, tzinfo=UTC)


def stored(storage: str, key: str) -> StoredObject:
    return StoredObject(storage=storage, key=key, role="dump", bytes=1, sha256="0")


def part(key: str, *storages: str, failed: dict[str, str] | None = None, database: str | None = None) -> Part:
    tally = Tally(counts={"public.t": 1}) if database else None
    return Part(objects=[stored(each, key) for each in storages], failed=failed or {}, tally=tally, database=database)


def test_id_begins_with_the_time_and_differs_each_time() -> None:
    one, other = Ledger(NOW, ["a"]), Ledger(NOW, ["a"])
    assert one.id.startswith("20260201T020000Z-")
    assert one.id != other.id


def test_storage_that_failed_once_takes_part_no_more() -> None:
    ledger = Ledger(NOW, ["a", "b"])
    ledger.add(part("one", "a", "b"))
    ledger.add(part("two", "a", failed={"b": "full"}))
    assert ledger.storages == ["a"]
    assert ledger.failed == {"b": "full"}
    assert [(each.storage, each.key) for each in ledger.objects] == [("a", "one"), ("a", "two")]
    assert sorted(ledger.keys) == [("a", "one"), ("a", "two"), ("b", "one")]


def test_no_storage_left_is_an_error_that_names_each_and_why() -> None:
    ledger = Ledger(NOW, ["a", "b"])
    ledger.drop({"a": "full"})
    with pytest.raises(StorageError, match=r"a: full b: gone"):
        ledger.drop({"b": "gone"})


def test_tally_is_found_by_database_and_replaced_by_the_proven_one() -> None:
    ledger = Ledger(NOW, ["a"])
    ledger.add(part("x", "a", database="x"))
    ledger.add(part("globals", "a"))
    proven = [each.model_copy(update={"tally": Tally(counts={"public.t": 2})}) for each in ledger.dumps]
    ledger.replace(proven)
    assert ledger.tally_of("x").counts == {"public.t": 2}
    assert sorted(key for _, key in ledger.keys) == ["globals", "x"]
    with pytest.raises(KeyError):
        ledger.tally_of("y")


def test_laps_name_every_step_with_its_seconds() -> None:
    ledger = Ledger(NOW, ["a"])
    ledger.lap("look")
    ledger.lap("take")
    assert ledger.timings.keys() == {"look", "take"}
    assert all(0 <= seconds < 5 for seconds in ledger.timings.values())
