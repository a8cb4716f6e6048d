"""One bit of a stored backup is altered: it is named, it is not counted, and the next backup succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ObjectDamaged
from tasks.storage.catalogue import read_manifest
from tasks.storage.local import LocalStorage
from tasks.storage.readback import read_back
from tests.faults.victim import Victim

pytestmark = pytest.mark.slow

ONLY_THE_LAST = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}


def flip_a_bit(file: Path, at: int) -> None:
    """Alter the lowest bit of one byte."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_an_altered_manifest_is_listed_as_damaged_and_does_not_count_as_a_good_one(
    victim: Victim, where: float
) -> None:
    victim.target["retention"] = ONLY_THE_LAST
    good = victim.backup().went_well().document["id"]
    victim.target["retention"] = ONLY_THE_LAST | {"last": 2}
    spoilt = victim.backup().went_well().document["id"]
    manifest = victim.folder / "near" / victim.name / spoilt / "manifest.json"
    flip_a_bit(manifest, int(manifest.stat().st_size * where))
    listed = victim.listed()
    assert [each["id"] for each in listed["damaged"]] == [spoilt]
    assert [each["id"] for each in listed["backups"]] == [good]
    made = victim.backup().went_well().document["id"]
    assert [each["id"] for each in victim.listed()["backups"]] == [made, good]


def test_an_altered_object_is_named_and_the_next_backup_succeeds(victim: Victim) -> None:
    spoilt = victim.backup().went_well().document
    storage = LocalStorage("near", victim.folder / "near")
    manifest = read_manifest(storage, victim.name, spoilt["id"])
    for each in manifest.objects:
        flip_a_bit(victim.folder / "near" / each.key, each.bytes // 2)
        with pytest.raises(ObjectDamaged, match="SHA-256") as raised:
            read_back(storage, each.key, size=each.bytes, sha256=each.sha256)
        assert each.key in str(raised.value)
        flip_a_bit(victim.folder / "near" / each.key, each.bytes // 2)
        read_back(storage, each.key, size=each.bytes, sha256=each.sha256)
    made = victim.backup().went_well().document["id"]
    assert victim.is_whole() == [made, spoilt["id"]]


def test_a_lost_object_makes_the_backup_a_damaged_one(victim: Victim) -> None:
    document = victim.backup().went_well().document
    (victim.folder / "near" / document["objects"][0]["key"]).unlink()
    listed = victim.listed()
    assert listed["backups"] == []
    assert document["objects"][0]["key"] in listed["damaged"][0]["reason"]
    made = victim.backup().went_well().document["id"]
    assert [each["id"] for each in victim.listed()["backups"]] == [made]


def test_bytes_altered_between_storing_and_reading_back_make_no_backup(victim: Victim) -> None:
    running = victim.start("backup", victim.name, "--json", at="before reading back", action="pause").at_the_point()
    dump = next((victim.folder / "near" / victim.name).glob("*/*.dump.zst"))
    flip_a_bit(dump, dump.stat().st_size // 2)
    running.go_on().failed("near", "damaged")
    victim.leaves_nothing_stored()
    assert victim.is_whole() == []
    victim.backup().went_well()


@pytest.mark.parametrize("point", ["before the history", "before rotation"])
def test_a_history_that_is_lost_after_the_manifest_does_not_take_the_backup_with_it(victim: Victim, point: str) -> None:
    running = victim.start("backup", victim.name, "--json", at=point, action="pause").at_the_point()
    for file in (victim.folder / "state").glob("history.db*"):
        file.write_bytes(b"this is no database " * 500)
    running.go_on().failed("history")
    assert len(victim.is_whole()) == 1
    for file in (victim.folder / "state").glob("history.db*"):
        file.unlink()
    victim.backup().went_well()
    assert len(victim.is_whole()) == 2


def test_a_manifest_that_does_not_read_back_is_no_backup(victim: Victim) -> None:
    victim.add_local("far")
    running = victim.start("backup", victim.name, "--json", at="manifest not read back", action="pause").at_the_point()
    manifest = next(victim.folder.glob("*/*/*/manifest.json"))
    flip_a_bit(manifest, 40)
    outcome = running.go_on().went_well()
    assert len({each["storage"] for each in outcome.document["objects"]}) == 2
    listed = victim.listed()
    assert [len(each["storages"]) for each in listed["backups"]] == [1]
    assert listed["damaged"] == []
