"""The Prefect server as a child of `rollcall serve`: it ends with its standard input, however its parent ended.

`python -m deployments.serving.leashed_server LOCK ARGUMENT...` runs `prefect ARGUMENT...`. LOCK is a file that is
locked for as long as the server lives, so that the next one can wait for its port and its database.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

SECONDS_TO_STOP = 10.0


def main() -> None:
    """Run the server until it ends, or until nobody holds the other end of standard input."""
    lock = Path(sys.argv[1]).open("a")  # noqa: SIM115 - held until the process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Thread(target=_follow, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.argv = ["prefect", *sys.argv[2:]]
    runpy.run_module("prefect", run_name="__main__")


def _follow(leash: int) -> None:
    """End the process when `leash` does: politely, then not."""
    while os.read(leash, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os._exit(1)


if __name__ == "__main__":
    main()
