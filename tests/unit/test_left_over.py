"""What lies in a storage without a manifest is put right, reported, and removed only late and for certain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.errors import StorageUnreachable
from tasks.storage.catalogue import Proof, catalogue, left_over_ids, manifest_key, read_manifest, write_proof
from tasks.storage.contract import Storage, put_bytes
from tasks.storage.left_over import NOTICE, may_go, tidy
from tasks.storage.local import LocalStorage
from tests.unit.test_catalogue import NOW, manifest, store

TARGET, ID = "knowledge_os", "20261122T221804Z-3f9a1c"
LATER = NOW + timedelta(days=3)


def without_manifest(storage: Storage) -> list[str]:
    """A backup whose manifest is lost; the keys that are left."""
    store(storage, manifest())
    storage.delete(manifest_key(TARGET, ID))
    return list(storage.keys(f"{TARGET}/{ID}/"))


def rotated(storage: Storage, *others: Storage, at: datetime, all_open: bool = True) -> set[str]:
    """What is left after the left-overs were seen to."""
    tidy(storage, others, TARGET, at, all_open=all_open)
    return set(storage.keys(f"{TARGET}/"))


def test_only_old_ids_without_a_manifest_are_left_over() -> None:
    keys = {
        "t/20261101T020000Z-aaaaaa/db.dump.zst",  # old, never finished
        "t/20261101T020000Z-aaaaaa/config/pg_hba.conf",
        "t/20261102T020000Z-bbbbbb/db.dump.zst",  # old, finished
        "t/20261102T020000Z-bbbbbb/manifest.json",
        "t/20261122T020000Z-cccccc/db.dump.zst",  # perhaps at work now
        "t/notes/what-somebody-put-here.txt",
    }
    assert left_over_ids(keys, datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) == ["20261101T020000Z-aaaaaa"]


def test_what_has_no_manifest_is_reported_and_goes_only_a_week_after_a_rotation_saw_it(one: LocalStorage) -> None:
    objects = set(without_manifest(one))
    (damaged,) = catalogue([one], TARGET, LATER).damaged
    assert (damaged.storage, damaged.id) == ("one", ID) and "no manifest" in damaged.reason
    assert catalogue([one], TARGET, NOW + timedelta(days=1)).damaged == []
    for at in (LATER, LATER + NOTICE - timedelta(seconds=1)):
        assert objects < rotated(one, at=at)
    assert len(catalogue([one], TARGET, LATER).damaged) == 1
    assert rotated(one, at=LATER + NOTICE) == set()
    assert catalogue([one], TARGET, LATER).damaged == []


def test_however_old_it_is_nothing_goes_at_first_sight() -> None:
    assert not may_go(None, NOW)
    assert not may_go(NOW + timedelta(days=1), NOW)


def test_a_manifest_that_another_storage_has_is_put_back(one: LocalStorage, two: LocalStorage) -> None:
    without_manifest(one)
    store(two, manifest())
    rotated(one, two, at=LATER)
    assert read_manifest(one, TARGET, ID) == manifest()
    found = catalogue([one, two], TARGET, LATER)
    assert ([each.storages for each in found.backups], found.damaged) == ([["one", "two"]], [])


def test_where_a_storage_cannot_be_asked_everything_stays(one: LocalStorage, two: LocalStorage, tmp_path: Path) -> None:
    without_manifest(one)
    before = rotated(one, at=LATER)
    late = LATER + 2 * NOTICE
    assert rotated(one, at=late, all_open=False) == before
    assert rotated(one, Away("two", tmp_path), at=late) == before
    put_bytes(two, manifest_key(TARGET, ID), b"{}")  # There is one, and nobody knows what it says.
    assert rotated(one, two, at=late) == before


def test_a_listing_that_lacks_a_manifest_is_not_believed(one: LocalStorage, tmp_path: Path) -> None:
    store(one, manifest())
    before = set(one.keys(f"{TARGET}/"))
    stale = Stale("one", tmp_path / "one")
    for at in (LATER, LATER + 2 * NOTICE):
        rotated(stale, at=at)
        assert set(one.keys(f"{TARGET}/")) == before
        found = catalogue([stale], TARGET, at)
        assert ([each.manifest.id for each in found.backups], found.damaged) == ([ID], [])


def test_a_backup_that_got_its_manifest_back_is_seen_anew_when_it_loses_it_again(one: LocalStorage) -> None:
    objects = set(without_manifest(one))
    rotated(one, at=LATER)
    put_bytes(one, manifest_key(TARGET, ID), b"not read here")
    rotated(one, at=LATER + timedelta(days=1))
    one.delete(manifest_key(TARGET, ID))
    assert objects < rotated(one, at=LATER + 2 * NOTICE)


def test_a_note_alone_is_no_damage_and_goes_at_once(one: LocalStorage) -> None:
    write_proof(one, TARGET, ID, Proof(proven_at=NOW))
    assert catalogue([one], TARGET, LATER).damaged == []
    assert rotated(one, at=LATER) == set()


class Away(LocalStorage):
    """Cannot be asked."""

    def open(self, key: str) -> None:  # type: ignore[override]
        raise StorageUnreachable(key)


class Stale(LocalStorage):
    """Lists no manifest."""

    def keys(self, prefix: str) -> Iterator[str]:
        return (key for key in super().keys(prefix) if not key.endswith("manifest.json"))
