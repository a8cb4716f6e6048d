"""The process's own output: a reader of it who went away changes nothing about how a command ends."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO, cast


class _Unread(io.FileIO):
    """A file that takes what nobody reads any more: `rollcall verify TARGET | head -1` has read what it wanted."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """From now on a closed pipe at stdout or stderr is no error.

    Else it would take the place of the verdict: Click and Rich both end a program with exit 1 then, and a script that
    watches for 2 would miss it.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    """The same stream, over a file that cannot fail so; one that is no file of the process stays as it is."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
        return stream
    stream.flush()
    file = _Unread(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        # Python itself leaves out the buffer where PYTHONUNBUFFERED is set.
        cast("Any", file if isinstance(stream.buffer, io.FileIO) else io.BufferedWriter(file)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
