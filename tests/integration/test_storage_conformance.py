"""One suite for every storage: what the docstring of tasks.storage.contract.Storage promises."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks import config
from tasks.errors import ObjectDamaged, ObjectMissing, StorageError
from tasks.secrets import EnvReference
from tasks.storage import Storage, open_storage
from tasks.storage.contract import Stored, get_bytes, put_bytes
from tasks.storage.pipeline import stream
from tasks.storage.readback import decompressed, read_back
from tests.bed.s3 import S3Endpoint

MIB = 1 << 20


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    if request.param == "local":
        yield open_storage("local", config.LocalStorage(type="local", path=tmp_path / "store"))
        return
    endpoint: S3Endpoint = request.getfixturevalue("s3_server")
    bucket: str = request.getfixturevalue("s3_bucket")
    monkeypatch.setenv("TEST_KEY_ID", endpoint.access_key)
    monkeypatch.setenv("TEST_SECRET", endpoint.secret_key)
    section = config.S3Storage(
        type="s3",
        bucket=bucket,
        prefix="a/prefix",
        endpoint_url=endpoint.endpoint_url,
        region="us-east-1",
        access_key_id=EnvReference(env="TEST_KEY_ID"),
        secret_access_key=EnvReference(env="TEST_SECRET"),
        part_size=5,
    )
    yield open_storage("s3", section)
    client = endpoint.client()
    try:
        assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    finally:
        client.close()


class ProducerError(Exception):
    pass


class Breaking:
    """A source that breaks after so many bytes."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.rest = after
        self.error = error

    def read(self, n: int, /) -> bytes:
        if self.rest < n:
            raise self.error
        self.rest -= n
        return b"x" * n


def listed(storage: Storage, prefix: str = "") -> list[str]:
    """All keys; a local storage nothing was put into has no folder yet."""
    try:
        return list(storage.keys(prefix))
    except StorageError as error:
        assert "The first backup makes it" in str(error)
        return []


@pytest.mark.parametrize("size", [0, 1, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 17 * MIB])
def test_an_object_comes_back_as_it_was_put(storage: Storage, size: int) -> None:
    content = random.Random(size).randbytes(size)
    stored = put_bytes(storage, "t/1/dump", content)
    assert stored == Stored(size, hashlib.sha256(content).hexdigest())
    read_back(storage, "t/1/dump", size=stored.bytes, sha256=stored.sha256)
    assert get_bytes(storage, "t/1/dump") == content


def test_chunks_are_neither_empty_nor_huge(storage: Storage) -> None:
    put_bytes(storage, "t/1/dump", b"y" * (6 * MIB))
    with storage.open("t/1/dump") as chunks:
        sizes = [len(chunk) for chunk in chunks]
    assert min(sizes) > 0 and max(sizes) <= 4 * MIB and sum(sizes) == 6 * MIB


@pytest.mark.parametrize("size", [100, 6 * MIB])
def test_nothing_overwrites_an_object(storage: Storage, size: int) -> None:
    put_bytes(storage, "t/1/dump", b"first")
    with pytest.raises(StorageError, match=r"already has an object t/1/dump; nothing overwrites"):
        put_bytes(storage, "t/1/dump", b"z" * size)
    assert get_bytes(storage, "t/1/dump") == b"first"
    assert listed(storage) == ["t/1/dump"]


@pytest.mark.parametrize("size", [100, 6 * MIB])
def test_of_two_writers_of_one_key_one_wins_and_the_other_is_refused(storage: Storage, size: int) -> None:
    class Meeting(io.BytesIO):
        """Both writers have looked and found the key free before either has sent its last byte."""

        def read(self, n: int | None = -1, /) -> bytes:
            both.wait(60)
            return super().read(n)

    both = threading.Barrier(2)
    contents = [b"a" * size, b"b" * size]
    outcomes: list[Stored | StorageError] = []

    def put(content: bytes) -> None:
        try:
            outcomes.append(storage.put("t/1/dump", Meeting(content)))
        except StorageError as error:
            outcomes.append(error)

    writers = [threading.Thread(target=put, args=(content,)) for content in contents]
    for each in writers:
        each.start()
    for each in writers:
        each.join(300)
    stored = [each for each in outcomes if isinstance(each, Stored)]
    # An S3 server may look and write in two steps at the end of an upload in parts (SeaweedFS does), and then accepts
    # both. Whoever lost learns it by reading back, as every backup does before it counts.
    there = hashlib.sha256(get_bytes(storage, "t/1/dump")).hexdigest()
    winners = [each for each in stored if each.sha256 == there]
    assert len(outcomes) == 2 and len(winners) == 1, outcomes
    in_parts = storage.name == "s3" and size > MIB
    assert len(stored) == 1 or in_parts, outcomes


