"""Where the demo plays: its folder, its environment, and how it runs other programs."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployments.demo.voice import WIDTH, DemoError, coloured

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / ".demo"
"""Everything the demo writes outside the engine; git ignores it."""

TARGET = "knowledge_os"
CONTAINER = "knowledge_postgres"
RIGHT_VOLUME = "atra_knowledge_postgres_data"
WRONG_VOLUME = "knowledge_os_postgres_data"
PROJECTS = ("atra", "knowledge_os")
DEFAULT_IMAGE = "rollcall-bed/postgres:17"


@dataclass
class Scene:
    """The environment that all programs of the demo share. It grows as servers come up."""

    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: Path | None = None,
        typed: str = "",
        cwd: Path = ROOT,
        seconds: float = 180,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program; its errors are added to the demo's log as well. Raise DemoError if it takes too long.

        It reads the file `stdin`, or what a person would have `typed`.
        """
        given = stdin.read_text() if stdin else typed
        try:
            done = subprocess.run(
                command, input=given, env=self.environment, cwd=cwd, capture_output=True, text=True,
                timeout=seconds, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise DemoError(f"There is no program {command[0]!r} here; run `make bed` first.") from error
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"`{shlex.join(command)}` did not end within {seconds:g} s.") from error
        log(f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}[exit {done.returncode}]\n")
        return done

    def must(self, command: Sequence[str], *, stdin: Path | None = None, cwd: Path = ROOT) -> str:
        """Run a program that has to succeed and return its output. Raise DemoError with its last words if not."""
        done = self.run(command, stdin=stdin, cwd=cwd)
        if done.returncode:
            words = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise DemoError(f"`{shlex.join(command)}` ended with {done.returncode}: {words}")
        return done.stdout


def new_scene() -> Scene:
    """A scene with the caller's environment, less what would lead Compose or Prefect elsewhere."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMPOSE_", "PREFECT_")) and name not in {"ROLLCALL_CONFIG", "KEEP"}
    }
    ours |= {
        "ROLLCALL_DEMO_IMAGE": os.environ.get("ROLLCALL_DEMO_IMAGE") or DEFAULT_IMAGE,
        "KNOWLEDGE_OS_PASSWORD": secrets.token_urlsafe(18),
        "ROLLCALL_CONFIG": str(FOLDER / "targets.yaml"),
        "COLUMNS": str(WIDTH),
        "PYTHONUNBUFFERED": "1",
        "DOCKER_HOST": _engine(),
    }
    if coloured():
        ours["FORCE_COLOR"] = "1"
    return Scene(ours)


def _engine() -> str:
    """The engine that the `docker` command uses. Everything is told it, so that all talk to the same one."""
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    question = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError as error:
        raise DemoError("There is no `docker` command here; run `make bed` first.") from error
    return answer or "unix:///var/run/docker.sock"


def rollcall(*arguments: str) -> list[str]:
    """The command line of the program itself, whether or not its script is on PATH."""
    return [sys.executable, "-m", "deployments", *arguments]


def free_port() -> int:
    """A TCP port of the loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll `done`; raise DemoError that names `what` if it is not true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not come within {seconds:g} s; see {FOLDER.name}/logs.")
        time.sleep(0.1)


def log(text: str) -> None:
    """Add to the demo's log, which is named where something fails."""
    (FOLDER / "logs").mkdir(parents=True, exist_ok=True)
    with (FOLDER / "logs/demo.log").open("a") as file:
        file.write(text)


@contextmanager
def only_demo() -> Iterator[None]:
    """Hold the demo's lock: container and volumes have fixed names, so two at once would meet."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError("Another demo is running in this checkout; wait for its end.") from error
        yield


def lay_out() -> None:
    """Copy the Compose projects into the demo's folder: a restore mends one of them."""
    for name in (*PROJECTS, "initdb"):
        shutil.copytree(HERE / name, FOLDER / name)


def empty_folder() -> None:
    """Remove what a demo wrote, all but the lock that this one holds."""
    for entry in FOLDER.iterdir() if FOLDER.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
