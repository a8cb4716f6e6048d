"""What the watcher tells by itself: sent beside the watch, for a destination that does not answer takes half a minute,
and sent again to those who have not heard it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence

from tasks.alerts.message import Message
from tasks.alerts.tell import destinations, reach
from tasks.config import Config

log = logging.getLogger("rollcall")

AGAIN_AFTER, LONGEST_WAIT = 30.0, 600.0
"""Seconds before a further attempt, doubling from one to the next."""


class Word(threading.Thread):
    """One message, until everybody has heard it, it is dropped or `stop` is set.

    answers: what it is the good news after; those are sent no more, and where nobody heard any of them, this is sent to
    nobody. heard: whether anybody has.
    """

    def __init__(
        self, settings: Config, message: Message, stop: threading.Event, answers: Sequence[Word] | None = None
    ) -> None:
        super().__init__(daemon=True, name="rollcall-tell")
        self.heard = False
        self._settings, self._message, self._stop_all, self._answers = settings, message, stop, answers
        self._dropped = threading.Event()

    def drop(self) -> None:
        """Make no further attempt."""
        self._dropped.set()

    def run(self) -> None:
        """Send it."""
        for each in self._answers or ():
            each.drop()
            each.join()
        if self._answers is not None and not any(each.heard for each in self._answers):
            return
        left: Collection[str] = set(destinations(self._settings))
        said: set[str] = set()
        pause = AGAIN_AFTER
        while not self._stop_all.is_set() and not self._dropped.is_set():
            unheard = reach(self._settings, self._message, left)
            self.heard = self.heard or len(unheard) < len(left)
            for sentence in {*unheard.values()} - said:
                log.warning("%s", sentence)
            said |= {*unheard.values()}
            left = unheard.keys()
            if not left:
                return
            self._dropped.wait(pause)
            pause = min(2 * pause, LONGEST_WAIT)
