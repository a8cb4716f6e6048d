"""The boto3 client of one S3 storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from tasks import config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARTS_IN_FLIGHT = 2
"""How many parts of an upload are on the way at a time."""


def connect(section: config.S3Storage, key_id: str | None, secret: str | None, attempts: int) -> S3Client:
    """A client with a session of its own: the default session is not safe to share between threads."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=section.endpoint_url,
        region_name=section.region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=min(section.timeout, 10.0),
            read_timeout=section.timeout,
            max_pool_connections=PARTS_IN_FLIGHT + 2,
            s3={"addressing_style": "path" if section.path_style else "auto"},
            # Every server knows Content-MD5, which is sent; few compatible ones know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
