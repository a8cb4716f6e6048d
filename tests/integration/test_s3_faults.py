"""What a bad network, a failing server, wrong settings and a full disk do to a backup on its way."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks import config
from tasks.errors import StorageError, StorageFull, StorageUnreachable
from tasks.storage.contract import get_bytes, put_bytes
from tasks.storage.local import LocalStorage
from tasks.storage.pipeline import stream
from tasks.storage.s3 import S3Storage
from tests.bed.proxy import TcpProxy
from tests.bed.s3 import S3Endpoint

MIB = 1 << 20
CONTENT = random.Random(0).randbytes(12 * MIB)

Proxies = Callable[[str, int], TcpProxy]


def section(bucket: str, url: str, timeout: float = 20.0) -> config.S3Storage:
    return config.S3Storage(
        type="s3",
        bucket=bucket,
        prefix="p",
        endpoint_url=url,
        region="us-east-1",
        part_size=5,
        timeout=timeout,
    )


def connected(endpoint: S3Endpoint, bucket: str, url: str | None = None, **given: Any) -> S3Storage:
    attempts: int = given.pop("attempts", 2)
    described = section(bucket, url or endpoint.endpoint_url, given.pop("timeout", 20.0))
    return S3Storage("offsite", described, endpoint.access_key, endpoint.secret_key, attempts=attempts, **given)


@pytest.fixture
def proxy(s3_server: S3Endpoint, tcp_proxy: Proxies) -> TcpProxy:
    parts = urlsplit(s3_server.endpoint_url)
    return tcp_proxy(str(parts.hostname), int(parts.port or 0))


@pytest.fixture
def through(s3_server: S3Endpoint, s3_bucket: str, proxy: TcpProxy) -> S3Storage:
    return connected(s3_server, s3_bucket, f"http://127.0.0.1:{proxy.port}")


@pytest.fixture
def through_once(s3_server: S3Endpoint, s3_bucket: str, proxy: TcpProxy) -> S3Storage:
    """Through the proxy, trying nothing a second time."""
    return connected(s3_server, s3_bucket, f"http://127.0.0.1:{proxy.port}", attempts=1)


@pytest.fixture
def straight(s3_server: S3Endpoint, s3_bucket: str) -> S3Storage:
    return connected(s3_server, s3_bucket)


def uploads(endpoint: S3Endpoint, bucket: str) -> list[Any]:
    client = endpoint.client()
    try:
        return list(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))
    finally:
        client.close()


class When:
    """A source that does something when so many bytes were taken."""

    def __init__(self, content: bytes, at: int, act: Callable[[], None]) -> None:
        self.rest, self.at, self.act, self.taken = memoryview(content), at, act, 0

    def read(self, n: int, /) -> bytes:
        piece, self.rest = bytes(self.rest[:n]), self.rest[n:]
        if self.taken < self.at <= self.taken + n:
            self.act()
        self.taken += len(piece)
        return piece


def test_a_connection_cut_in_the_middle_of_a_part_is_made_again(through: S3Storage, proxy: TcpProxy) -> None:
    proxy.cut_after(7 * MIB, "up")
    put_bytes(through, "t/1/dump", CONTENT)
    assert proxy.bytes_up > 12 * MIB
    assert get_bytes(through, "t/1/dump") == CONTENT


def test_an_answer_that_is_lost_after_the_object_was_stored_is_no_failure(
    s3_server: S3Endpoint, s3_bucket: str, proxy: TcpProxy, through: S3Storage
) -> None:
    """The second try of a conditional write finds the first one's object in its way."""
    through._client.meta.events.register("before-call.s3.PutObject", lambda **_: proxy.cut_after(1, "down"))
    put_bytes(through, "t/1/small", b"small")
    through._client.meta.events.register(
        "before-call.s3.CompleteMultipartUpload", lambda **_: proxy.cut_after(1, "down")
    )
    put_bytes(through, "t/1/large", CONTENT)
    assert proxy.connections > 2
    assert get_bytes(through, "t/1/small") == b"small"
    assert get_bytes(through, "t/1/large") == CONTENT
    assert uploads(s3_server, s3_bucket) == []


