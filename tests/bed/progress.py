"""What every part of the bed needs: where it may write, how it says what it does, how it waits."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".bed"
"""Everything the bed writes outside the engine; git ignores it and `make clean` removes it."""

POLL_SECONDS = 0.1


class BedError(Exception):
    """The bed cannot be set up; the message is one sentence for the person who asked for it."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done and, once it is, how long it took: a silent minute looks like a hang."""
    started = time.monotonic()
    say(f"{what} …")
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")


def say(what: str) -> None:
    """Print a line for whoever reads the log."""
    print(f"bed: {what}", file=sys.stderr, flush=True)


@contextmanager
def alone() -> Iterator[None]:
    """Let a second process wait for the first: both would start an engine and make the same images."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wait_until(done: Callable[[], bool], seconds: float, what: str, detail: Callable[[], str] = str) -> None:
    """Poll `done` until it is true.

    Raise BedError that names `what` and adds `detail()` when that takes more than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise BedError(f"{what} did not happen within {seconds:g} s. {detail()}".strip())
        time.sleep(POLL_SECONDS)


def run(command: Sequence[str], timeout: float = 900) -> str:
    """Return the output of a command; raise BedError with its last lines when it fails or takes too long."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{command[0]} could not be run: {error}") from error
    if result.returncode:
        tail = " | ".join((result.stderr or result.stdout).strip().splitlines()[-5:])
        raise BedError(f"{' '.join(command)} ended with {result.returncode}: {tail}")
    return result.stdout


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process of our own: politely, and after so long not."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
