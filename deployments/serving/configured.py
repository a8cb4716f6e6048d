"""Can the configuration file still be read?

Every run reads it anew; where it has a mistake by then, the run fails and knows nobody whom to tell.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from tasks.config import load
from tasks.errors import ConfigError

LOOK_SECONDS = 30.0


def keep_reading(file: Path, targets: Iterable[str], stopping: threading.Event) -> None:
    """Read it every half a minute until all is to stop. Raise ConfigError where it has a mistake, or a target less than
    when serve began: its runs fail."""
    names = list(targets)
    while True:
        found = load(str(file)).targets
        if gone := [each for each in names if each not in found]:
            raise ConfigError(
                f"{file} has no target {', '.join(gone)} any more; put it back, or restart rollcall serve."
            )
        if stopping.wait(LOOK_SECONDS):
            return
