"""What an S3 server or the way to it said, as one of our errors and one sentence."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from urllib3.exceptions import HTTPError

from tasks.errors import StorageError, StorageFull, StorageUnreachable

_PASSING_CODES = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "ServiceUnavailable",
    "InternalError", "OperationAborted", "ConditionalRequestConflict", "TooManyRequests", "BadDigest",
}  # fmt: skip

_ADVICE = {
    "NoSuchBucket": "there is no such bucket; make it, or correct the name",
    "InvalidAccessKeyId": "the server does not know the access key; check where access_key_id points",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key; check secret_access_key",
    "AccessDenied": "access is denied; let the key read, write, list and delete in this bucket",
    "403": "access is denied; check the keys, and let them read, write, list and delete in this bucket",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; correct region and endpoint_url",
    "AuthorizationHeaderMalformed": "the region is wrong; correct region",
    "ExpiredToken": "the credentials have expired; renew them",
}

_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}


def code_of(error: BaseException | None) -> str:
    """The server's code where it gave one, else the exception's name: short, and never a secret."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code") or _status(error))
    return type(error).__name__


def in_words(error: Exception, what: str) -> StorageError:
    """The StorageError to raise: `what` says which storage could not do what. Never contains a secret."""
    if isinstance(error, ClientError):
        return _answered(error, what)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(f"{what}: no keys were found; set access_key_id and secret_access_key.")
    if isinstance(error, SSLError):
        return StorageError(f"{what}: the server's certificate is not trusted; check endpoint_url and the certificate.")
    if isinstance(error, _NO_CONNECTION):
        return StorageUnreachable(f"{what}: {_short(error)}. Check that the server runs and the network reaches it.")
    return StorageError(f"{what}: {_short(error)}. Check the storage's section in the configuration.")


_NO_CONNECTION = (
    BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, HTTPError, OSError,
)  # fmt: skip


def _answered(error: ClientError, what: str) -> StorageError:
    code, status = code_of(error), _status(error)
    if code in _FULL_CODES or status == 507:
        return StorageFull(f"{what}: the server has no room left ({code}). Make room, or move to a larger one.")
    if code in _PASSING_CODES or status in {408, 429} or (status >= 500 and status != 501):
        return StorageUnreachable(f"{what}: the server cannot now ({code}, HTTP {status}). Try again later.")
    return StorageError(f"{what}: {_ADVICE.get(code, f'the server refused ({code}, HTTP {status})')}.")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _short(error: Exception) -> str:
    """The first line of what the library says: it names hosts and reasons, and no headers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
