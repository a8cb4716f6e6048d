"""What killed runs left in a storage is found, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tasks.storage.catalogue import unfinished
from tasks.storage.contract import put_bytes
from tasks.storage.local import LocalStorage

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_only_objects_of_old_backups_without_a_manifest_are_left_overs(tmp_path: Path) -> None:
    storage = LocalStorage("local", tmp_path)
    keys = [
        "t/20261101T020000Z-aaaaaa/db.dump.zst",  # old, never finished
        "t/20261101T020000Z-aaaaaa/config/pg_hba.conf",
        "t/20261102T020000Z-bbbbbb/db.dump.zst",  # old, finished
        "t/20261102T020000Z-bbbbbb/manifest.json",
        "t/20261122T020000Z-cccccc/db.dump.zst",  # perhaps at work now
        "t/notes/what-somebody-put-here.txt",
        "other/20261101T020000Z-dddddd/db.dump.zst",
    ]
    for key in keys:
        put_bytes(storage, key, b"content")
    assert unfinished(storage, "t", NOW) == sorted(keys[:2])
