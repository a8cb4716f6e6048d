"""The bounded way from one producer to one storage's `put`, with a put that may end at any moment on either
side."""

from __future__ import annotations

import threading
import time
from collections import deque

from tasks.errors import StorageUnreachable


class Abandoned(Exception):
    """The producer failed or the run was stopped: the object must not appear. Never leaves tasks.storage."""


class Feed:
    """A source that another thread fills. `limit` is how many bytes may wait in it: more, and the giver
    waits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._start = 0  # How much of the first piece is read.
        self._waiting = 0
        self._ended = self._abandoned = self._closed = False
        self._change = threading.Condition()

    def give(self, piece: bytes, patience: float) -> None:
        """Add a piece, waiting for room; nothing happens once the reader has closed.

        Raise StorageUnreachable if the reader takes nothing for `patience` seconds.
        """
        with self._change:
            while self._pieces and self._waiting + len(piece) > self._limit and not self._closed:
                self._wait_for_the_reader(patience)
            if not self._closed:
                self._pieces.append(piece)
                self._waiting += len(piece)
                self._change.notify_all()

    def _wait_for_the_reader(self, patience: float) -> None:
        before, deadline = self._waiting, time.monotonic() + patience
        while self._waiting == before and not self._closed:
            if not self._change.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                raise StorageUnreachable(f"it took no bytes for {patience:g} s")

    def end(self) -> None:
        """Nothing more will come: the object is complete."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def abandon(self) -> None:
        """The object must not appear: the reader's next `read` raises Abandoned, whatever still waits
        here."""
        with self._change:
            self._abandoned = True
            self._change.notify_all()

    def close(self) -> None:
        """The reader is done, well or not: the giver need wait no more."""
        with self._change:
            self._closed = True
            self._pieces.clear()
            self._waiting = 0
            self._change.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the reader is done."""
        return self._closed

    def read(self, n: int, /) -> bytes:
        """Exactly `n` bytes, fewer at the end only. Raise Abandoned."""
        taken: list[bytes] = []
        missing = n
        while missing:
            piece = self._take(missing)
            if not piece:
                break
            taken.append(piece)
            missing -= len(piece)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _take(self, most: int) -> bytes:
        """The next piece, or its first `most` bytes; nothing at the end."""
        with self._change:
            self._change.wait_for(lambda: self._pieces or self._ended or self._abandoned)
            if self._abandoned:
                raise Abandoned
            if not self._pieces:
                return b""
            head, start = self._pieces[0], self._start
            piece = head[start : start + most] if start or len(head) > most else head
            self._start += len(piece)
            if self._start == len(head):
                self._pieces.popleft()
                self._start = 0
            self._waiting -= len(piece)
            self._change.notify_all()
            return piece
