"""What is listed as a backup, and that no altered bit of a manifest goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tasks.errors import ObjectDamaged, ObjectMissing, StorageError, StorageUnreachable
from tasks.models import Identity, Manifest, SequencePosition, StoredObject, Tally
from tasks.storage.catalogue import (
    Proof,
    _canonical,
    _checksum,
    catalogue,
    delete_backup,
    manifest_key,
    new_id,
    parsed,
    proof_key,
    read_manifest,
    serialised,
    write_manifest,
    write_proof,
)
from tasks.storage.contract import Storage, put_bytes
from tasks.storage.local import LocalStorage

NOW = datetime(2026, 11, 22, 22, 18, 4, tzinfo=UTC)


def manifest(backup_id: str = "20261122T221804Z-3f9a1c", at: datetime = NOW, storages: str = "one two") -> Manifest:
    return Manifest(
        id=backup_id,
        target="knowledge_os",
        created_at=at,
        verdict="healthy",
        quarantined=False,
        method="dump",
        server_version="17.2",
        database="knowledge_os",
        objects=[
            StoredObject(
                storage=storage,
                key=f"knowledge_os/{backup_id}/knowledge_os.dump.zst",
                role="dump",
                bytes=4,
                sha256="88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589",
                database="knowledge_os",
            )
            for storage in storages.split()
        ],
        tally=Tally(
            counts={"public.experts": 85, '"Sales Data"."Ördërs"': 26337},
            sequences={"public.experts_id_seq": SequencePosition(last_value=85, is_called=True)},
        ),
        identity=Identity(
            container="c",
            volume="v",
            system_identifier="7",
            timeline=1,
            checkpoint_lsn="0/1",
            server_version="17.2",
        ),
        timings={"dump": 1.25, "tiny": 1e-7},
    )


def store(storage: Storage, what: Manifest) -> None:
    for each in what.objects:
        if each.storage == storage.name:
            put_bytes(storage, each.key, b"abcd")
    write_manifest(storage, what)


def test_an_id_is_the_time_in_utc_and_a_token() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert new_id(elsewhere, "3f9a1c") == "20261122T221804Z-3f9a1c"


def test_a_manifest_comes_back_as_it_was_written(one: LocalStorage, two: LocalStorage) -> None:
    written = manifest()
    assert write_manifest(one, written) == write_manifest(two, written)
    assert read_manifest(one, written.target, written.id) == written


def test_a_manifest_is_json_that_a_person_can_read(one: LocalStorage, tmp_path: Path) -> None:
    written = manifest()
    write_manifest(one, written)
    text = (tmp_path / "one" / manifest_key(written.target, written.id)).read_text()
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, indent=1) + "\n"
    assert document["tally"]["counts"]["public.experts"] == 85
    assert len(document["checksum"]) == 64


def test_every_single_altered_bit_of_a_manifest_is_noticed() -> None:
    content = serialised(manifest(storages="one"))
    for position in range(len(content) * 8):
        altered = bytearray(content)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(ValueError, match=r"."):
            parsed(bytes(altered))


def test_every_shortened_manifest_is_noticed() -> None:
    content = serialised(manifest(storages="one"))
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"."):
            parsed(content[:length])


def test_fields_of_a_later_version_are_covered_by_the_checksum_and_then_ignored() -> None:
    document = manifest().model_dump(mode="json")
    document["from_the_future"] = {"colour": "blue"}
    document["tally"]["also_new"] = [1, 2.5, None]
    content = _canonical({**document, "checksum": _checksum(document)})
    assert parsed(content) == manifest()
    with pytest.raises(ValueError, match="checksum does not match"):
        parsed(content.replace(b"blue", b"blau"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not written as Rollcall writes it"),
        (b'{\n "checksum": "0"\n}\n', "checksum does not match"),
        (_canonical({"a": 1, "checksum": _checksum({"a": 1})}), "not one that this version can read"),
        (serialised(manifest("other")), "belongs to knowledge_os/other"),
    ],
)
def test_a_damaged_manifest_says_where_it_is_and_what_is_wrong(one: LocalStorage, content: bytes, reason: str) -> None:
    put_bytes(one, "knowledge_os/x/manifest.json", content)
    with pytest.raises(ObjectDamaged, match=f"knowledge_os/x/manifest.json in the storage one is damaged.*{reason}"):
        read_manifest(one, "knowledge_os", "x")


def test_a_manifest_is_never_overwritten(one: LocalStorage) -> None:
    write_manifest(one, manifest())
    with pytest.raises(StorageError, match="nothing overwrites"):
        write_manifest(one, manifest())


def test_backups_of_all_storages_are_merged_newest_first(one: LocalStorage, two: LocalStorage) -> None:
    for day in range(3):
        what = manifest(f"backup-{day}", NOW + timedelta(days=day), "one two" if day != 1 else "two")
        for storage in (one, two):
            if any(each.storage == storage.name for each in what.objects):
                store(storage, what)
    found = catalogue([one, two], "knowledge_os")
    assert [(each.manifest.id, each.storages) for each in found.backups] == [
        ("backup-2", ["one", "two"]),
        ("backup-1", ["two"]),
        ("backup-0", ["one", "two"]),
    ]
    assert (found.damaged, found.unreachable) == ([], {})


def test_objects_without_a_manifest_are_no_backup(one: LocalStorage) -> None:
    put_bytes(one, "knowledge_os/half/knowledge_os.dump.zst", b"abcd")
    put_bytes(one, "knowledge_os/half/sub/manifest.json", b"abcd")
    assert catalogue([one], "knowledge_os").backups == []


def test_another_targets_backups_are_not_listed(one: LocalStorage) -> None:
    store(one, manifest())
    assert catalogue([one], "knowledge").backups == []


def test_a_storage_without_all_of_its_objects_does_not_hold_the_backup(one: LocalStorage, two: LocalStorage) -> None:
    what = manifest()
    store(one, what)
    store(two, what)
    one.delete(what.objects[0].key)
    found = catalogue([one, two], "knowledge_os")
    assert [each.storages for each in found.backups] == [["two"]]
    assert [(each.storage, each.id) for each in found.damaged] == [("one", what.id)]
    assert "has lost knowledge_os/" in found.damaged[0].reason


def test_a_manifest_in_a_storage_it_lists_no_objects_for_is_no_copy(one: LocalStorage, two: LocalStorage) -> None:
    what = manifest(storages="one")
    store(one, what)
    store(two, what)
    found = catalogue([one, two], "knowledge_os")
    assert [each.storages for each in found.backups] == [["one"]]
    assert [each.storage for each in found.damaged] == ["two"]


def test_a_manifest_that_differs_between_storages_is_told(one: LocalStorage, two: LocalStorage) -> None:
    store(one, manifest())
    store(two, manifest().model_copy(update={"verdict": "critical"}))
    found = catalogue([one, two], "knowledge_os")
    assert [each.storages for each in found.backups] == [["one"]]
    assert "another than in one" in found.damaged[0].reason


def test_a_damaged_manifest_is_told_and_the_others_are_listed(one: LocalStorage) -> None:
    store(one, manifest())
    put_bytes(one, "knowledge_os/bad/manifest.json", b"{}")
    found = catalogue([one], "knowledge_os")
    assert [each.manifest.id for each in found.backups] == [manifest().id]
    assert [(each.storage, each.id) for each in found.damaged] == [("one", "bad")]


def test_a_storage_that_cannot_be_asked_is_told_and_the_others_are_listed(one: LocalStorage, tmp_path: Path) -> None:
    store(one, manifest())
    gone = LocalStorage("gone", tmp_path / "not" / "mounted")
    found = catalogue([gone, one], "knowledge_os")
    assert [each.storages for each in found.backups] == [["one"]]
    assert list(found.unreachable) == ["gone"]
    assert "is its disk mounted" in found.unreachable["gone"]


def test_the_latest_proof_counts_whichever_storage_has_it(one: LocalStorage, two: LocalStorage) -> None:
    what = manifest()
    store(one, what)
    store(two, what)
    assert catalogue([one, two], what.target).backups[0].proven_at is None
    for storage, at in ((one, NOW), (two, NOW + timedelta(days=2)), (one, NOW + timedelta(days=1))):
        write_proof(storage, what.target, what.id, Proof(proven_at=at))
    assert catalogue([one, two], what.target).backups[0].proven_at == NOW + timedelta(days=2)
    assert catalogue([one], what.target).backups[0].proven_at == NOW + timedelta(days=1)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"proven_at": 1}', b'{"proven_at": "soon"}', b"\xff"])
def test_a_proof_that_cannot_be_read_proves_nothing(one: LocalStorage, content: bytes) -> None:
    what = manifest()
    store(one, what)
    put_bytes(one, proof_key(what.target, what.id, NOW), content)
    assert [each.proven_at for each in catalogue([one], what.target).backups] == [None]


class Failing(LocalStorage):
    """Loses its connection after so many deletions."""

    deletions = 1

    def delete(self, key: str) -> None:
        if not self.deletions:
            raise StorageUnreachable("gone")
        self.deletions -= 1
        super().delete(key)


def test_a_half_deleted_backup_is_not_listed_and_can_be_deleted_on(one: LocalStorage, tmp_path: Path) -> None:
    what = manifest()
    store(one, what)
    write_proof(one, what.target, what.id, Proof(proven_at=NOW))
    with pytest.raises(StorageUnreachable):
        delete_backup(Failing("one", tmp_path / "one"), what.target, what.id)
    assert catalogue([one], what.target).backups == []
    assert len(list(one.keys(what.target))) == 2
    delete_backup(one, what.target, what.id)
    assert list(one.keys("")) == []


def test_deleting_one_backup_leaves_those_with_similar_names(one: LocalStorage) -> None:
    for backup_id in ("a", "a-1", "b"):
        store(one, manifest(backup_id))
    delete_backup(one, "knowledge_os", "a")
    assert {each.manifest.id for each in catalogue([one], "knowledge_os").backups} == {"a-1", "b"}


@pytest.mark.parametrize(("target", "backup_id"), [("knowledge_os", ""), ("", "a"), ("knowledge_os", "..")])
def test_nothing_is_deleted_by_an_id_that_is_none(one: LocalStorage, target: str, backup_id: str) -> None:
    store(one, manifest("a"))
    with pytest.raises(StorageError, match="cannot be a key"):
        delete_backup(one, target, backup_id)
    assert len(catalogue([one], "knowledge_os").backups) == 1


def test_a_backup_deleted_while_it_is_listed_is_no_damage(one: LocalStorage, tmp_path: Path) -> None:
    class Vanishing(LocalStorage):
        @contextmanager
        def open(self, key: str) -> Iterator[Iterator[bytes]]:
            raise ObjectMissing(key)
            yield

    store(one, manifest())
    found = catalogue([Vanishing("one", tmp_path / "one")], "knowledge_os")
    assert (found.backups, found.damaged, found.unreachable) == ([], [], {})
