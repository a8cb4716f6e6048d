"""Which process is at work, put down so that another one can tell whether it has ended."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from tasks.models import Model

_PROC = Path("/proc")


class Process(Model):
    """A process. place: within which its number is its own; started: in ticks since the machine did, None where it does
    not say."""

    place: str
    pid: int
    started: int | None


def this_process() -> Process:
    """The one that runs this."""
    return Process(place=_place(), pid=os.getpid(), started=_started(os.getpid()))


def has_ended(process: Process) -> bool:
    """True where it certainly has; False also for one of another machine or container, or of before a restart: nobody
    knows."""
    if process.place != _place():
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # It is another user's.
    try:
        started = _started(process.pid)
    except ProcessLookupError:
        return True
    return None not in (started, process.started) and started != process.started


@cache
def _place() -> str:
    """This start of this machine and, of its containers, this one (boot_id of proc_sys_kernel(5), pid_namespaces(7));
    the machine's name where it has no /proc."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> int | None:
    """Field 22 of proc_pid_stat(5), which no later process of the same number shares; None where it cannot be read.

    Raise ProcessLookupError for one that has ended and only waits for its parent to take note.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field, the program's name, may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZXx":
        raise ProcessLookupError
    return int(fields[19])
