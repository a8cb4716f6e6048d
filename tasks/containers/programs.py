"""Run one of PostgreSQL's own programs, of the server's own version, next to the server, and stream what it prints.

Two ways, one face. Where the engine shares our kernel, a helper container from the database's own image joins the
database's network and writes into a FIFO: half the processor time of the other way, which is `docker exec` and its
multiplexed stream (Docker Desktop, remote engines, a worker in a container).

Both hang on a leash: the program's standard input is a connection of ours to the engine. When this process ends,
however it ends, the kernel closes the connection, the shell at the other end reads end-of-file and stops the program.
The password travels over the same line, so it is in no argument list, no inspect output and no file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import docker
from docker.errors import APIError, NotFound
from docker.utils.socket import STDOUT, frames_iter

from tasks.containers.engine import OUR_LABEL, shares_this_kernel
from tasks.containers.observe import Container
from tasks.errors import DatabaseError, DumpFailed, DumpInterrupted, RollcallError, TablesLocked

log = logging.getLogger("rollcall")

CHUNK = 1 << 20
LAST_WORDS = 4000  # characters of stderr that an error carries at most

# Line one is the password. The program starts when line two, its argument $1, is there; end-of-file ends it.
LEASHED = """
%(prologue)s
exec 3<&0
IFS= read -r PGPASSWORD <&3 || exit 9
if [ -n "$PGPASSWORD" ]; then export PGPASSWORD; else unset PGPASSWORD; fi
IFS= read -r given <&3 || exit 9
set -- "$given"
{ %(program)s ; } %(output)s & program=$!
{ cat <&3 >/dev/null; kill "$program" 2>/dev/null; } & leash=$!
wait "$program"; status=$?
kill "$leash" 2>/dev/null
%(epilogue)s
exit "$status"
"""

# The same for a program that reads a stream of ours: standard input itself, which ends with us, is the leash.
FED = """
%(prologue)s
exec 3<&0
IFS= read -r PGPASSWORD <&3 || exit 9
IFS= read -r given <&3 || exit 9
set -- "$given"
{ %(program)s ; } <&3 %(output)s
status=$?
%(epilogue)s
exit "$status"
"""


@dataclass(frozen=True)
class Program:
    """What to run: a line of shell in which every variable part is quoted, the server's password, and a deadline in
    seconds. `fed`: the program reads a stream that we send after its argument line."""

    line: str
    password: str = ""
    deadline: float = 6 * 3600.0
    fed: bool = False
    host_network: bool = False

    def script(self, prologue: str = "", output: str = "", epilogue: str = "") -> str:
        """The whole shell script around the program."""
        frame = FED if self.fed else LEASHED
        return frame % {"program": self.line, "prologue": prologue, "output": output, "epilogue": epilogue}


class Running(Protocol):
    """A program that waits for its argument line."""

    def say(self, line: str) -> None:
        """Send the argument line: the program starts."""

    def feed(self, chunks: Iterator[bytes]) -> None:
        """Send a stream, beside the caller, until it ends or the program wants no more of it. What the stream raises
        is raised by `chunks`."""

    def chunks(self) -> Iterator[bytes]:
        """Its standard output. After the last chunk: DumpFailed if it did not exit 0, DumpInterrupted if the server
        went away or the deadline passed."""


class _Leash:
    """Our end of the program's standard input."""

    def __init__(self, connection: Any, program: Program) -> None:
        self._file = connection
        self._socket = getattr(connection, "_sock", connection)
        self._feeder: threading.Thread | None = None
        self.failure: RollcallError | None = None
        if "\n" in program.password:
            raise DumpFailed("The password contains a line break, which PostgreSQL's own programs cannot take.")
        self.say(program.password)

    def say(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")

    def feed(self, chunks: Iterator[bytes]) -> None:
        self._feeder = threading.Thread(target=self._send, args=(chunks,), name="feed", daemon=True)
        self._feeder.start()

    def _send(self, chunks: Iterator[bytes]) -> None:
        """A closed line is no error here: a program that has read enough hangs up."""
        try:
            for chunk in chunks:
                self._socket.sendall(chunk)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        except RollcallError as error:
            self.failure = error
            self.close()

    def hang_up(self) -> None:
        """End the connection; whoever reads from it or sends to it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up; a feeder that is still sending is stopped by it."""
        self.hang_up()
        with contextlib.suppress(OSError):
            self._file.close()
            self._socket.close()
        if self._feeder and self._feeder is not threading.current_thread():
            self._feeder.join()


def last_words(stderr: str) -> str:
    """The end of what a program said, in one line."""
    return " ".join(stderr.strip()[-LAST_WORDS:].split()) or "it said nothing"


# What libpq and the server say when trying again may help.
PASSING = (
    "server closed the connection",
    "terminating connection",
    "could not receive data",
    "no connection to the server",
    "Connection refused",
    "Connection reset",
    "SSL SYSCALL",
    "is shutting down",
    "is starting up",
    "in recovery mode",
    "too many clients",
)
# pg_dump keeps --lock-wait-timeout by means of a statement timeout, which it sets for nothing else.
WAITED_FOR_A_LOCK = ("could not obtain lock", "lock timeout", "due to statement timeout")


def _failure(status: int | None, stderr: str) -> DatabaseError:
    words = last_words(stderr).rstrip(".")
    if status is None:
        return DumpInterrupted(f"The dump program was ended from outside: {words}.")
    if any(each in stderr for each in WAITED_FOR_A_LOCK):
        return TablesLocked(f"The dump program waited for a lock that another session holds or waits for: {words}.")
    if any(each in stderr for each in PASSING):
        return DumpInterrupted(f"The dump program lost its server: {words}.")
    return DumpFailed(f"The dump program failed (exit {status}): {words}.")


def _too_late() -> DumpInterrupted:
    return DumpInterrupted("The dump did not end before its deadline; raise `deadline` if it needs longer.")


class Helper:
    """A program in a helper container of the database's image; output through a FIFO in a folder of ours."""

    def __init__(
        self, client: docker.DockerClient, folder: Path, container_id: str, leash: _Leash, deadline: float
    ) -> None:
        self._client, self._folder, self._id, self._leash = client, folder, container_id, leash
        self._ends = time.monotonic() + deadline
        self._fifo = os.open(folder / "out", os.O_RDONLY | os.O_NONBLOCK)
        self.say, self.feed = leash.say, leash.feed

    def await_ready(self) -> None:
        """Return once the helper is seen to share our folder. Raise _NoHelper if it does not within ten seconds."""
        given_up = time.monotonic() + 10
        while not (self._folder / "ready").exists():
            if time.monotonic() > given_up or not self._alive():
                raise _NoHelper("it does not share a folder with this program")
            time.sleep(0.005)

    def chunks(self) -> Iterator[bytes]:
        """See Running."""
        yield from self._output()
        status = self._status()
        if self._leash.failure:
            raise self._leash.failure
        if status != 0:
            stderr = (self._folder / "err").read_text(errors="replace") if (self._folder / "err").exists() else ""
            raise _failure(status, stderr)

    def _output(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._fifo, select.POLLIN | select.POLLHUP)
        while True:
            if time.monotonic() > self._ends:
                raise _too_late()
            events = poll.poll(1000)
            if not events:
                if not self._alive():
                    return
                continue
            chunk = os.read(self._fifo, CHUNK)
            if chunk:
                yield chunk
            elif events[0][1] & select.POLLHUP:
                return

    def _alive(self) -> bool:
        try:
            return bool(self._client.api.inspect_container(self._id)["State"]["Running"])
        except NotFound:
            return False

    def _status(self) -> int | None:
        """The exit status the script wrote; None if it was ended before it could."""
        given_up = time.monotonic() + 15
        while not (self._folder / "status").exists():
            if time.monotonic() > given_up or not self._alive():
                break
            time.sleep(0.02)
        path = self._folder / "status"
        return int(path.read_text()) if path.exists() else None

    def close(self) -> None:
        """End the program if it still runs; remove helper and folder."""
        self._leash.close()
        os.close(self._fifo)
        with contextlib.suppress(NotFound, APIError):
            self._client.api.remove_container(self._id, force=True)
        shutil.rmtree(self._folder, ignore_errors=True)


class Exec:
    """A program started by `docker exec` in the database's own container."""

    def __init__(self, client: docker.DockerClient, exec_id: str, stream: Any, leash: _Leash, deadline: float) -> None:
        self._client, self._id, self._stream, self._leash = client, exec_id, stream, leash
        # A program that has gone quiet cannot be asked for the time: hanging up on it ends the wait for its output.
        self._watch = threading.Timer(deadline, leash.hang_up)
        self._watch.daemon = True
        self._watch.start()
        self._ends = time.monotonic() + deadline
        self.say, self.feed = leash.say, leash.feed

    def chunks(self) -> Iterator[bytes]:
        """See Running."""
        stderr = ""
        for kind, chunk in frames_iter(self._stream, tty=False):  # type: ignore[no-untyped-call]
            if time.monotonic() > self._ends:
                break
            if kind == STDOUT:
                yield chunk
            else:
                stderr = (stderr + chunk.decode(errors="replace"))[-LAST_WORDS:]
        if time.monotonic() > self._ends:
            raise _too_late()
        status = self._client.api.exec_inspect(self._id)["ExitCode"]
        if self._leash.failure:
            raise self._leash.failure
        if status != 0:
            raise _failure(status, stderr)

    def close(self) -> None:
        """Let go of the leash: the program ends if it still runs."""
        self._watch.cancel()
        self._leash.close()


@contextmanager
def beside(
    client: docker.DockerClient,
    container: Container,
    program: Program,
    *,
    owner: str,
    by_exec: bool | None = None,
) -> Iterator[Running]:
    """Start `program` next to the server, waiting for its argument line; nothing of it is left after the block.

    by_exec: which way; None takes a helper container where one works, else `docker exec`.
    owner: labels the helper, so that a later run can sweep what a killed engine left. Raise EngineError.
    """
    if by_exec is None:
        by_exec = not shares_this_kernel(client)
    running: Helper | Exec
    try:
        running = (
            _start_exec(client, container, program) if by_exec else _start_helper(client, container, program, owner)
        )
    except _NoHelper as reason:
        log.warning("No helper container can be used (%s); docker exec is used instead, which is slower.", reason)
        running = _start_exec(client, container, program)
    try:
        yield running
    finally:
        running.close()


class _NoHelper(Exception):
    """A helper container does not start, or does not see our folder."""


def _start_helper(client: docker.DockerClient, container: Container, program: Program, owner: str) -> Helper:
    folder = Path(tempfile.mkdtemp(prefix="rollcall-"))
    os.mkfifo(folder / "out", 0o600)
    script = program.script(
        prologue="[ -p /rollcall/out ] && : > /rollcall/ready || exit 9",
        output="> /rollcall/out 2> /rollcall/err",
        epilogue="echo $status > /rollcall/s && mv /rollcall/s /rollcall/status",
    )
    running = None
    try:
        created = client.api.create_container(
            container.image_id,
            ["-c", script],
            entrypoint=["sh"],
            stdin_open=True,
            user=f"{os.getuid()}:{os.getgid()}",
            labels={OUR_LABEL: owner},
            host_config=_confined(client, container, folder, host_network=program.host_network),
        )
        leash = client.api.attach_socket(created["Id"], params={"stdin": 1, "stream": 1})
        running = Helper(client, folder, created["Id"], _Leash(leash, program), program.deadline)
        client.api.start(created["Id"])
        running.await_ready()
    except BaseException as error:
        running.close() if running else shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, APIError):
            raise _NoHelper(str(error.explanation or error)) from error
        raise
    return running


