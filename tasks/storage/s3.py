"""A bucket of any S3-compatible server as a storage.

Multipart uploads are driven here and not by boto3's transfer manager, which cannot make an upload conditional
("only if the key is free") and which holds ten parts in memory unless told otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from tasks import config
from tasks.errors import ObjectMissing, StorageError, StorageUnreachable
from tasks.storage import contract
from tasks.storage.contract import ABANDONED_SECONDS, CHUNK, MIB, Counted, Source, Stored, checked_key
from tasks.storage.s3_client import PARTS_IN_FLIGHT, connect
from tasks.storage.s3_errors import code_of, in_words
from tasks.storage.s3_parts import content_md5, fill, only_if

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger("rollcall")

MOST_PARTS = 10_000
REOPENINGS = 5

# Who uploaded an object: lets a put whose answer was lost recognise its own work.
_UPLOADED_BY = "rollcall-upload"

_S3_ERRORS = (BotoCoreError, ClientError, HTTPError, OSError)
_NOT_THERE = {"404", "NoSuchKey", "NotFound"}


class S3Storage:
    """Objects below `section.prefix` of a bucket.

    `key_id` and `secret` are None where boto3 is to look for credentials itself. `attempts` is how often one
    request is tried in all; waits between them grow from one second.
    """

    def __init__(
        self,
        name: str,
        section: config.S3Storage,
        key_id: str | None = None,
        secret: str | None = None,
        *,
        attempts: int = 5,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._section = section
        self._prefix = f"{section.prefix.strip('/')}/" if section.prefix.strip("/") else ""
        self._part_bytes = section.part_size * MIB
        self._clock = clock
        try:
            self._client = connect(section, key_id, secret, attempts)
            # After a failure the server is asked what is left there: not for minutes, if it is gone.
            self._tidying = connect(section, key_id, secret, min(attempts, 2))
        except (BotoCoreError, ValueError) as error:
            raise in_words(error, f"{self._where} could not be opened") from error

    def put(self, key: str, source: Source) -> Stored:
        """As the contract says."""
        full = self._prefix + checked_key(key)
        self._require_free(full, key)
        self._sweep(f"{self._prefix}{key.partition('/')[0]}/")
        counted, token = Counted(source), secrets.token_hex(16)
        try:
            with self._translated("write", key, counted):
                self._upload(full, key, counted, token)
                self._check_size(full, key, counted.stored.bytes)
        except BaseException:
            self._remove_remains(full, token)
            raise
        return counted.stored

    @contextmanager
    def open(self, key: str) -> Iterator[Iterator[bytes]]:
        """As the contract says. A connection lost on the way is made again, from where it broke."""
        full = self._prefix + checked_key(key)
        with contextlib.ExitStack() as open_bodies:
            try:
                with self._translated("read", key):
                    first = self._client.get_object(Bucket=self._section.bucket, Key=full)
                    open_bodies.callback(first["Body"].close)
            except StorageError as error:
                if code_of(error.__cause__) in _NOT_THERE:
                    raise ObjectMissing(f"{self._where} has no object {key}.") from error.__cause__
                raise

            def again(offset: int) -> Callable[[int], bytes]:
                rest = self._client.get_object(
                    Bucket=self._section.bucket, Key=full, Range=f"bytes={offset}-", IfMatch=first["ETag"]
                )
                open_bodies.callback(rest["Body"].close)
                return rest["Body"].read

            yield self._chunks(first["Body"].read, again, first["ContentLength"], key)

    def keys(self, prefix: str) -> Iterator[str]:
        """As the contract says."""
        with self._translated("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._section.bucket, Prefix=self._prefix + prefix
            )
            listed = [each["Key"] for page in pages for each in page.get("Contents", [])]
        yield from sorted(key.removeprefix(self._prefix) for key in listed if not key.endswith("/"))

    def delete(self, key: str) -> None:
        """As the contract says."""
        full = self._prefix + checked_key(key)
        with self._translated("remove", key):
            self._client.delete_object(Bucket=self._section.bucket, Key=full)

    def probe(self) -> None:
        """As the contract says."""
        contract.probe(self)

    @property
    def _where(self) -> str:
        server = self._section.endpoint_url or "AWS"
        return f"The storage {self.name} (bucket {self._section.bucket} at {server})"

    def _taken(self, key: str) -> StorageError:
        return StorageError(f"{self._where} already has an object {key}; nothing overwrites a backup.")

    def _require_free(self, full: str, key: str) -> None:
        """Ask before the bytes are sent; the condition sent with them is what decides."""
        with self._translated("write", key):
            found = self._head(full)
        if found is not None:
            raise self._taken(key)

    def _head(self, full: str) -> tuple[int, str | None] | None:
        """Size and uploader of an object; None if there is none."""
        try:
            head = self._client.head_object(Bucket=self._section.bucket, Key=full)
        except ClientError as error:
            if code_of(error) in _NOT_THERE:
                return None
            raise
        return head["ContentLength"], head["Metadata"].get(_UPLOADED_BY)

    def _upload(self, full: str, key: str, source: Counted, token: str) -> None:
        buffer = bytearray(self._part_bytes)
        size = fill(buffer, source)
        if size < len(buffer):
            body = bytes(buffer[:size])
            self._unless_taken(full, key, token, lambda only: self._put_small(full, body, token, only))
        else:
            self._put_parts(full, key, buffer, source, token)

    def _put_small(self, full: str, body: bytes, token: str, only_if_free: bool) -> None:
        self._client.put_object(
            Bucket=self._section.bucket,
            Key=full,
            Body=body,
            ContentMD5=content_md5(body),
            Metadata={_UPLOADED_BY: token},
            **only_if(free=only_if_free),
        )

    def _put_parts(self, full: str, key: str, first: bytearray, source: Counted, token: str) -> None:
        started = self._client.create_multipart_upload(
            Bucket=self._section.bucket, Key=full, Metadata={_UPLOADED_BY: token}
        )
        upload = started["UploadId"]
        try:
            parts = self._send_parts(full, upload, first, source)
            self._unless_taken(full, key, token, lambda only: self._complete(full, upload, parts, only))
        except BaseException:
            self._abort(full, upload)
            raise

    def _send_parts(self, full: str, upload: str, buffer: bytearray, source: Counted) -> list[CompletedPartTypeDef]:
        """Send the filled `buffer` and the rest of the source, filling one buffer while others are sent."""
        spare = [bytearray(self._part_bytes) for _ in range(PARTS_IN_FLIGHT)]
        sent: list[Future[CompletedPartTypeDef]] = []
        flying: deque[tuple[Future[CompletedPartTypeDef], bytearray]] = deque()
        with ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
            try:
                while buffer:
                    self._require_room_for(len(sent) + 1)
                    sent.append(pool.submit(self._send_part, full, upload, len(sent) + 1, buffer))
                    flying.append((sent[-1], buffer))
                    if not spare:
                        landed, free = flying.popleft()
                        landed.result()
                        spare.append(free)
                    buffer = spare.pop()
                    del buffer[fill(buffer, source) :]
                return [each.result() for each in sent]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _require_room_for(self, number: int) -> None:
        if number > MOST_PARTS:
            size = self._section.part_size
            raise StorageError(
                f"{self._where} takes {MOST_PARTS} parts an object, and {size} MiB each are not enough: "
                f"set part_size to {size * 4}."
            )

    def _send_part(self, full: str, upload: str, number: int, body: bytearray) -> CompletedPartTypeDef:
        answer = self._client.upload_part(
            Bucket=self._section.bucket,
            Key=full,
            UploadId=upload,
            PartNumber=number,
            Body=cast("bytes", body),  # The stubs do not know that boto3 takes a bytearray.
            ContentMD5=content_md5(body),
        )
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _complete(self, full: str, upload: str, parts: list[CompletedPartTypeDef], only_if_free: bool) -> None:
        self._client.complete_multipart_upload(
            Bucket=self._section.bucket,
            Key=full,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            **only_if(free=only_if_free),
        )

    def _unless_taken(self, full: str, key: str, token: str, finish: Callable[[bool], None]) -> None:
        """Make the object appear if its key is free; without the condition on servers that do not know it."""
        try:
            finish(True)
        except ClientError as error:
            code = code_of(error)
            if code in {"NotImplemented", "501"}:
                finish(False)
            elif code in {"PreconditionFailed", "412", "ConditionalRequestConflict", "NoSuchUpload"}:
                # An answer that was lost makes botocore ask again, and then our own object is in the way.
                found = self._head(full)
                if found is None:
                    raise
                if found[1] != token:
                    raise self._taken(key) from error
            else:
                raise

    def _check_size(self, full: str, key: str, sent: int) -> None:
        found = self._head(full)
        if found is None or found[0] != sent:
            held = "nothing" if found is None else f"{found[0]} bytes"
            raise StorageError(f"{self._where} was sent {sent} bytes as {key} and holds {held}: do not trust it.")

    def _remove_remains(self, full: str, token: str) -> None:
        """After a failed put: remove the object if it is there after all, and it is ours."""
        try:
            head = self._tidying.head_object(Bucket=self._section.bucket, Key=full)
            if head["Metadata"].get(_UPLOADED_BY) == token:
                self._tidying.delete_object(Bucket=self._section.bucket, Key=full)
        except _S3_ERRORS as error:
            if code_of(error) in _NOT_THERE:
                return
            log.warning(
                "%s could not be asked what a failed upload left as %s (%s).",
                self._where,
                full,
                code_of(error),
            )

    def _abort(self, full: str, upload: str) -> None:
        try:
            self._tidying.abort_multipart_upload(Bucket=self._section.bucket, Key=full, UploadId=upload)
        except _S3_ERRORS as error:
            if code_of(error) != "NoSuchUpload":
                log.warning(
                    "%s could not end a failed upload of %s (%s); a put a day from now will.",
                    self._where, full, code_of(error),
                )  # fmt: skip

    def _sweep(self, prefix: str) -> None:
        """End the uploads that killed runs left, once they are too old to belong to a living one."""
        try:
            pages = self._tidying.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._section.bucket, Prefix=prefix
            )
            for page in pages:
                for each in page.get("Uploads", []):
                    if (self._clock() - each["Initiated"]).total_seconds() > ABANDONED_SECONDS:
                        self._abort(each["Key"], each["UploadId"])
        except _S3_ERRORS as error:
            if code_of(error) == "NoSuchBucket":
                # Said now, for there are servers that make a missing bucket when something is put into it.
                raise in_words(error, f"{self._where} could not be used") from error
            log.warning("%s could not list unfinished uploads (%s); old ones stay.", self._where, code_of(error))

    def _chunks(
        self,
        read: Callable[[int], bytes],
        again: Callable[[int], Callable[[int], bytes]],
        size: int,
        key: str,
    ) -> Iterator[bytes]:
        offset = reopened = 0
        while offset < size:
            try:
                chunk = self._next(read, key)
            except StorageUnreachable:
                if reopened == REOPENINGS:
                    raise
                reopened += 1
                with self._translated("read", key):
                    read = again(offset)
                continue
            offset += len(chunk)
            yield chunk

    def _next(self, read: Callable[[int], bytes], key: str) -> bytes:
        """The next bytes of a body that should have more."""
        with self._translated("read", key):
            chunk = read(CHUNK)
        if not chunk:
            raise StorageUnreachable(f"{self._where} ended {key} too early. Try again later.")
        return chunk

    @contextmanager
    def _translated(self, verb: str, key: str = "", source: Counted | None = None) -> Iterator[None]:
        try:
            yield
        except _S3_ERRORS as error:
            if source is not None and source.failure is not None:
                raise
            raise in_words(error, f"{self._where} could not {f'{verb} {key}'.strip()}") from error
