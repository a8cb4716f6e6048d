"""Whether a stored backup has every byte: read from each storage that lists it, object by object."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.config import Config
from tasks.models import Identity, Manifest, StoredObject, Tally
from tasks.restore.fetch import none_is_whole
from tasks.storage.catalogue import Entry

KEYS, STORAGES = ("k/B/one.dump.zst", "k/B/two.dump.zst"), ("near", "far")
CONTENT = b"every row"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for storage in STORAGES:
        for key in KEYS:
            (tmp_path / storage / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / storage / key).write_bytes(CONTENT)
    storages = {name: {"type": "local", "path": str(tmp_path / name)} for name in STORAGES}
    target = {"container": "pg", "volume": "data", "database": "k", "user": "admin", "storages": list(STORAGES)}
    return Config.model_validate({"storages": storages, "targets": {"k": target}})


def entry(backup: str = "B") -> Entry:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    objects = [
        StoredObject(storage=storage, key=key, role="dump", bytes=len(CONTENT), sha256=sha256)
        for storage in STORAGES
        for key in KEYS
    ]
    identity = Identity(
        container="pg", volume="data", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17"
    )
    manifest = Manifest(
        id=backup, target="k", created_at=datetime(2026, 2, 1, tzinfo=UTC), verdict="healthy", quarantined=False,
        method="dump", server_version="17", database="k", objects=objects, tally=Tally(counts={}), identity=identity,
    )  # fmt: skip
    return Entry(manifest, list(STORAGES))


def test_a_backup_is_whole_while_each_object_is_whole_somewhere(config: Config, tmp_path: Path) -> None:
    assert none_is_whole(config, [entry()]) is None
    (tmp_path / "near" / KEYS[0]).write_bytes(b"every rob")
    (tmp_path / "far" / KEYS[1]).unlink()
    assert none_is_whole(config, [entry()]) is None
    (tmp_path / "far" / KEYS[0]).write_bytes(b"")
    reason = str(none_is_whole(config, [entry()]))
    assert reason.startswith(f"B: No storage gives {KEYS[0]} as it was stored. near: ")
    assert "far: " in reason
