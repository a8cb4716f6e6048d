"""Bring a backup's objects out of the storages: every stored byte is checked before anything of it is used."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.config import Config
from tasks.errors import ObjectDamaged, RestoreFailed, StorageError
from tasks.models import Manifest, Role, StoredObject
from tasks.storage import Storage, open_storage
from tasks.storage.contract import Stored, get_bytes
from tasks.storage.readback import decompressed

log = logging.getLogger("rollcall")


def copies(manifest: Manifest, role: Role, storages: Sequence[str]) -> dict[str, list[StoredObject]]:
    """The objects of a role by key, each with its copies in the order of `storages`."""
    wanted = [each for each in manifest.objects if each.role == role and each.storage in storages]
    ordered = sorted(wanted, key=lambda each: list(storages).index(each.storage))
    return {key: [each for each in ordered if each.key == key] for key in dict.fromkeys(each.key for each in ordered)}


def small(config: Config, held: Sequence[StoredObject]) -> bytes:
    """The content of an object that is stored as it is, from the first copy that is whole. Raise ObjectDamaged."""
    found: list[bytes] = []

    def read(storage: Storage, each: StoredObject) -> None:
        content = get_bytes(storage, each.key)
        if Stored(len(content), hashlib.sha256(content).hexdigest()) != Stored(each.bytes, each.sha256):
            raise ObjectDamaged(f"The object {each.key} in the storage {storage.name} is not what was stored.")
        found.append(content)

    _from_first_whole(config, held, read)
    return found[-1]


def unpack(config: Config, held: Sequence[StoredObject], file: Path) -> None:
    """Unpack a compressed object into `file`, from the first copy that is whole: that is known when this returns.

    Raise ObjectDamaged naming every storage if none is; RestoreFailed if the disk has no room.
    """

    def write(storage: Storage, each: StoredObject) -> None:
        try:
            with file.open("wb") as target:
                for chunk in decompressed(storage, each.key, Stored(each.bytes, each.sha256)):
                    target.write(chunk)
        except OSError as error:
            raise RestoreFailed(f"{file.parent} cannot take the unpacked {each.key}: {error.strerror}.") from error

    _from_first_whole(config, held, write)


def _from_first_whole(
    config: Config, held: Sequence[StoredObject], use: Callable[[Storage, StoredObject], None]
) -> None:
    """The first copy that can be read and is as it was stored."""
    met: list[str] = []
    for each in held:
        try:
            storage = open_storage(each.storage, config.storages[each.storage])
            use(storage, each)
        except StorageError as error:
            log.warning("%s", error)
            met.append(str(error))
        else:
            return
    raise ObjectDamaged(f"No storage gives {held[0].key} as it was stored. {' '.join(met)}")
