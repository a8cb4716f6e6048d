"""A proof is noted beside a copy whose every byte was read, and beside no other."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.config import Config, load
from tasks.models import Difference, Manifest
from tasks.restore.drill import accepted_before
from tasks.restore.fetch import fetch, gave_all
from tasks.restore.proven import note_proof, whole_copies
from tasks.storage import open_storage
from tasks.storage.catalogue import Proof, catalogue, proof_key, write_proof
from tasks.storage.contract import Storage
from tests.unit.test_catalogue import NOW, manifest, store

TARGET = "knowledge_os"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    storages = {name: {"type": "local", "path": name} for name in ("one", "two")}
    target = {"container": "c", "volume": "v", "database": "d", "storages": list(storages)}
    (tmp_path / "targets.yaml").write_text(json.dumps({"storages": storages, "targets": {TARGET: target}}))
    return load(str(tmp_path / "targets.yaml"))


@pytest.fixture
def storages(config: Config) -> list[Storage]:
    return [open_storage(name, section) for name, section in config.storages.items()]


@pytest.fixture
def taken(storages: list[Storage]) -> Manifest:
    """A backup in both storages."""
    made = manifest()
    for storage in storages:
        store(storage, made)
    return made


def damage(folder: Path, taken: Manifest, storage: str) -> None:
    file = folder / storage / taken.objects[0].key
    file.chmod(0o600)
    file.write_bytes(b"abce")


def test_a_damaged_copy_is_told_and_neither_gets_nor_keeps_a_proof(
    config: Config, storages: list[Storage], taken: Manifest, tmp_path: Path
) -> None:
    write_proof(storages[0], TARGET, taken.id, Proof(proven_at=NOW))
    damage(tmp_path, taken, "one")
    (tmp_path / "fetched").mkdir()
    assert gave_all(fetch(config, taken, ["one", "two"], tmp_path / "fetched")) == ["two"]
    whole, damaged = whole_copies(config, taken, ["one", "two"])
    assert whole == ["two"] and list(damaged) == ["one"]
    assert "its SHA-256 is" in damaged["one"]
    assert note_proof(config, TARGET, taken.id, whole, Proof(proven_at=NOW)) == ["two"]
    (entry,) = catalogue(storages, TARGET).backups
    assert (entry.storages, entry.proven_in) == (["one", "two"], ["two"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_a_later_drill_found_in_one_storage_is_not_accepted_by_the_proof_in_another(
    storages: list[Storage], taken: Manifest, order: tuple[int, int]
) -> None:
    view, key = (Difference(kind="missing", database="d", object=name) for name in ("view public.v", "constraint t.fk"))
    local, offsite = (storages[number] for number in order)
    write_proof(local, TARGET, taken.id, Proof(proven_at=NOW, differences=[view]))
    later = Proof(proven_at=NOW + timedelta(days=1), differences=[view, key], accepted=False)
    write_proof(offsite, TARGET, taken.id, later)
    found = catalogue(storages, TARGET)
    assert accepted_before(found) == [view]
    (entry,) = found.backups
    assert (entry.proven_at, entry.rows_proven_at) == (NOW, later.proven_at)
    assert (entry.differences, entry.proven_in) == ([view, key], [local.name])
    write_proof(local, TARGET, taken.id, later)
    assert accepted_before(catalogue(storages, TARGET)) == []


def test_a_copy_that_cannot_be_asked_is_neither_proven_nor_damaged(
    config: Config, storages: list[Storage], taken: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "two").rename(tmp_path / "away")
    (tmp_path / "two").write_text("a file where the folder should be")
    assert whole_copies(config, taken, ["one", "two"]) == (["one"], {})


def test_what_came_from_several_storages_proves_no_copy(
    config: Config, storages: list[Storage], taken: Manifest, tmp_path: Path
) -> None:
    objects = [
        each.model_copy(update={"key": each.key.replace("knowledge_os.dump", name)})
        for name in ("a", "b")
        for each in taken.objects
    ]
    for each in objects:
        (tmp_path / each.storage / each.key).write_bytes(b"abcd")
    (tmp_path / "one" / objects[0].key).write_bytes(b"")
    (tmp_path / "fetched").mkdir()
    several = taken.model_copy(update={"objects": objects})
    fetched = fetch(config, several, ["one", "two"], tmp_path / "fetched")
    assert [each.object.storage for each in fetched] == ["two", "one"]
    assert gave_all(fetched) == []


def test_a_proof_is_written_before_the_earlier_one_goes(storages: list[Storage], taken: Manifest) -> None:
    one, later = storages[0], NOW + timedelta(days=1)
    write_proof(one, TARGET, taken.id, Proof(proven_at=NOW))
    steps: list[str] = []

    class Recording:
        name = one.name
        open, keys, probe = one.open, one.keys, one.probe

        def put(self, key: str, source: object) -> object:
            steps.append(f"put {key}")
            return one.put(key, source)  # type: ignore[arg-type]

        def delete(self, key: str) -> None:
            steps.append(f"delete {key}")
            one.delete(key)

    write_proof(Recording(), TARGET, taken.id, Proof(proven_at=later))  # type: ignore[arg-type]
    new, old = (proof_key(TARGET, taken.id, at) for at in (later, NOW))
    assert steps == [f"put {new}", f"delete {old}"]
    assert [each.proven_at for each in catalogue([one], TARGET).backups] == [later]
