"""Run the command line in a process that a named fault strikes at a named point: `POINT ACTION -- COMMAND …`.

The product has no hook for this: its functions are wrapped here, in the process of the test. ACTION is `kill` (SIGKILL,
as the kernel does when memory runs out) or `pause` (a file says that the point is reached, another that it goes on).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tenacity

from tasks import menu, orchestration
from tasks.backups import file, proof, take
from tasks.containers import programs
from tasks.databases.tally import Frozen
from tasks.history.store import History
from tasks.storage import catalogue, local
from tasks.storage.local import LocalStorage

REACHED, GO_ON = "reached", "go-on"
PAUSE_SECONDS = 60.0
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


def mid_dump(strike: Strike) -> None:
    """Strike once, when so many bytes of the dump have come."""
    whole, struck = programs.Helper._output, False

    def wrapped(self: programs.Helper) -> Iterator[bytes]:
        nonlocal struck
        read = 0
        for chunk in whole(self):
            read += len(chunk)
            if read > MID_DUMP_BYTES and not struck:
                struck = True
                strike()
            yield chunk

    programs.Helper._output = wrapped  # type: ignore[method-assign]


def _is_manifest(_partial: Path, target: Path) -> bool:
    return target.name == "manifest.json"


def _s3(name: str, *, late: bool = False, call: int = 1) -> Install:
    """boto3 is imported by those alone who need it."""

    def install(strike: Strike) -> None:
        from tasks.storage.s3 import S3Storage

        (after if late else before)(S3Storage, name, call)(strike)

    return install


POINTS: dict[str, Install] = {
    "lock taken": before(menu, "sweep"),
    "cluster judged": after(menu, "judge_cluster"),
    "helper started": after(programs, "_start_helper"),
    "tables locked": before(programs._Leash, "say", call=2),
    "while the tally runs": before(Frozen, "_counted"),
    "middle of the dump": mid_dump,
    "middle of a file": after(local, "_write_all"),
    "file written, not named": before(LocalStorage, "_reveal"),
    "file named, partial left": after(local, "_link"),
    "dump stored, globals not": before(menu, "take_globals"),
    "settings not stored": before(menu, "take_settings"),
    "before reading back": before(menu, "read_objects"),
    "while pg_restore reads": before(programs._Leash, "feed"),
    "before any manifest": before(file, "write_manifest"),
    "manifest written, not named": before(LocalStorage, "_reveal", when=lambda _self, _partial, to, _key: "manifest" in to.name),
    "manifest named, partial left": after(local, "_link", when=_is_manifest),
    "between two manifests": before(file, "write_manifest", call=2),
    "before the history": before(History, "record"),
    "before the pin": before(History, "set_pin"),
    "before rotation": before(file, "shelves"),
    "manifest rotated away": after(LocalStorage, "delete"),
    "one copy rotated away": after(file, "delete_backup"),
    "before telling": before(menu, "tell"),
    "second part of an upload": _s3("_send_part", call=2),
    "upload sent, not complete": _s3("_complete"),
    "upload complete": _s3("_complete", late=True),
    "before proof": before(proof, "read_back"),
    "before globals are asked": before(take, "take_globals"),
    "manifest read back": before(catalogue, "read_back"),
    "nowhere": lambda _strike: None,
}


def hurry() -> None:
    """Wait a moment where the product waits seconds before it tries again; how often it tries stays."""
    import botocore.endpoint

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


def main() -> None:
    """Install the fault, then be the command line."""
    point, action, _, *command = sys.argv[1:]
    hurry()
    POINTS[point]({"kill": _kill, "pause": _pause}[action])
    sys.argv = ["rollcall", *command]
    from deployments.cli import main as rollcall

    rollcall()


if __name__ == "__main__":
    main()
