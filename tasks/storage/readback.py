"""Proof from the stored bytes themselves: what a storage holds is what was sent, and can be unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import zstandard

from tasks.errors import ObjectDamaged
from tasks.storage.contract import Storage


def read_back(storage: Storage, key: str, *, size: int, sha256: str) -> None:
    """Read all of an object and compare it with the size in bytes and the SHA-256 (hex) it should have.

    Raise ObjectDamaged that says which of the two differs, ObjectMissing, StorageUnreachable.
    """
    digest, found = hashlib.sha256(), 0
    with storage.open(key) as chunks:
        for chunk in chunks:
            digest.update(chunk)
            found += len(chunk)
    if found != size:
        raise _damaged(storage, key, f"its size is {found} bytes instead of {size}")
    if digest.hexdigest() != sha256:
        raise _damaged(storage, key, f"its SHA-256 is {digest.hexdigest()} instead of {sha256}")


def decompressed(storage: Storage, key: str) -> Iterator[bytes]:
    """Yield the unpacked content of a zstd object, in chunks of at most some MiB.

    Raise ObjectDamaged if it is not zstd, fails its checksum, ends early or goes on after its end;
    ObjectMissing, StorageUnreachable. Close the iterator if it is not read to its end.
    """
    unpacker = zstandard.ZstdDecompressor().decompressobj(write_size=1 << 20)
    with storage.open(key) as chunks:
        for chunk in chunks:
            if unpacker.eof:
                raise _damaged(storage, key, "something follows the end of its zstd frame")
            try:
                piece = unpacker.decompress(chunk)
            except zstandard.ZstdError as error:
                raise _damaged(storage, key, f"it cannot be unpacked ({error})") from error
            if piece:
                yield piece
    if not unpacker.eof:
        raise _damaged(storage, key, "it ends in the middle of its zstd frame")
    if unpacker.unused_data:
        raise _damaged(storage, key, "something follows the end of its zstd frame")


def _damaged(storage: Storage, key: str, what: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"The object {key} in the storage {storage.name} is damaged: {what}. "
        "Use another backup or another storage's copy, and check the storage."
    )
