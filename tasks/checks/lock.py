"""One run at a time on a target: a lock that the kernel drops with the process, whatever ends it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import Busy, ConfigError


@contextmanager
def only_run(state: Path, target: str) -> Iterator[None]:
    """Hold the target's lock for the block. Raise Busy if another run holds it, ConfigError if `state` is unusable."""
    path = state / "locks" / f"{target}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = path.open("a")
    except OSError as error:
        raise ConfigError(
            f"The state folder {state} cannot be used: {error.strerror}. Check `state` and its rights."
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"Another run is at work on {target}; wait for it to end, then start this one again.") from error
        yield


def is_held(state: Path, target: str) -> bool:
    """Whether a run holds the target's lock right now."""
    path = state / "locks" / f"{target}.lock"
    try:
        handle = path.open("a")
    except OSError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
