"""A history that knows nothing: is this the first time, or is the one that could tell not to be asked?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.checks.shelves import restore_history
from tasks.config import Config, load
from tasks.history.store import open_history
from tasks.models import Identity, Manifest, StoredObject, Tally
from tasks.storage import open_storage
from tasks.storage.catalogue import write_manifest
from tasks.storage.contract import put_bytes


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two storages, of which `offsite` is not mounted."""
    (tmp_path / "local").mkdir()
    storages = {"local": {"type": "local", "path": "local"}, "offsite": {"type": "local", "path": "offsite/disk"}}
    target = {"container": "c", "volume": "v", "database": "d", "storages": list(storages)}
    document = {"storages": storages, "targets": {"t": target}}
    (tmp_path / "targets.yaml").write_text(json.dumps(document))
    return load(str(tmp_path / "targets.yaml"))


def store(config: Config, name: str) -> None:
    storage = open_storage(name, config.storages[name])
    key = "t/20261122T020000Z-aaaaaa/d.dump.zst"
    stored = put_bytes(storage, key, b"abcd")
    copy = StoredObject(storage=name, key=key, role="dump", bytes=4, sha256=stored.sha256)
    identity = Identity(
        container="c", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17"
    )
    manifest = Manifest(
        id="20261122T020000Z-aaaaaa",
        target="t",
        created_at=datetime(2026, 11, 22, 2, tzinfo=UTC),
        verdict="healthy",
        quarantined=False,
        method="dump",
        server_version="17",
        database="d",
        objects=[copy],
        tally=Tally(counts={"public.experts": 85}),
        identity=identity,
    )
    write_manifest(storage, manifest)


def test_an_empty_storage_beside_one_that_cannot_be_asked_is_critical_and_called_unknown_not_lost(
    config: Config, tmp_path: Path
) -> None:
    """It may be the first evening with a mistyped bucket, or a lost history: nobody knows, and nothing is trusted."""
    (finding,) = restore_history(config, "t")
    assert (finding.code, finding.severity) == ("history.unknown", "critical")
    assert "the storage offsite cannot be asked whether this is the first time" in finding.message
    assert "lost" not in finding.message
    (tmp_path / "offsite").mkdir()
    assert restore_history(config, "t") == []


def test_what_is_left_of_a_backup_shows_that_the_history_is_lost(config: Config, tmp_path: Path) -> None:
    store(config, "local")
    (path,) = tmp_path.glob("local/**/manifest.json")
    path.write_text(path.read_text().replace("85", "86"))
    for silent in (["offsite"], []):
        (finding,) = restore_history(config, "t")
        assert (finding.code, finding.severity) == ("history.lost", "critical")
        assert ", ".join([*silent, "20261122T020000Z-aaaaaa in local"]) + " cannot be asked" in finding.message
        (tmp_path / "offsite").mkdir(exist_ok=True)


def test_what_one_storage_knows_is_enough(config: Config) -> None:
    store(config, "local")
    assert restore_history(config, "t") == []
    with open_history(config.history) as history:
        pin = history.pin("t")
    assert pin is not None and pin.system_identifier == "7"