def test_a_network_that_stays_away_in_the_middle_is_told_and_nothing_is_listed(
    through: S3Storage, straight: S3Storage, proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        proxy.refuse()
        proxy.cut()

    with caplog.at_level(logging.WARNING, "rollcall"), pytest.raises(StorageUnreachable) as caught:
        through.put("t/1/dump", When(CONTENT, 8 * MIB, away))
    assert "storage offsite (bucket" in str(caught.value) and "could not write t/1/dump" in str(caught.value)
    assert list(straight.keys("")) == []
    assert "could not end a failed upload of p/t/1/dump" in caplog.text


def test_uploads_that_killed_runs_left_are_ended_a_day_later(
    s3_server: S3Endpoint, s3_bucket: str, straight: S3Storage
) -> None:
    client = s3_server.client()
    for key in ("p/t/1/dump", "p/t/2/dump", "p/other/1/dump"):
        client.create_multipart_upload(Bucket=s3_bucket, Key=key)
    client.close()
    put_bytes(straight, "t/3/dump", b"today")
    assert len(uploads(s3_server, s3_bucket)) == 3
    tomorrow = datetime.now(UTC) + timedelta(hours=25)
    put_bytes(connected(s3_server, s3_bucket, clock=lambda: tomorrow), "t/4/dump", b"tomorrow")
    assert [each["Key"] for each in uploads(s3_server, s3_bucket)] == ["p/other/1/dump"]


def test_a_stalled_network_runs_into_the_time_limit(
    s3_server: S3Endpoint, s3_bucket: str, straight: S3Storage, proxy: TcpProxy
) -> None:
    through = connected(s3_server, s3_bucket, f"http://127.0.0.1:{proxy.port}", timeout=1.0)
    started = time.monotonic()
    with pytest.raises(StorageUnreachable, match=r"could not write t/1/dump"):
        through.put("t/1/dump", When(CONTENT, 8 * MIB, proxy.stall))
    assert time.monotonic() - started < 60
    proxy.resume()
    assert list(straight.keys("")) == []


def test_one_failed_part_ends_the_upload_and_leaves_none_open(
    s3_server: S3Endpoint, s3_bucket: str, through_once: S3Storage, straight: S3Storage, proxy: TcpProxy
) -> None:
    with pytest.raises(StorageUnreachable, match=r"could not write t/1/dump"):
        through_once.put("t/1/dump", When(CONTENT, 8 * MIB, lambda: proxy.cut_after(MIB, "up")))
    assert list(straight.keys("")) == []
    assert uploads(s3_server, s3_bucket) == []


def test_bits_changed_on_the_way_are_not_stored(
    s3_server: S3Endpoint, s3_bucket: str, through_once: S3Storage, straight: S3Storage, proxy: TcpProxy
) -> None:
    """Each part goes with its Content-MD5."""
    with pytest.raises(StorageError, match=r"could not write t/1/dump"):
        through_once.put("t/1/dump", When(CONTENT, 5 * MIB, lambda: proxy.corrupt(2 * MIB, "up")))
    assert list(straight.keys("")) == []
    assert uploads(s3_server, s3_bucket) == []


def test_a_read_that_is_cut_goes_on_where_it_broke(through: S3Storage, proxy: TcpProxy) -> None:
    put_bytes(through, "t/1/dump", CONTENT)
    asked = list[str | None]()
    through._client.meta.events.register(
        "before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"].get("Range"))
    )
    with through.open("t/1/dump") as chunks:
        first = next(chunks)
        proxy.cut_after(1, "down")
        rest = list(chunks)
    assert first + b"".join(rest) == CONTENT
    ends = list(accumulate(map(len, [first, *rest])))
    assert len(asked) == 2 and asked[0] is None
    assert asked[1] in [f"bytes={end}-" for end in ends], "after the last chunk that had come whole"


