"""A storage that fails: alone it fails the backup, beside a good one it costs a warning and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.proxy import TcpProxy
from tests.bed.s3 import S3Endpoint
from tests.faults.victim import Victim

pytestmark = pytest.mark.slow

Victims = Callable[[PostgresServer], Victim]
Proxies = Callable[[str, int], TcpProxy]
MIB = 1 << 20


class Answering500(BaseHTTPRequestHandler):
    """Answers everything with an internal error, as an overloaded server does."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def failing_server() -> Iterator[str]:
    """The URL of a server that answers 500."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering500)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(s3_server: S3Endpoint, tcp_proxy: Proxies) -> TcpProxy:
    """A proxy to the S3 server."""
    parts = urlsplit(s3_server.endpoint_url)
    return tcp_proxy(parts.hostname or "", parts.port or 0)


@pytest.fixture(params=["alone", "beside"])
def victim_with(
    request: pytest.FixtureRequest,
    victim_of: Victims,
    small_database: PostgresServer,
    large_database: PostgresServer,
    s3_server: S3Endpoint,
    s3_bucket: str,
) -> Callable[..., Victim]:
    """Makes a target with a bucket at a URL, alone or beside a folder."""

    def make(url: str, *, large: bool = False, **options: object) -> Victim:
        victim = victim_of(large_database if large else small_database)
        if request.param == "beside":
            victim.backup().went_well()  # Else a bucket that cannot be asked is `history.unknown`.
        victim.add_s3("offsite", s3_server, s3_bucket, url, **options)
        if request.param == "alone":
            victim.target["storages"].remove("near")
        return victim

    return make


def holds(victim: Victim, s3_server: S3Endpoint, bucket: str) -> None:
    """A backup that ran while its bucket failed: failed if that was all it had, else stored locally with a finding."""
    outcome = victim.backup()
    victim.leaves_no_process()
    if victim.target["storages"] == ["offsite"]:
        outcome.failed("offsite")
    else:
        document = outcome.went_well().document
        assert "storage.unreachable" in outcome.codes
        assert document["verdict"] == "warning"
        assert {each["storage"] for each in document["objects"]} == {"near"}
    client = s3_server.client()
    # An object whose storage went before it could be taken back may stay, but nothing calls it a backup.
    left = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    assert [key for key in left if key.endswith("manifest.json")] == []
    client.close()


def next_succeeds(victim: Victim, s3_server: S3Endpoint) -> None:
    """The bucket is well again: the next backup is in every storage."""
    victim.document["storages"]["offsite"]["endpoint_url"] = s3_server.endpoint_url
    document = victim.backup().went_well().document
    assert {each["storage"] for each in document["objects"]} == set(victim.target["storages"])
    assert victim.is_whole()[0] == document["id"]
    victim.leaves_nothing_stored()


def test_a_bucket_that_answers_500(
    victim_with: Callable[..., Victim], failing_server: str, s3_server: S3Endpoint, s3_bucket: str
) -> None:
    victim = victim_with(failing_server)
    holds(victim, s3_server, s3_bucket)
    next_succeeds(victim, s3_server)


def test_a_bucket_that_stalls(
    victim_with: Callable[..., Victim], proxy: TcpProxy, s3_server: S3Endpoint, s3_bucket: str
) -> None:
    victim = victim_with(f"http://127.0.0.1:{proxy.port}", timeout=0.3)
    proxy.stall()
    holds(victim, s3_server, s3_bucket)
    proxy.cut()
    del victim.document["storages"]["offsite"]["timeout"]
    next_succeeds(victim, s3_server)


def test_a_bucket_that_is_cut_off_in_the_middle_of_a_part(
    victim_with: Callable[..., Victim], proxy: TcpProxy, s3_server: S3Endpoint, s3_bucket: str
) -> None:
    victim = victim_with(f"http://127.0.0.1:{proxy.port}", large=True, timeout=2)
    proxy.cut_after(6 * MIB, "up")
    stop = threading.Event()
    watcher = threading.Thread(target=refuse_once_cut, args=(proxy, stop))
    watcher.start()
    try:
        holds(victim, s3_server, s3_bucket)
    finally:
        stop.set()
        watcher.join()
    next_succeeds(victim, s3_server)


def refuse_once_cut(proxy: TcpProxy, stop: threading.Event) -> None:
    """Keep the bucket away from the moment of the cut on: one that is merely cut is asked again, and has it all."""
    while not stop.wait(0.002):
        if proxy.bytes_up >= 6 * MIB:
            proxy.refuse()
            return


def test_an_upload_cut_once_is_sent_again(
    victim_of: Victims, large_database: PostgresServer, proxy: TcpProxy, s3_server: S3Endpoint, s3_bucket: str
) -> None:
    victim = victim_of(large_database)
    victim.add_s3("offsite", s3_server, s3_bucket, f"http://127.0.0.1:{proxy.port}")
    proxy.cut_after(6 * MIB, "up")
    outcome = victim.backup().went_well()
    assert outcome.document["findings"] == [] or "storage.unreachable" not in outcome.codes
    assert victim.is_whole() == [outcome.document["id"]]


def test_a_full_disk_fails_a_backup_and_keeps_nothing_of_it(
    victim_of: Victims, large_database: PostgresServer, small_disk: Callable[[int], Path]
) -> None:
    victim = victim_of(large_database)
    victim.document["storages"]["near"]["path"] = str(small_disk(6))
    victim.backup().failed("near", "full")
    victim.leaves_no_process()
    victim.leaves_nothing_stored()
    victim.document["storages"]["near"]["path"] = str(small_disk(64))
    victim.backup().went_well()
    assert len(victim.is_whole()) == 1


def test_a_full_disk_beside_a_good_one_costs_a_warning(
    victim_of: Victims, large_database: PostgresServer, small_disk: Callable[[int], Path]
) -> None:
    victim = victim_of(large_database)
    victim.add_local("tiny", small_disk(6))
    outcome = victim.backup().went_well()
    assert "storage.unreachable" in outcome.codes
    assert {each["storage"] for each in outcome.document["objects"]} == {"near"}
    victim.leaves_nothing_stored()
    assert victim.is_whole() == [outcome.document["id"]]
