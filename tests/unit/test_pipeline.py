"""One pass from producer to storages: what comes of slow, stuck, failing and lying parts."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ObjectDamaged, StorageError, StorageFull, StorageUnreachable
from tasks.storage.contract import Source, Stored, get_bytes, put_bytes
from tasks.storage.feed import Abandoned, Feed
from tasks.storage.local import LocalStorage
from tasks.storage.pipeline import stream
from tasks.storage.readback import decompressed, read_back
from tests.bed.progress import wait_until

MIB = 1 << 20
KEY = "t/1/dump"


class Behaving(LocalStorage):
    """A local storage with something done at its start, after every read of a MiB, and at its end."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        before: Callable[[], object] = int,
        during: Callable[[int], object] = int,
        after: Callable[[Stored], Stored] = lambda stored: stored,
    ) -> None:
        super().__init__(name, path)
        self.before, self.during, self.after = before, during, after

    def put(self, key: str, source: Source) -> Stored:
        outer, taken = self, 0

        class Watched:
            def read(self, n: int, /) -> bytes:
                nonlocal taken
                outer.during(taken)
                piece = source.read(n)
                taken += len(piece)
                return piece

        self.before()
        return self.after(super().put(key, Watched()))


def raising(error: BaseException, at: int = 0) -> Callable[[int], None]:
    def act(taken: int = 0) -> None:
        if taken >= at:
            raise error

    return act


def chunks(count: int = 16, size: int = MIB) -> Iterator[bytes]:
    for number in range(count):
        yield random.Random(number).randbytes(size)


@pytest.fixture
def good(tmp_path: Path) -> LocalStorage:
    return LocalStorage("good", tmp_path / "good")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: not set(threading.enumerate()) - before, 60, "the end of every thread")


def files(storage: LocalStorage) -> list[Path]:
    return [each for each in storage._root.rglob("*") if each.is_file()]


@pytest.mark.parametrize("level", [None, 1, 19])
@pytest.mark.parametrize("sizes", [[], [0], [1], [MIB, 0, 3], [5 * MIB + 1], [7] * 1000])
def test_every_byte_arrives(good: LocalStorage, level: int | None, sizes: list[int]) -> None:
    content = [random.Random(size).randbytes(size) for size in sizes]
    done = stream(iter(content), [good], KEY, level=level)
    stored = done.stored["good"]
    assert done.raw_bytes == sum(sizes)
    read_back(good, KEY, size=stored.bytes, sha256=stored.sha256)
    back = get_bytes(good, KEY) if level is None else b"".join(decompressed(good, KEY))
    assert back == b"".join(content)


def test_stock_zstd_reads_what_is_stored_and_checks_it(good: LocalStorage, tmp_path: Path) -> None:
    stream(chunks(3), [good], KEY, level=3)
    assert zstandard.get_frame_parameters(get_bytes(good, KEY)).has_checksum
    with zstandard.open(tmp_path / "good" / KEY, "rb") as file:
        assert file.read() == b"".join(chunks(3))


def test_all_storages_get_the_same_bytes_and_one_hash(good: LocalStorage, tmp_path: Path) -> None:
    other = LocalStorage("other", tmp_path / "other")
    done = stream(chunks(), [good, other], KEY, level=1)
    assert done.stored["good"] == done.stored["other"]
    assert done.stored["good"].sha256 == hashlib.sha256(get_bytes(other, KEY)).hexdigest()


def test_progress_tells_raw_and_stored_bytes(good: LocalStorage) -> None:
    told: list[tuple[int, int]] = []
    done = stream(chunks(4), [good], KEY, level=1, progress=lambda raw, sent: told.append((raw, sent)))
    assert told == sorted(told)
    assert told[-1] == (4 * MIB, done.stored["good"].bytes)


