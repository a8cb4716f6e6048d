"""What lies in a storage without a manifest: a killed run left it, or a backup has lost its manifest.

Nothing in the storage tells the two apart. So no listing is believed alone, a manifest that another storage still has
is put back, and the rest is reported for a week before a rotation removes it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tasks.errors import ObjectMissing, StorageError
from tasks.models import Manifest
from tasks.storage.catalogue import (
    LEFT_OVER_NOTE,
    has_manifest,
    is_note,
    left_over_ids,
    object_key,
    read_manifest,
    write_manifest,
)
from tasks.storage.contract import Storage, get_bytes, put_bytes

log = logging.getLogger("rollcall")

NOTICE = timedelta(days=7)
"""From the first rotation that saw a left-over until one removes it: somebody was told of it every day."""


def tidy(storage: Storage, others: Sequence[Storage], target: str, now: datetime, *, all_open: bool) -> None:
    """Put lost manifests back, and remove what has had none for `NOTICE`, as rotations saw it.

    others: the target's other storages; all_open: whether that is all of them. What cannot be known is kept. Raise
    StorageError where `storage` itself fails.
    """
    keys = set(storage.keys(f"{target}/"))
    for backup_id in sorted(has_manifest(keys)):
        if (note := object_key(target, backup_id, LEFT_OVER_NOTE)) in keys:
            storage.delete(note)  # It is whole again.
    for backup_id in left_over_ids(keys, now):
        try:
            manifest = _known([storage, *others], target, backup_id)
        except StorageError as error:
            log.warning(
                "Whether %s in %s is a backup cannot be known now, so it stays: %s", backup_id, storage.name, error
            )
            continue
        if manifest is not None and all_here(manifest, storage.name, keys):
            _put_back(storage, manifest)
        elif all_open:
            _let_go(storage, target, backup_id, keys, now)


def all_here(manifest: Manifest, storage: str, keys: set[str]) -> bool:
    """Whether the storage holds a copy by the manifest, and lists all of it (pure)."""
    own = {each.key for each in manifest.objects if each.storage == storage}
    return bool(own) and own <= keys


def may_go(first_seen: datetime | None, now: datetime) -> bool:
    """Whether a left-over may be removed: an earlier rotation saw it, `NOTICE` ago or longer (pure)."""
    return first_seen is not None and first_seen <= now - NOTICE


def _known(storages: Sequence[Storage], target: str, backup_id: str) -> Manifest | None:
    """The manifest from the first storage that has one, asked for by its key.

    Raise StorageError where it is damaged, or a storage cannot be asked.
    """
    for storage in storages:
        try:
            return read_manifest(storage, target, backup_id)
        except ObjectMissing:
            continue
    return None


def _put_back(storage: Storage, manifest: Manifest) -> None:
    try:
        read_manifest(storage, manifest.target, manifest.id)
    except ObjectMissing:
        write_manifest(storage, manifest)
        log.warning("The manifest of %s was lost in %s; it is put back.", manifest.id, storage.name)


def _let_go(storage: Storage, target: str, backup_id: str, keys: set[str], now: datetime) -> None:
    note = object_key(target, backup_id, LEFT_OVER_NOTE)
    own = sorted(key for key in keys if key.startswith(f"{target}/{backup_id}/"))
    if all(is_note(key) for key in own):
        for key in own:
            storage.delete(key)
    elif note not in keys:
        put_bytes(storage, note, json.dumps({"seen_at": now.astimezone(UTC).isoformat()}).encode())
        log.warning("%s in %s has no manifest; it stays %d days more.", backup_id, storage.name, NOTICE.days)
    elif may_go(_seen_at(storage, note), now):
        log.warning("Removing %s from %s: it has had no manifest for %d days.", backup_id, storage.name, NOTICE.days)
        for key in own:
            if key != note:
                storage.delete(key)
        storage.delete(note)


def _seen_at(storage: Storage, note: str) -> datetime | None:
    """When a rotation first saw a left-over; None where the note cannot be read: then it stays."""
    try:
        seen_at = datetime.fromisoformat(json.loads(get_bytes(storage, note))["seen_at"])
    except (ValueError, KeyError, TypeError, ObjectMissing):
        log.warning("The note %s in the storage %s cannot be read: what it is about stays.", note, storage.name)
        return None
    return seen_at if seen_at.tzinfo else seen_at.replace(tzinfo=UTC)
