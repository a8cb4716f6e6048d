"""Bring a backup's objects out of the storages: every stored byte is checked before anything of it is used."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from tasks.backups.proof import read_objects
from tasks.config import Config
from tasks.errors import ObjectDamaged, RestoreFailed, StorageError, StorageUnreachable
from tasks.models import Manifest, Role, StoredObject
from tasks.storage import open_storage
from tasks.storage.catalogue import Entry
from tasks.storage.contract import Stored

log = logging.getLogger("rollcall")


class Fetched(NamedTuple):
    """An object whose stored bytes lie in `file` and are those that the manifest lists."""

    object: StoredObject
    file: Path

    @property
    def name(self) -> str:
        """Its name within the backup."""
        return self.object.key.rpartition("/")[2]


def fetch(config: Config, manifest: Manifest, storages: Sequence[str], folder: Path) -> list[Fetched]:
    """Copy every object of the backup into `folder`, each from the first of `storages` whose copy is whole.

    Raise ObjectDamaged naming the object and what each storage has instead, StorageUnreachable where none could even
    be asked, RestoreFailed where the folder's disk has no room.
    """
    found = []
    for number, copies in enumerate(copies_by_key(manifest, storages)):
        file = folder / f"{number:04}.stored"
        found.append(Fetched(_first_whole(config, copies, file), file))
    return found


def none_is_whole(config: Config, entries: Sequence[Entry]) -> str | None:
    """What is wrong with each of these backups, in a sentence each; None as soon as one of them has every byte."""
    found = []
    for entry in entries:
        try:
            for copies in copies_by_key(entry.manifest, entry.storages):
                _first_read_back(config, copies)
        except StorageError as error:
            found.append(f"{entry.manifest.id}: {error}")
        else:
            return None
    return " ".join(found)


def _first_read_back(config: Config, copies: Sequence[StoredObject]) -> None:
    """Read one object whole, from the first storage that gives it so. Raise StorageError where none does."""
    met: list[StorageError] = []
    for each in copies:
        try:
            log.info("Reading %s back from %s", each.key, each.storage)
            read_objects(config, each.storage, [each])
        except StorageError as error:
            met.append(error)
        else:
            return
    _none_is_whole(copies, met)


def copies_by_key(manifest: Manifest, storages: Sequence[str]) -> list[list[StoredObject]]:
    """The copies of each object in the order of `storages` (pure)."""
    rank = {name: place for place, name in enumerate(storages)}
    copies: dict[str, list[StoredObject]] = {}
    for each in manifest.objects:
        copies.setdefault(each.key, []).append(each)
    return [sorted((one for one in each if one.storage in rank), key=lambda one: rank[one.storage])
            for each in copies.values()]  # fmt: skip


def gave_all(fetched: Sequence[Fetched]) -> list[str]:
    """The storage that every object came from; none where they came from several (pure)."""
    names = sorted({each.object.storage for each in fetched})
    return names if len(names) == 1 else []


def of_role(fetched: Sequence[Fetched], role: Role) -> list[Fetched]:
    """Those of one role."""
    return [each for each in fetched if each.object.role == role]


def _first_whole(config: Config, copies: Sequence[StoredObject], file: Path) -> StoredObject:
    met: list[StorageError] = []
    for each in copies:
        try:
            _copy(config, each, file)
        except StorageError as error:
            log.warning("%s%s", error, " Another storage's copy is tried." if each is not copies[-1] else "")
            met.append(error)
        else:
            return each
    return _none_is_whole(copies, met)


def _none_is_whole(copies: Sequence[StoredObject], met: Sequence[StorageError]) -> StoredObject:
    if not copies:
        raise ObjectDamaged("No storage that is asked lists one of the backup's objects; use another backup.")
    said = " ".join(f"{each.storage}: {error}" for each, error in zip(copies, met, strict=True))
    unreachable = all(isinstance(error, StorageUnreachable) for error in met)
    raise (StorageUnreachable if unreachable else ObjectDamaged)(
        f"No storage gives {copies[0].key} as it was stored. {said}"
    )


def _copy(config: Config, each: StoredObject, file: Path) -> None:
    """Copy it and compare size and SHA-256. Raise ObjectDamaged, StorageError, RestoreFailed."""
    storage = open_storage(each.storage, config.storages[each.storage])
    digest, size = hashlib.sha256(), 0
    with storage.open(each.key) as chunks:
        for chunk in _kept(chunks, file):
            digest.update(chunk)
            size += len(chunk)
    found, expected = Stored(size, digest.hexdigest()), Stored(each.bytes, each.sha256)
    if found != expected:
        differs = f"its size is {size} bytes instead of {each.bytes}" if size != each.bytes else "its SHA-256 differs"
        raise ObjectDamaged(
            f"The object {each.key} in the storage {each.storage} is damaged ({differs}); check the storage."
        )


def _kept(chunks: Iterator[bytes], file: Path) -> Iterator[bytes]:
    """The chunks, each written to `file` as it passes."""
    try:
        target = file.open("wb")
    except OSError as error:
        raise _no_room(file, error) from error
    with target:
        for chunk in chunks:
            try:
                target.write(chunk)
                target.flush()
            except OSError as error:
                raise _no_room(file, error) from error
            yield chunk


def unpack(fetched: Fetched, file: Path) -> None:
    """Unpack a fetched archive into `file`. Raise ObjectDamaged, RestoreFailed if the disk has no room."""
    try:
        with fetched.file.open("rb") as packed, file.open("wb") as target:
            _, size = zstandard.ZstdDecompressor().copy_stream(packed, target)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(
            f"The object {fetched.object.key} is as it was stored, and no zstd frame: {error}."
        ) from error
    except OSError as error:
        raise _no_room(file, error) from error
    if fetched.object.raw_bytes not in (0, size):
        raise ObjectDamaged(
            f"The object {fetched.object.key} unpacks to {size} bytes instead of {fetched.object.raw_bytes}."
        )


def bytes_in(folder: Path) -> int:
    """Of all files in a folder, and not below it; of those that are there still when they are looked at."""
    total = 0
    for each in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += each.stat().st_size if each.is_file() else 0
    return total


def bytes_of(manifest: Manifest) -> int:
    """Of one copy, as it is stored."""
    return sum({each.key: each.bytes for each in manifest.objects}.values())


def _no_room(file: Path, error: OSError) -> RestoreFailed:
    return RestoreFailed(
        f"The state folder cannot take what is fetched from the storages ({file.parent}: {error.strerror}); make room "
        "there, or set `state` to a larger disk."
    )