def _confined(client: docker.DockerClient, container: Container, folder: Path, *, host_network: bool) -> dict[str, Any]:
    """No capability, nothing writable but our folder, and no anonymous volume for those that the image declares."""
    image: dict[str, Any] = client.api.inspect_image(container.image_id)  # type: ignore[no-untyped-call]
    declared = image["Config"].get("Volumes") or {}
    config: dict[str, Any] = client.api.create_host_config(
        network_mode="host" if host_network else f"container:{container.id}",
        binds={str(folder): {"bind": "/rollcall", "mode": "rw"}},
        tmpfs=dict.fromkeys(declared, "size=1m"),
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        auto_remove=True,
    )
    return config


def _start_exec(client: docker.DockerClient, container: Container, program: Program) -> Exec:
    script = program.script()
    started = client.api.exec_create(container.id, ["sh", "-c", script], stdin=True, stdout=True, stderr=True)
    stream = client.api.exec_start(started["Id"], socket=True)
    return Exec(client, started["Id"], stream, _Leash(stream, program), program.deadline)


def sweep_helpers(client: docker.DockerClient, owner: str) -> list[str]:
    """Remove the helpers that a killed run of `owner` left; the caller holds the target's lock. Return their ids."""
    left = client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={owner}"})
    for each in left:
        with contextlib.suppress(NotFound, APIError):
            client.api.remove_container(each["Id"], force=True)
    return [str(each["Id"]) for each in left]
