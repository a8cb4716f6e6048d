"""What a storage is: three verbs, a listing and a probe. The docstring of `Storage` is the specification, and
one suite of tests that every storage passes keeps it."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tasks.errors import ObjectDamaged, StorageError

MIB = 1 << 20
CHUNK = MIB

ABANDONED_SECONDS = 24 * 3600.0
"""What an interrupted `put` left behind is removed when it is this old: no upload of a living run takes so
long."""

_PART = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")


class Source(Protocol):
    """Where a storage takes an object's bytes from."""

    def read(self, n: int, /) -> bytes:
        """Return exactly `n` bytes, fewer only at the end, none after it.

        Raise whatever stopped the producer: then nothing may remain in the storage under the key.
        """
        ...


@dataclass(frozen=True)
class Stored:
    """What a storage has taken: the size in bytes and the SHA-256 (lower-case hex) of what it was given."""

    bytes: int
    sha256: str


class Storage(Protocol):
    """A place that keeps objects under keys.

    A key is a relative path of parts between slashes (`target/id/knowledge_os.dump.zst`); a part is not
    empty, does not begin with a dot and holds no backslash or control character: anything else is refused
    with StorageError.

    An object appears whole or not at all. It appears when `put` returns, survives a power loss from then on,
    and is never changed: nothing overwrites a backup. Whatever ends a `put` early, a failing source included,
    leaves nothing under the key; a process that is killed inside `put` may leave remains that no method
    shows, which a later `put` removes once they are a day old.

    Errors are those of tasks.errors, and name the storage, where it is and what to do: StorageUnreachable
    where trying again may help, StorageFull, ObjectMissing, StorageError for all else (no such folder or
    bucket, no right). What the source raises comes through as it is. Every method may be called from any
    thread.
    """

    @property
    def name(self) -> str:
        """The storage's name in the configuration."""
        ...

    def put(self, key: str, source: Source) -> Stored:
        """Store all that `source` yields under `key`; return its size and SHA-256.

        Raise StorageError if the key is taken.
        """
        ...

    def open(self, key: str) -> AbstractContextManager[Iterator[bytes]]:
        """Give the object's bytes in chunks of at most some MiB, never empty ones; close it on leaving.

        Raise ObjectMissing on entering if the key is not there.
        """
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys of whole objects that begin with `prefix` (plain text, not a folder), sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a key that is not there is fine."""
        ...

    def probe(self) -> None:
        """Write, read and remove a small object. Raise the StorageError that a backup would meet."""
        ...


class Counted:
    """A source that counts and hashes what passes, and keeps what the producer raised.

    An adapter translates its own errors and passes the producer's on; `failure` tells the one from the other.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._bytes = 0
        self.failure: BaseException | None = None

    def read(self, n: int, /) -> bytes:
        """The source's next `n` bytes. Raise what it raises."""
        try:
            data = self._source.read(n)
        except BaseException as error:
            self.failure = error
            raise
        self._hash.update(data)
        self._bytes += len(data)
        return data

    @property
    def stored(self) -> Stored:
        """Size and SHA-256 of all that has passed."""
        return Stored(self._bytes, self._hash.hexdigest())


def checked_key(key: str) -> str:
    """The key, if it is one. Raise StorageError if it could leave the storage or name two things."""
    for part in key.split("/"):
        if part.startswith(".") or not _PART.fullmatch(part):
            raise StorageError(
                f"{key!r} cannot be a key of a stored object: every part between slashes needs a name that "
                "does not begin with a dot and holds no backslash or control character."
            )
    return key


class _Few:
    """A source of a few bytes."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def read(self, n: int, /) -> bytes:
        piece, self._rest = self._rest[:n], self._rest[n:]
        return piece


def put_bytes(storage: Storage, key: str, content: bytes) -> Stored:
    """Store `content` under `key`. Errors as of `Storage.put`."""
    return storage.put(key, _Few(content))


def get_bytes(storage: Storage, key: str) -> bytes:
    """All of a small object. Errors as of `Storage.open`."""
    with storage.open(key) as chunks:
        return b"".join(chunks)


def probe(storage: Storage) -> None:
    """Write, read and remove a small object under a key of its own. Raise the StorageError met."""
    key, content = f"probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
    put_bytes(storage, key, content)
    try:
        if get_bytes(storage, key) != content:
            raise ObjectDamaged(f"The storage {storage.name} gave back other bytes than it was given: do not trust it.")
    finally:
        storage.delete(key)