@pytest.mark.parametrize("after", [0, MIB, 6 * MIB, 12 * MIB])
@pytest.mark.parametrize(
    "error",
    [ProducerError("pg_dump died"), OSError(28, "the producer's own disk"), KeyboardInterrupt()],
    ids=repr,
)
def test_a_producer_that_fails_leaves_nothing(storage: Storage, after: int, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        storage.put("t/1/dump", Breaking(after, error))
    assert caught.value is error
    assert listed(storage) == []
    with pytest.raises(StorageError):
        get_bytes(storage, "t/1/dump")


def test_keys_are_listed_sorted_by_plain_prefix(storage: Storage) -> None:
    keys = [
        "t/2/b",
        "t/1/a",
        "t/1/a.b",
        "t/10/c",
        "tt/1/a",
        "t/1/sub/d",
        "t/1/%22Sales%20Data%22.dump",
        "t/1/äö",
    ]
    for key in keys:
        put_bytes(storage, key, b"-")
    assert listed(storage) == sorted(keys)
    assert listed(storage, "t/") == sorted(key for key in keys if key.startswith("t/"))
    assert listed(storage, "t/1") == sorted(key for key in keys if key.startswith("t/1"))
    assert listed(storage, "t/1/a") == ["t/1/a", "t/1/a.b"]
    assert listed(storage, "none/") == []


def test_a_missing_object_is_missing(storage: Storage) -> None:
    put_bytes(storage, "t/1/dump", b"-")
    for key in ("t/1/other", "t/2/dump", "t/1/dump/below", "t/1"):
        with pytest.raises(ObjectMissing, match=f"has no object {key}"):
            get_bytes(storage, key)


def test_deleting_is_final_and_may_be_repeated(storage: Storage) -> None:
    put_bytes(storage, "t/1/dump", b"-")
    put_bytes(storage, "t/1/other", b"+")
    for _ in range(2):
        storage.delete("t/1/dump")
        assert listed(storage) == ["t/1/other"]
    put_bytes(storage, "t/1/dump", b"again")
    assert get_bytes(storage, "t/1/dump") == b"again"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "t/../x",
        "t//x",
        "t/",
        "t/.",
        "t/.partial-x",
        "t\\x",
        "t/\n",
        "t/\0",
        "t/" + "x" * 256,
    ],
)
def test_keys_that_could_lead_elsewhere_are_refused(storage: Storage, key: str) -> None:
    put_bytes(storage, "t/1/dump", b"-")
    actions: list[Callable[[], object]] = [
        lambda: put_bytes(storage, key, b"-"),
        lambda: get_bytes(storage, key),
        lambda: storage.delete(key),
    ]
    for action in actions:
        with pytest.raises(StorageError, match="cannot be a key"):
            action()


def test_a_probe_passes_and_leaves_nothing(storage: Storage) -> None:
    storage.probe()
    assert listed(storage) == []


def test_a_stream_goes_in_compressed_and_comes_out_as_it_was(storage: Storage) -> None:
    chunks = [random.Random(n).randbytes(MIB // 8) * 8 for n in range(12)]
    done = stream(iter(chunks), [storage], "t/1/dump.zst", level=1)
    stored = done.stored[storage.name]
    assert (done.failed, done.raw_bytes) == ({}, 12 * MIB)
    assert stored.bytes < 8 * MIB
    read_back(storage, "t/1/dump.zst", size=stored.bytes, sha256=stored.sha256)
    assert b"".join(decompressed(storage, "t/1/dump.zst")) == b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"shorter", "its size is 7 bytes"), (b"other bytes", "its SHA-256")]
)
def test_read_back_names_what_differs(storage: Storage, content: bytes, complaint: str) -> None:
    put_bytes(storage, "t/1/dump", content)
    with pytest.raises(ObjectDamaged, match=f"t/1/dump in the storage {storage.name}.*{complaint}"):
        read_back(storage, "t/1/dump", size=11, sha256=hashlib.sha256(b"right bytes").hexdigest())
