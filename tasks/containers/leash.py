"""A program on a leash: what to run, the shell around it, our end of its standard input, and how its end is told.

When this process ends, however it ends, the kernel closes the connection that is the program's standard input; the
shell at the other end reads end-of-file and stops the program. The password travels over the same line, so it is in no
argument list, no inspect output and no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tasks.containers.line import Line
from tasks.errors import DatabaseError, DumpFailed, DumpInterrupted, RollcallError, TablesLocked

LAST_WORDS = 4000  # characters of stderr that an error carries at most

# No process of it may outlive its shell. Started by `docker exec`, it would become a child of process 1, which is the
# postmaster itself: and the postmaster takes an unknown child that ends by a signal for a crashed backend, and restarts
# every session of the database (PostgreSQL source, postmaster.c, process_pm_child_exit). So whatever is killed here is
# waited for here, and the leash is a builtin `read`, no process of its own.
#
# Line one is the password. The program starts when line two, its argument $1, is there; end-of-file ends it.
LEASHED = """
%(prologue)s
exec 3<&0
IFS= read -r PGPASSWORD <&3 || exit 9
if [ -n "$PGPASSWORD" ]; then export PGPASSWORD; else unset PGPASSWORD; fi
IFS= read -r given <&3 || exit 9
set -- "$given"
{ %(program)s ; } %(output)s & program=$!
{ read -r end <&3; kill "$program" 2>/dev/null; } & leash=$!
wait "$program"; status=$?
kill "$leash" 2>/dev/null; wait "$leash" 2>/dev/null
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
    password: str = field(default="", repr=False)
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

    def stop(self, reason: RollcallError) -> None:
        """End the program, from any thread; `chunks` raises `reason`."""

    def chunks(self) -> Iterator[bytes]:
        """Its standard output. After the last chunk: DumpFailed if it did not exit 0, DumpInterrupted if the server
        went away or the deadline passed."""


class Leash(Line):
    """Our end of the program's standard input."""

    def __init__(self, connection: Any, program: Program) -> None:
        super().__init__(connection)
        if "\n" in program.password:
            raise DumpFailed("The password contains a line break, which PostgreSQL's own programs cannot take.")
        self.say(program.password)

    def say(self, line: str) -> None:
        """See Running. A line that broke is told by `chunks`, unless why was known before."""
        try:
            self._socket.sendall(line.encode() + b"\n")
        except OSError:
            self.failure = self.failure or line_broke()

    def stop(self, reason: RollcallError) -> None:
        """See Running."""
        self.failure = reason
        self.hang_up()


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
WAITED_FOR_A_LOCK = ("could not obtain lock", "lock timeout", "due to statement timeout", "deadlock detected")
# What pg_dump says of a view, function or sequence, which nothing locks for it, that was dropped under its hands.
CHANGED_MEANWHILE = ("cache lookup failed", "could not open relation with OID", "could not find tuple for")
# What the server says of a row that is longer than 1 GB in COPY's text form (MaxAllocSize), and of which table.
TOO_LARGE = ("invalid memory alloc request size", "Cannot enlarge string buffer", "cannot enlarge string buffer")
# What pg_restore says of an archive of which it got no byte. A busy engine may close the input of a program while what
# was sent is still on its way inside of it (seen on 20.10.24, with archives of some kB): that says nothing about those.
NOTHING_CAME = "input file is too short (read 0,"
COPIED = re.compile(r"[Cc]ommand was: COPY (.+?) (?:\(.*\) )?TO stdout")


def failure_of(status: int | None, stderr: str) -> DatabaseError:
    """The error that an exit status (None: it was ended before it could leave one) and the last words amount to."""
    words = last_words(stderr).rstrip(".")
    if status is None:
        return DumpInterrupted(f"The dump program was ended from outside: {words}.")
    if any(each in stderr for each in WAITED_FOR_A_LOCK):
        return TablesLocked(f"The dump program waited for a lock that another session holds or waits for: {words}.")
    if any(each in stderr for each in CHANGED_MEANWHILE):
        return TablesLocked(f"The schema changed while the dump program read it: {words}.")
    if any(each in stderr for each in TOO_LARGE):
        return DumpFailed(too_large(stderr, words))
    if any(each in stderr for each in (NOTHING_CAME, *PASSING)):
        lost = "got no byte of its input" if NOTHING_CAME in stderr else "lost its server"
        return DumpInterrupted(f"The dump program {lost}: {words}.")
    return DumpFailed(f"The dump program failed (exit {status}): {words}.")


def too_large(stderr: str, words: str) -> str:
    """What to do about a row that no dump can hold."""
    found = COPIED.search(stderr)
    table = found[1] if found else "a table"
    query = f"SELECT ctid, pg_column_size(t.*) FROM {table} AS t ORDER BY 2 DESC LIMIT 5"  # noqa: S608 - to be read
    return (
        f"A row of {table} is too large for pg_dump: written as text it has over 1 GB, and bytea doubles. Find it: "
        f"{query}; store that value in parts, or as a large object. pg_dump said: {words}."
    )


def line_broke() -> DumpInterrupted:
    """The error of a program whose connection to us broke."""
    return DumpInterrupted("The connection to the dump program broke: it, or the Docker engine, ended too early.")


def too_late() -> DumpInterrupted:
    """The error of a program that did not end before its deadline."""
    return DumpInterrupted("The dump did not end before its deadline; raise `deadline` if it needs longer.")
