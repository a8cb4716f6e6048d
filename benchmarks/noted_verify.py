"""`rollcall verify` in a process that notes where its time goes: what benchmarks/start_up.py runs.

Called with the command's own arguments; $ROLLCALL_NOTES is the file for the notes, seconds each. An import inside a
task counts as an import, not as the task's work.
"""

from __future__ import annotations

import builtins
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

spent = {"imports": 0.0, "tasks": 0.0}
tasks: dict[str, float] = {}
importing = 0
plain_import = builtins.__import__


def noting_import(*args: Any, **kwargs: Any) -> Any:
    """An import in an import is part of it."""
    global importing  # noqa: PLW0603 - one process, one count
    importing += 1
    began = time.monotonic()
    try:
        return plain_import(*args, **kwargs)
    finally:
        importing -= 1
        if not importing:
            spent["imports"] += time.monotonic() - began


def noting_task(make: Callable[..., Any]) -> Callable[..., Any]:
    """`orchestration.task`, whose tasks note how long their own work took."""

    def task(fn: Callable[..., Any], *, name: str, **rule: Any) -> Any:
        @functools.wraps(fn)
        def noted(*args: Any, **kwargs: Any) -> Any:
            began, imported = time.monotonic(), spent["imports"]
            try:
                return fn(*args, **kwargs)
            finally:
                took = time.monotonic() - began - (spent["imports"] - imported)
                spent["tasks"] += took
                tasks[name] = tasks.get(name, 0.0) + took

        return make(noted, name=name, **rule)

    return task


if __name__ == "__main__":
    builtins.__import__ = noting_import
    from tasks import orchestration

    orchestration.task = noting_task(orchestration.task)
    from deployments.__main__ import main

    sys.argv = ["rollcall", "verify", *sys.argv[1:]]
    try:
        main()
    finally:
        builtins.__import__ = plain_import
        Path(os.environ["ROLLCALL_NOTES"]).write_text(json.dumps({**spent, "by_task": tasks}))