def test_a_server_that_is_not_there_is_told_for_every_verb(through: S3Storage, proxy: TcpProxy) -> None:
    proxy.refuse()
    verbs: list[Callable[[], object]] = [
        lambda: put_bytes(through, "t/1/dump", b"-"),
        lambda: get_bytes(through, "t/1/dump"),
        lambda: list(through.keys("")),
        lambda: through.delete("t/1/dump"),
        through.probe,
    ]
    for verb in verbs:
        with pytest.raises(StorageUnreachable, match=rf"storage offsite .*127\.0\.0\.1:{proxy.port}.*Check that"):
            verb()


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """A server that answers every request with one S3 error."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "expected", "words"),
    [
        (500, "InternalError", StorageUnreachable, "the server cannot now .*500"),
        (503, "SlowDown", StorageUnreachable, "the server cannot now .*503"),
        (403, "AccessDenied", StorageError, "access is denied.*let"),
        (403, "RequestTimeTooSkewed", StorageError, "clock is wrong|access is denied"),
        (507, "XMinioStorageFull", StorageFull, "no room left"),
    ],
)
def test_what_the_server_answers_becomes_the_right_error(
    status: int, code: str, expected: type[StorageError], words: str
) -> None:
    with answering(status, code) as url:
        storage = S3Storage("offsite", section("b", url), "key", "the-secret", attempts=1)
        for verb in (lambda: put_bytes(storage, "t/1/dump", b"-"), lambda: list(storage.keys(""))):
            with pytest.raises(StorageError, match=rf"bucket b at {url}.*({words})") as caught:
                verb()
            assert type(caught.value) is expected
            assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["bucket", "key_id", "secret"])
def test_wrong_settings_are_told_apart_and_never_tried_again(s3_server: S3Endpoint, s3_bucket: str, wrong: str) -> None:
    given = {"bucket": s3_bucket, "key_id": s3_server.access_key, "secret": s3_server.secret_key}
    given[wrong] = "not-the-right-one"
    storage = S3Storage(
        "offsite",
        section(given["bucket"], s3_server.endpoint_url),
        given["key_id"],
        given["secret"],
        attempts=1,
    )
    words = {
        "bucket": "no such bucket",
        "key_id": "does not know the access key",
        "secret": "secret key does not belong",
    }[wrong]
    with pytest.raises(StorageError, match=words) as caught:
        list(storage.keys(""))
    with pytest.raises(StorageError) as written:
        put_bytes(storage, "t/1/dump", b"-")
    for error in (caught.value, written.value):
        assert not error.transient
        assert given["secret"] not in str(error)


def test_a_wrong_address_is_refused_at_once() -> None:
    with pytest.raises(StorageError, match=r"storage offsite .*not a url"):
        S3Storage("offsite", section("b", "not a url"), "key", "secret")


def test_a_full_disk_is_told_and_left_clean(small_disk: Callable[[int], Path]) -> None:
    store = small_disk(4) / "store"
    storage = LocalStorage("local", store)
    put_bytes(storage, "t/1/dump", CONTENT[:MIB])
    with pytest.raises(StorageFull, match=rf"storage local \({store}\) is full: t/2/dump"):
        put_bytes(storage, "t/2/dump", CONTENT)
    assert [each.name for each in store.rglob("*")] == ["t", "1", "dump"]
    put_bytes(storage, "t/3/dump", CONTENT[: 2 * MIB])


def test_a_storage_that_fails_in_the_middle_does_not_stop_the_others(
    through: S3Storage, proxy: TcpProxy, small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    full = LocalStorage("full", small_disk(4) / "store")
    good = LocalStorage("good", tmp_path / "good")

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(CONTENT), MIB):
            if start == 8 * MIB:
                proxy.refuse()
                proxy.cut()
            yield CONTENT[start : start + MIB]

    done = stream(chunks(), [through, full, good], "t/1/dump", level=None)
    assert {name: type(error) for name, error in done.failed.items()} == {
        "offsite": StorageUnreachable,
        "full": StorageFull,
    }
    assert list(done.stored) == ["good"]
    assert get_bytes(good, "t/1/dump") == CONTENT


def test_a_producer_that_fails_leaves_nothing_in_any_storage(
    s3_server: S3Endpoint, s3_bucket: str, straight: S3Storage, tmp_path: Path
) -> None:
    local = LocalStorage("local", tmp_path / "store")

    def chunks() -> Iterator[bytes]:
        yield CONTENT
        raise OSError(32, "pg_dump went away")

    with pytest.raises(OSError, match="pg_dump went away"):
        stream(chunks(), [straight, local], "t/1/dump", level=1)
    assert list(straight.keys("")) == list(local.keys("")) == []
    assert uploads(s3_server, s3_bucket) == []
    assert list((tmp_path / "store").rglob("*")) == []
