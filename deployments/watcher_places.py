"""How many checks run at once: so many places, and one that is held for too long is given to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLACES = 4
GIVE_UP_AFTER = 600.0
"""Seconds. Who counts for longer goes on without a place: four checks that hang must not end the others' watch."""


class Places:
    """Places for checks. May be used from any thread."""

    def __init__(self, places: int = PLACES, give_up_after: float = GIVE_UP_AFTER) -> None:
        self._free = threading.Semaphore(places)
        self._give_up_after = give_up_after

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a place, and have it until the block ends, or for so long at most."""
        self._free.acquire()
        held = threading.Lock()

        def give_back() -> None:
            if held.acquire(blocking=False):
                self._free.release()

        try:
            with after(self._give_up_after, give_back):
                yield
        finally:
            give_back()


@contextmanager
def after(seconds: float, what: Callable[[], None]) -> Iterator[None]:
    """Do `what`, in a thread of its own, where the block has not ended after so long."""
    timer = threading.Timer(seconds, what)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
