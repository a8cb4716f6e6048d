"""One pass from a producer through compression and hashing into every storage at once, in flat memory."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import zstandard

from tasks.errors import ObjectDamaged, StorageError, StorageUnreachable
from tasks.storage.contract import MIB, Storage, Stored
from tasks.storage.feed import Feed

WAITING_BYTES = 2 * MIB
PATIENCE = 900.0
THREADS = 2


@dataclass(frozen=True)
class Streamed:
    """What became of one stream: what each storage has taken, why others have not (by storage name), and the
    producer's own size in bytes, before compression."""

    stored: dict[str, Stored]
    failed: dict[str, StorageError]
    raw_bytes: int


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _AsItIs:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Delivery:
    """One storage's `put`, in a thread of its own, and what came of it.

    The thread is a daemon: one that hangs in a dead network mount must not keep the process from ending.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage = storage
        self.feed = Feed(WAITING_BYTES)
        self.stored: Stored | None = None
        self.error: BaseException | None = None
        self._given_up = False
        self._key = key
        self._thread = threading.Thread(target=self._put, name=f"put-{storage.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _put(self) -> None:
        try:
            self.stored = self.storage.put(self._key, self.feed)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for it
            if not self._given_up:
                self.error = error
        finally:
            self.feed.close()

    def give(self, piece: bytes, patience: float) -> None:
        """Hand on a piece. A storage that takes nothing for too long is given up; the others go on."""
        try:
            self.feed.give(piece, patience)
        except StorageUnreachable as error:
            self._give_up(error)

    def finish(self, patience: float) -> None:
        """Wait for the end of `put`: after all bytes are given, or after the feed was abandoned."""
        self._thread.join(patience)
        if self._thread.is_alive():
            self._give_up(StorageUnreachable(f"it did not finish within {patience:g} s"))

    def _give_up(self, error: StorageUnreachable) -> None:
        self._given_up = True
        self.feed.abandon()
        self.feed.close()
        self.error = StorageUnreachable(
            f"The storage {self.storage.name} was given up while it stored {self._key}: {error}. "
            "Check that it answers and is fast enough."
        )

    def judge(self, sent: Stored) -> None:
        """Turn a `put` that stored other bytes than were sent into a failed one."""
        if self.error is None and self.stored != sent:
            self.error = ObjectDamaged(
                f"The storage {self.storage.name} took {self._key} as {self.stored}, and {sent} was sent: "
                "check this machine's memory and disks."
            )

    def remove(self) -> None:
        """Take back what was stored."""
        if self.stored is not None:
            self.storage.delete(self._key)


def stream(
    chunks: Iterable[bytes],
    storages: Sequence[Storage],
    key: str,
    *,
    level: int | None,
    progress: Callable[[int, int], None] | None = None,
    patience: float = PATIENCE,
) -> Streamed:
    """Store what `chunks` yields under `key` in every storage, in one pass.

    level: of zstd compression (1 to 19), None to store the bytes as they are. progress is called with the
    bytes taken from the producer and the bytes given to the storages so far. patience is for how many seconds
    a storage may take nothing before it is given up.

    A storage that fails is reported in `failed` and the others go on. If all fail, raise the first error; a
    transient one (StorageUnreachable) only if all are, for else trying again would not help. Raise what the
    producer raises; then, and after a KeyboardInterrupt, no storage holds the object.
    """
    if not storages:
        raise StorageError(f"There is no storage to put {key} into.")
    deliveries = [_Delivery(storage, key) for storage in storages]
    try:
        for each in deliveries:
            each.start()
        sent, raw_bytes = _pump(chunks, deliveries, level, progress, patience)
        _finish(deliveries, patience)
    except BaseException:
        _abandon(deliveries, patience)
        raise
    finally:
        _close(chunks)
    return _outcome(deliveries, sent, raw_bytes)


def _pump(
    chunks: Iterable[bytes],
    deliveries: Sequence[_Delivery],
    level: int | None,
    progress: Callable[[int, int], None] | None,
    patience: float,
) -> tuple[Stored, int]:
    """Give every byte to every storage; stop early once none is left. Return what was sent and the raw
    size."""
    digest, raw, sent = hashlib.sha256(), 0, 0
    for size, piece in _compressed(chunks, level):
        raw += size
        digest.update(piece)
        sent += len(piece)
        _give(deliveries, piece, patience)
        if progress is not None:
            progress(raw, sent)
        if all(each.feed.closed for each in deliveries):
            break
    return Stored(sent, digest.hexdigest()), raw


def _compressed(chunks: Iterable[bytes], level: int | None) -> Iterator[tuple[int, bytes]]:
    """Pairs of raw bytes taken and the (possibly empty) piece to store; pieces of an MiB at most where stored
    raw."""
    compressor = _compressor(level)
    for chunk in chunks:
        for start in range(0, len(chunk), MIB):
            part = chunk if len(chunk) <= MIB else chunk[start : start + MIB]
            yield len(part), compressor.compress(part)
    yield 0, compressor.flush()


def _compressor(level: int | None) -> _Compressor:
    if level is None:
        return _AsItIs()
    window = zstandard.ZstdCompressionParameters.from_level(level).window_log
    # Left to itself zstd cuts jobs of four windows, and holds several of them for every thread.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, threads=THREADS, job_size=max(MIB, 1 << window), write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()


def _give(deliveries: Sequence[_Delivery], piece: bytes, patience: float) -> None:
    if piece:
        for each in deliveries:
            each.give(piece, patience)


def _finish(deliveries: Sequence[_Delivery], patience: float) -> None:
    """Tell every storage that this was all, and wait. One deadline for all of them: they finish side by
    side."""
    for each in deliveries:
        each.feed.end()
    deadline = time.monotonic() + patience
    for each in deliveries:
        each.finish(max(0.0, deadline - time.monotonic()))


def _abandon(deliveries: Sequence[_Delivery], patience: float) -> None:
    """Leave nothing behind: end every put, and take back those that were through already."""
    for each in deliveries:
        each.feed.abandon()
    deadline = time.monotonic() + patience
    for each in deliveries:
        with contextlib.suppress(RuntimeError):  # A thread that never started cannot be waited for.
            each.finish(max(0.0, deadline - time.monotonic()))
    for each in deliveries:
        # The reason for all this is on its way to the caller; an object without a manifest is no backup.
        with contextlib.suppress(StorageError):
            each.remove()


def _close(chunks: Iterable[bytes]) -> None:
    """End a producer that was not read to its end; a generator does its own cleaning up then."""
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _outcome(deliveries: Sequence[_Delivery], sent: Stored, raw_bytes: int) -> Streamed:
    for each in deliveries:
        each.judge(sent)
    for each in deliveries:
        if each.error is not None and not isinstance(each.error, StorageError):
            raise each.error
    failed = {each.storage.name: each.error for each in deliveries if isinstance(each.error, StorageError)}
    for each in deliveries:
        if each.error is not None:
            with contextlib.suppress(StorageError):
                each.remove()
    if deliveries and len(failed) == len(deliveries):
        raise _first(list(failed.values()))
    stored = {each.storage.name: each.stored for each in deliveries if each.error is None and each.stored}
    return Streamed(stored, failed, raw_bytes)


def _first(errors: Sequence[StorageError]) -> StorageError:
    """The error to raise when all storages failed: a lasting one if there is one, for trying again would not
    help."""
    return next((error for error in errors if not error.transient), errors[0])
