"""Run the command line in processes that a named fault strikes at a named point.

The product has no hook for this: its functions are wrapped here. The fault's action is `kill` (SIGKILL, as the kernel
does when memory runs out), `fail` (an error is raised) or `pause` (a file says that the point is reached, another that
it goes on). Several points and as many actions are joined by `|`.

Started as a program it imports everything once and then forks a process for each line of JSON it reads: a process of
its own for every run, without two seconds of imports for each of the hundreds that these tests need.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import importlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import tenacity
from docker import APIClient

from deployments import cli
from tasks import menu, orchestration
from tasks.backups import file
from tasks.containers import programs
from tasks.containers.by_helper import Helper
from tasks.containers.leash import Leash
from tasks.databases.tally import Frozen
from tasks.errors import RestoreError
from tasks.history.store import History
from tasks.leaving import act
from tasks.restore import steps
from tasks.storage import catalogue, local
from tasks.storage.local import LocalStorage
from tasks.storage.s3 import S3Storage

for each in ("flows.backup", "flows.verify", "flows.restore_volume", "flows.recover", "pandas", "apprise", "boto3"):
    importlib.import_module(each)

REACHED, GO_ON = "reached", "go-on"
PAUSE_SECONDS = 300.0
MID_DUMP_BYTES = 512 * 1024

Strike = Callable[[], None]
Install = Callable[[Strike], None]


def before(owner: Any, name: str, call: int = 1, when: Callable[..., bool] = lambda *_: True) -> Install:
    """Strike before the `call`-th call of `owner.name` whose arguments `when` accepts."""
    return lambda strike: _wrap(owner, name, call, when, strike, first=True)


def after(owner: Any, name: str, call: int = 1, when: Callable[..., bool] = lambda *_: True) -> Install:
    """Strike after it."""
    return lambda strike: _wrap(owner, name, call, when, strike, first=False)


def _wrap(owner: Any, name: str, call: int, when: Callable[..., bool], strike: Strike, *, first: bool) -> None:
    whole, calls = getattr(owner, name), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += bool(when(*args))
        struck = calls == call and when(*args)
        if struck and first:
            strike()
        result = whole(*args, **kwargs)
        if struck and not first:
            strike()
        return result

    setattr(owner, name, wrapped)


def inside(name: str, call: int = 1, seconds: float = 0.3) -> Install:
    """Strike while the engine is at work: in the `call`-th call of that name that takes longer than so many seconds."""

    def install(strike: Strike) -> None:
        whole, calls = getattr(APIClient, name), itertools.count(1)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            timer = threading.Timer(seconds, lambda: next(calls) == call and strike())
            timer.start()
            try:
                return whole(*args, **kwargs)
            finally:
                timer.cancel()

        setattr(APIClient, name, wrapped)

    return install


def mid_dump(strike: Strike) -> None:
    """Strike once, when so many bytes of the dump have come."""
    whole, struck = Helper._output, False

    def wrapped(self: Helper) -> Iterator[bytes]:
        nonlocal struck
        read = 0
        for chunk in whole(self):
            read += len(chunk)
            if read > MID_DUMP_BYTES and not struck:
                struck = True
                strike()
            yield chunk

    Helper._output = wrapped  # type: ignore[method-assign]


def around(step: str, which: str, *, first: bool) -> Install:
    """Strike before or after a restore's step is done or undone: between its two lines in the journal."""

    def install(strike: Strike) -> None:
        act = steps.STEPS[step]
        whole = getattr(act, which)

        def wrapped(hands: Any) -> Any:
            if first:
                strike()
            result = whole(hands)
            if not first:
                strike()
            return result

        steps.STEPS[step] = dataclasses.replace(act, **{which: wrapped})

    return install


def _is_manifest(_partial: Path, target: Path) -> bool:
    return target.name == "manifest.json"


POINTS: dict[str, Install] = {
    "lock taken": before(menu, "sweep"),
    "helper started": after(programs, "start_helper"),
    "tables locked": before(Leash, "say", call=2),
    "while the tally runs": before(Frozen, "_counted"),
    "middle of the dump": mid_dump,
    "middle of a file": after(local, "_write_all"),
    "file named, partial left": after(local, "_link"),
    "dump stored, globals not": before(menu, "take_globals"),
    "before reading back": before(menu, "read_objects"),
    "before any manifest": before(file, "write_manifest"),
    "manifest written, not named": before(
        LocalStorage, "_reveal", when=lambda _self, _partial, to, _key: "manifest" in to.name
    ),
    "manifest named, partial left": after(local, "_link", when=_is_manifest),
    "between two manifests": before(file, "write_manifest", call=2),
    "before the history": before(History, "record"),
    "before rotation": before(menu, "rotate"),
    "manifest rotated away": after(LocalStorage, "delete"),
    "one copy rotated away": after(file, "delete_backup"),
    "second part of an upload": before(S3Storage, "_send_part", call=2),
    "upload complete": after(S3Storage, "_complete"),
    "manifest not read back": before(catalogue, "read_back"),
    "approved": before(menu, "confirm_unchanged"),
    "project stopped": after(menu, "stop_all"),
    "before compose down": before(menu, "bring_down"),
    "after compose down": after(menu, "bring_down"),
    "one volume removed": after(act, "remove_unused"),
    "two volumes removed": after(act, "remove_unused", call=2),
    "nowhere": lambda _strike: None,
}
POINTS |= {f"inside {name}": inside(name) for name in ("stop", "start")}
POINTS |= {f"before {name}": around(name, "do", first=True) for name in steps.STEPS}
POINTS |= {f"after {name}": around(name, "do", first=False) for name in steps.STEPS}
POINTS |= {f"before undoing {name}": around(name, "undo", first=True) for name in steps.STEPS}
POINTS |= {f"after undoing {name}": around(name, "undo", first=False) for name in steps.STEPS}


def hurry() -> None:
    """Wait a moment where the product waits seconds before it tries again; how often it tries stays."""
    orchestration.wait_exponential_jitter = lambda **_: tenacity.wait_fixed(0.1)  # type: ignore[attr-defined]
    botocore.endpoint.time = SimpleNamespace(sleep=lambda _: time.sleep(0.05), time=time.time)  # type: ignore[attr-defined]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _pause() -> None:
    Path(os.environ["FAULTS_FOLDER"], REACHED).touch()
    given_up = time.monotonic() + PAUSE_SECONDS
    while not Path(os.environ["FAULTS_FOLDER"], GO_ON).exists():
        if time.monotonic() > given_up:
            sys.exit("faults: nobody said to go on")
        time.sleep(0.02)


def _fail() -> None:
    raise RestoreError("The test let this step fail.")


ACTIONS: dict[str, Strike] = {"kill": _kill, "pause": _pause, "fail": _fail}


def run(request: dict[str, Any]) -> None:
    """Become the run that was asked for: its own session, folder of output, environment and fault."""
    os.setsid()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.dup2(os.open(request.get("stdin", os.devnull), os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    hurry()
    for at, action in zip(request["at"].split("|"), request["action"].split("|"), strict=True):
        POINTS[at](ACTIONS[action])
    sys.argv = ["rollcall", *request["command"]]
    cli.main()


def answer(request: dict[str, Any]) -> Any:
    """The pid of a started run; the exit code (minus the signal) of one that ended, else None."""
    if "pid" in request:
        pid, status = os.waitpid(request["pid"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    pid = os.fork()
    if pid == 0:
        try:
            run(request)
        finally:  # Nothing of this loop may go on in the child; a traceback is for the test to find.
            code = _leave()
            os._exit(code)
    return pid


def _leave() -> int:
    error = sys.exc_info()[1]
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
