"""One run at a time on a target: a lock that the kernel drops with the process, whatever ends it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tasks.config import Config
from tasks.errors import Busy, ConfigError

ASK_EVERY = 0.1  # seconds between two attempts to take a lock that is waited for


@contextmanager
def only_run(state: Path, target: str, run_of: str = "", patience: float = 0.0) -> Iterator[None]:
    """Hold the target's lock for the block. Raise Busy if another run holds it, ConfigError if `state` is unusable.

    run_of: the target whose run takes it, where that is another one; the file says so to whom it keeps out.
    patience: for how many seconds another run is waited for.
    """
    run_of = run_of or target
    path = state / "locks" / f"{target}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = path.open("a")
    except OSError as error:
        raise ConfigError(
            f"The state folder {state} cannot be used: {error.strerror}. Check `state` and its rights."
        ) from error
    with handle:
        given_up = time.monotonic() + patience
        while not _taken(handle):
            if time.monotonic() >= given_up:
                raise Busy(_busy(_holder(path) or target, run_of))
            time.sleep(ASK_EVERY)
        # Words alone: on a full disk the lock is as good without them.
        with suppress(OSError):
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), run_of.encode())
        yield


def _taken(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """The target whose run took the lock last; empty where that is not known."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _busy(holder: str, run_of: str) -> str:
    beside = "" if holder == run_of else f", which is on the container or volume of {run_of} too"
    return f"Another run is at work on {holder}{beside}; wait for it to end, then start this one again."


def sharing(config: Config, target: str) -> list[str]:
    """The targets, this one among them, that have its container or its pinned volume on the same engine, as far as the
    configuration tells: what a restore does to one of them is done to all."""
    own = config.target(target)
    return sorted(
        name
        for name, each in config.targets.items()
        if each.docker == own.docker and (each.container == own.container or each.pinned == own.pinned)
    )


@contextmanager
def only_run_on_volume(config: Config, targets: Iterable[str]) -> Iterator[None]:
    """Hold the locks of these targets, and of all others that share a container or a volume with one of them: for
    whoever stops containers or moves data. Two backups of one volume may run side by side; each holds its own lock.

    Raise what `only_run` raises; Busy names the target at work.
    """
    asked = list(targets)
    needed_for = {name: target for target in asked for name in sharing(config, target)} | {each: each for each in asked}
    with ExitStack() as held:
        for name, target in sorted(needed_for.items()):  # In one order, so that of two runs one goes on.
            held.enter_context(only_run(config.state, name, run_of=target))
        yield


def is_held(state: Path, target: str) -> bool:
    """Whether a run holds the target's lock right now."""
    path = state / "locks" / f"{target}.lock"
    try:
        handle = path.open("a")
    except OSError:
        return False
    with handle:
        return not _taken(handle)
