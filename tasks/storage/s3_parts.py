"""What goes into an upload: bodies in buffers that are used again, their checksum, the condition."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tasks.storage.contract import CHUNK, Source


def only_if(*, free: bool) -> dict[str, Any]:
    """The parameters that let a write succeed only if its key is free, or none."""
    return {"IfNoneMatch": "*"} if free else {}


def content_md5(body: bytes | bytearray) -> str:
    """The Content-MD5 of a request. Without it servers exist that store what a broken connection left of a
    body."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode("ascii")


def fill(buffer: bytearray, source: Source) -> int:
    """Read into the buffer until it is full or the source ends; return how many bytes.

    Buffers are reused: parts allocated anew, each in another thread, leave a heap full of holes.
    """
    filled = 0
    while filled < len(buffer) and (piece := source.read(min(CHUNK, len(buffer) - filled))):
        buffer[filled : filled + len(piece)] = piece
        filled += len(piece)
    return filled
