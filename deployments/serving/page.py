"""The page of all targets in Prefect's UI, kept up to date after checks that Prefect does not track: the watcher's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tasks.config import Config
from tasks.reports import TARGETS_KEY, targets_page

log = logging.getLogger("rollcall")

LOOK_SECONDS = 1.0
AT_MOST_EVERY = 5.0
"""Seconds: after an event that befell a hundred targets, the page is made a few times, not a hundred."""
AGAIN_AFTER = 60.0


class Page:
    """Made again when something has changed, by a thread of its own: nobody's alarm waits for it."""

    def __init__(self, config: Config, stopping: threading.Event, publish: Callable[[str, str, str], None]) -> None:
        """`publish`: takes key, Markdown and a few words; it may raise what it likes."""
        self._config, self._stopping, self._publish = config, stopping, publish
        self._changed = threading.Event()
        self._failed = False

    def changed(self) -> None:
        """There is something new to show. Returns at once."""
        self._changed.set()

    def keep(self) -> None:
        """Until all is to stop."""
        while not self._stopping.is_set():
            if self._changed.wait(LOOK_SECONDS):
                self._changed.clear()
                self._stopping.wait(AT_MOST_EVERY if self._made() else AGAIN_AFTER)

    def _made(self) -> bool:
        try:
            self._publish(TARGETS_KEY, *targets_page(self._config))
        except Exception as error:  # noqa: BLE001 - Prefect or the history is away; said once, and tried again
            if not self._failed:
                log.warning("The page of all targets could not be brought up to date (%s).", type(error).__name__)
            self._failed = True
            self._changed.set()
            return False
        self._failed = False
        return True
