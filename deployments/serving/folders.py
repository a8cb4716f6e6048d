"""The folders that a serve works in: the state folder, which one serve alone may use, and the project's own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path

from deployments.serving.wanted import ROOT
from tasks.errors import Busy, ConfigError

PROBE_BYTES = 1_000_000
"""As much as an empty database of a Prefect server takes."""


def work_from_the_project() -> None:
    """Make the project's folder the current one, as it is that of every run.

    To look for a flow's hooks, when it ends a run, Prefect's runner "downloads" its code into the current folder:
    it would copy the whole project to wherever serve was started.
    """
    home = os.environ.get("PREFECT_HOME")
    if home:
        os.environ["PREFECT_HOME"] = str(Path(home).expanduser().absolute())
    os.chdir(ROOT)


def check_writable(state: Path) -> None:
    """Raise ConfigError where nothing can be written to the state folder, or there is no room for even a little."""
    probe = state / "serve" / f"probe-{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        advice = "make room on its disk" if error.errno in (ENOSPC, EDQUOT) else "check `state` and its rights"
        raise ConfigError(f"The state folder {state} cannot be written to: {error.strerror}; {advice}.") from error


@contextmanager
def only_service(state: Path) -> Iterator[None]:
    """Hold the state folder's one place for a serve. Raise Busy if another has it, ConfigError if it is unusable."""
    folder = state / "serve"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (folder / "lock").open("a+")
    except OSError as error:
        raise ConfigError(f"The state folder {state} cannot be used: {error.strerror}. Check `state`.") from error
    with handle as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise Busy(
                f"Another rollcall serve (process {lock.read().strip()}) uses {state}; stop that one first."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
