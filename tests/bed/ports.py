"""Ports that stay ours until this process ends, whether or not anybody listens at them yet.

A port that the system gives for a moment is given to the next who asks: another worker has it before our server is up,
or while our server is away. So each is locked for as long as we live, and lies below those that the system gives out.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

PORTS = range(20_000, 32_000)
LOCKS = Path(tempfile.gettempdir()) / "rollcall-bed-ports"
"""One for all checkouts on this machine."""


def free_port() -> int:
    """A port of this machine that nobody listens at, and that no other process of the bed will be given."""
    LOCKS.mkdir(mode=0o777, exist_ok=True)
    first = random.choice(PORTS)
    for port in (*range(first, PORTS.stop), *range(PORTS.start, first)):
        if _lock(port) and _is_free(port):
            return port
    raise OSError(f"No port from {PORTS.start} to {PORTS.stop - 1} is free.")


def _lock(port: int) -> bool:
    """Whether the port is ours from now on. The kernel lets go of the lock when this process ends, however it does."""
    file = os.open(LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("", port)).close()
    except OSError:
        return False
    return True