@pytest.mark.parametrize("error", [RuntimeError("pg_dump died"), StorageFull("not the storage's"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_producer_that_fails_leaves_nothing_and_its_own_error(
    good: LocalStorage, tmp_path: Path, error: BaseException, after: int
) -> None:
    def broken() -> Iterator[bytes]:
        yield from chunks(after)
        raise error

    other = LocalStorage("other", tmp_path / "other")
    with pytest.raises(type(error)) as caught:
        stream(broken(), [good, other], KEY, level=1)
    assert caught.value is error
    assert files(good) == files(other) == []


def test_an_interrupt_when_one_storage_is_through_takes_its_object_back(good: LocalStorage, tmp_path: Path) -> None:
    through = threading.Event()

    class Early(LocalStorage):
        """Has stored its object while the other is still at work."""

        def put(self, key: str, source: Source) -> Stored:
            stored = put_bytes(LocalStorage("early", self._root), key, source.read(1))
            through.set()
            return stored

    def interrupted(_raw: int, _sent: int) -> None:
        if through.is_set():
            raise KeyboardInterrupt

    early = Early("early", tmp_path / "early")

    def as_long_as_it_takes() -> Iterator[bytes]:
        first, second = chunks(2)
        yield first
        assert through.wait(60)
        yield second

    with pytest.raises(KeyboardInterrupt):
        stream(as_long_as_it_takes(), [good, early], KEY, level=None, progress=interrupted)
    assert files(good) == files(early) == []


@pytest.mark.parametrize("at", [0, MIB, 10 * MIB])
def test_a_storage_that_fails_does_not_stop_the_others(good: LocalStorage, tmp_path: Path, at: int) -> None:
    error = StorageFull("full")
    bad = Behaving("bad", tmp_path / "bad", during=raising(error, at))
    done = stream(chunks(), [bad, good], KEY, level=None)
    assert done.failed == {"bad": error}
    assert list(done.stored) == ["good"]
    assert get_bytes(good, KEY) == b"".join(chunks())
    assert files(bad) == []


def test_a_storage_that_fails_while_its_queue_is_full_blocks_nobody(good: LocalStorage, tmp_path: Path) -> None:
    error = StorageUnreachable("gone")

    def stall_then_fail(taken: int) -> None:
        if taken >= MIB:
            time.sleep(0.3)
            raise error

    bad = Behaving("bad", tmp_path / "bad", during=stall_then_fail)
    done = stream(chunks(32), [bad, good], KEY, level=None, patience=120)
    assert done.failed == {"bad": error}, "it was not waited for until it was given up"
    assert list(done.stored) == ["good"]


@pytest.mark.parametrize("at", [0, 4 * MIB, 15 * MIB])
def test_a_storage_that_is_stuck_is_given_up_and_leaves_nothing(
    good: LocalStorage, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other one is to be through within the patience, and no disk promises to sync in a second.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    released = threading.Event()
    stuck = Behaving("stuck", tmp_path / "stuck", during=lambda taken: released.wait(60) if taken >= at else None)
    done = stream(chunks(), [stuck, good], KEY, level=None, patience=2)
    assert isinstance(done.failed["stuck"], StorageUnreachable)
    assert "storage stuck was given up while it stored t/1/dump" in str(done.failed["stuck"])
    assert get_bytes(good, KEY) == b"".join(chunks())
    released.set()
    wait_until(lambda: not any(each.name == "put-stuck" for each in threading.enumerate()), 60, "the end of its put")
    assert files(stuck) == []


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([StorageUnreachable("a"), StorageUnreachable("b")], "a"),
        ([StorageUnreachable("a"), StorageFull("b")], "b"),
        ([StorageFull("a"), StorageError("b")], "a"),
    ],
)
def test_when_all_fail_the_producer_is_stopped_and_a_lasting_error_wins(
    tmp_path: Path, errors: list[StorageError], raised: str
) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(MIB)
        finally:
            closed.set()

    bad = [
        Behaving(f"bad{number}", tmp_path / f"bad{number}", during=raising(error))
        for number, error in enumerate(errors)
    ]
    with pytest.raises(StorageError, match=f"^{raised}$"):
        stream(endless(), bad, KEY, level=None)
    assert closed.is_set()


def test_a_mistake_in_a_storage_is_not_taken_for_a_failed_storage(good: LocalStorage, tmp_path: Path) -> None:
    bad = Behaving("bad", tmp_path / "bad", before=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stream(chunks(), [bad, good], KEY, level=None)


def test_a_storage_that_took_other_bytes_than_were_sent_has_failed(good: LocalStorage, tmp_path: Path) -> None:
    lying = Behaving("lying", tmp_path / "lying", after=lambda stored: Stored(stored.bytes, "0" * 64))
    done = stream(chunks(), [lying, good], KEY, level=None)
    assert isinstance(done.failed["lying"], ObjectDamaged)
    assert list(done.stored) == ["good"]
    assert files(lying) == []


def test_a_taken_key_fails_and_what_was_there_stays(good: LocalStorage) -> None:
    put_bytes(good, KEY, b"first")
    with pytest.raises(StorageError, match="nothing overwrites"):
        stream(chunks(), [good], KEY, level=1)
    assert get_bytes(good, KEY) == b"first"


def test_no_storage_at_all_is_an_error() -> None:
    with pytest.raises(StorageError, match="no storage"):
        stream(chunks(), [], KEY, level=1)


def test_a_slow_storage_holds_the_producer_back(tmp_path: Path) -> None:
    given_out = most_ahead = taken_by_storage = 0

    def during(taken: int) -> None:
        nonlocal most_ahead, taken_by_storage
        taken_by_storage = taken
        time.sleep(0.01)
        most_ahead = max(most_ahead, given_out - taken_by_storage)

    def counted() -> Iterator[bytes]:
        nonlocal given_out
        for each in chunks(32):
            given_out += len(each)
            yield each

    stream(counted(), [Behaving("slow", tmp_path / "slow", during=during)], KEY, level=None)
    assert most_ahead <= 7 * MIB


@pytest.mark.parametrize("spoil", ["cut", "bit", "more", "other"])
def test_a_spoiled_object_cannot_be_unpacked(good: LocalStorage, tmp_path: Path, spoil: str) -> None:
    stream(chunks(4), [good], KEY, level=1)
    content = bytearray(get_bytes(good, KEY))
    if spoil == "bit":
        content[len(content) // 2] ^= 1
    spoiled = {
        "cut": content[:-1],
        "bit": content,
        "more": content + b"x",
        "other": bytearray(b"no zstd at all"),
    }
    put_bytes(good, "t/1/spoiled", bytes(spoiled[spoil]))
    with pytest.raises(ObjectDamaged, match="t/1/spoiled in the storage good is damaged"):
        for _ in decompressed(good, "t/1/spoiled"):
            pass


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.binary(max_size=50)),
    reads=st.lists(st.integers(1, 70), min_size=1),
    limit=st.integers(1, 60),
)
def test_a_feed_gives_exactly_what_is_asked_for(pieces: list[bytes], reads: list[int], limit: int) -> None:
    feed = Feed(limit)

    def fill() -> None:
        for piece in pieces:
            if piece:
                feed.give(piece, 10)
        feed.end()

    filler = threading.Thread(target=fill)
    filler.start()
    whole, read, position = b"".join(pieces), [], 0
    while True:
        n = reads[len(read) % len(reads)]
        piece = feed.read(n)
        assert piece == whole[position : position + n]
        read.append(piece)
        position += n
        if not piece:
            break
    filler.join()


def test_an_abandoned_feed_ends_a_reader_that_waits() -> None:
    feed, outcome = Feed(10), []

    def read() -> None:
        try:
            outcome.append(feed.read(1))
        except Abandoned as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    feed.abandon()
    reader.join(60)
    assert [type(each) for each in outcome] == [Abandoned]


MEASURE = """
import random, resource, sys
from pathlib import Path
from tasks.storage.local import LocalStorage
from tasks.storage.pipeline import stream
block = random.Random(1).randbytes(1 << 20)
storage = LocalStorage("a", Path(sys.argv[2]))
stream((block for _ in range(int(sys.argv[1]))), [storage], "t/1/" + sys.argv[1], level=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    def peak(mebibytes: int) -> int:
        command = [sys.executable, "-c", MEASURE, str(mebibytes), str(tmp_path / "store")]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak(400) - peak(2) <= 48
