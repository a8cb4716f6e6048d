"""The way to an engine on another machine: a program carries each connection, docker's own by TLS, or ssh.

A socket of our own stands for the engine, and for each connection to it the program is started at the other end: so
certificates are checked by Docker's own program, and ssh is the user's own, with its configuration, known hosts and
agent. The Python library's own ways are not taken: over TLS it waits for bytes that it has already, and cannot end a
stream while it goes on reading; for ssh it needs another library, which knows little of how the user set ssh up.

When this process ends, however it ends, the kernel closes its connections: the programs at the other ends read
end-of-file and end too, and so the engine hears of it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.errors import EngineNotTrusted, EngineUnreachable

SECONDS = 2.0
"""For programs that are left when the socket goes: nobody is connected any more."""
LAST_WORDS = 4000
# One connection is shared by all that follow (ssh_config, ControlMaster): they need not shake hands again. After a kill
# it ends by itself. The path is in the relay's folder.
CONTROL = "ControlPath=master"
MASTER = ["ControlMaster=auto", CONTROL, "ControlPersist=60"]
END_MASTER = ["ssh", "-o", CONTROL, "-O", "exit", "--", "any"]


class Relay:
    """A socket that leads to an engine elsewhere. Raise EngineUnreachable where the program or a folder is lacking.

    The command is run in the folder of the socket.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], where: str) -> None:
        self._ssh = command[0] == "ssh"
        if shutil.which(command[0]) is None:
            raise EngineUnreachable(f"The Docker engine {where} is reached by the program {command[0]}: install it.")
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="rollcall-", dir=_short_enough(Path(tempfile.gettempdir()))))
        except OSError as error:
            raise EngineUnreachable(f"No folder can be made for a socket: {error.strerror}. Check TMPDIR.") from error
        self._words = self._folder / "words"
        self._server = _Listener(str(self._folder / "s"), command, environ, self._words)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="relay").start()

    @property
    def url(self) -> str:
        """What stands for the engine's address."""
        return f"unix://{self._folder}/s"

    def heard(self) -> int:
        """How much the program has said until now, in bytes: what `said` takes, to leave it out."""
        with contextlib.suppress(OSError):
            return self._server.forgotten + self._words.stat().st_size
        return self._server.forgotten

    def said(self, since: int = 0) -> str:
        """The end of what the program said of its last failures; since: only what came after `heard` was that much.

        A connection may stay open for hours, and what was said of an earlier one explains no failure of now.
        """
        try:
            words = self._words.read_bytes()[max(0, since - self._server.forgotten) :]
        except OSError:
            return ""
        return words.decode(errors="replace")[-LAST_WORDS:]

    def close(self) -> None:
        """Take no more connections, and end those that are left."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end()
        if self._ssh:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(END_MASTER, cwd=self._folder, capture_output=True, check=False, timeout=SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Listener(socketserver.UnixStreamServer):
    """Starts the command for each connection, which is the command's standard input and output."""

    request_queue_size = 64

    def __init__(self, path: str, command: Sequence[str], environ: Mapping[str, str], words: Path) -> None:
        self._command, self._environ, self._words = list(command), environ, words
        self._running: list[subprocess.Popen[bytes]] = []
        self.forgotten = 0  # bytes of words that are not in the file any more
        super().__init__(path, socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The caller closes our end of the connection: it is the command's alone then."""
        self._running = [each for each in self._running if each.poll() is None]
        with self._words.open("ab") as words:
            if not self._running:
                self.forgotten += words.tell()
                words.truncate(0)
            # In a session of its own it has no terminal to ask a question at.
            made = subprocess.Popen(
                self._command, stdin=request, stdout=request, stderr=words, env=self._environ, start_new_session=True,
                cwd=self._words.parent,
            )  # fmt: skip
        self._running.append(made)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Not as the library does it: a shutdown would end the command's own end too."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever connected finds the connection closed, and tells of it."""

    def end(self) -> None:
        """Wait for the commands, which end with their connections; end those that do not."""
        for each in self._running:
            try:
                each.wait(SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each.pid, signal.SIGKILL)
                each.wait()


def _short_enough(folder: Path) -> Path:
    """The temporary folder, or /tmp where its path is too long for a socket in it: 103 bytes on a Mac (sys/un.h)."""
    return folder if len(os.fsencode(folder)) <= 80 else Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of our own


def by_ssh(url: str) -> list[str]:
    """The command that carries a connection to the engine of an ssh:// URL, as Docker's own program does it (pure).

    A path in the URL is that of the engine's socket, where it is not the usual one.
    """
    parts = urlsplit(url)
    options = ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3", *MASTER]
    port = ["-p", str(parts.port)] if parts.port else []
    user = ["-l", parts.username] if parts.username else []
    socket_there = f"--host {shlex.quote('unix://' + parts.path)} " if parts.path.strip("/") else ""
    given = [word for each in options for word in ("-o", each)]
    return ["ssh", "-T", *given, *port, *user, "--", parts.hostname or "", f"docker {socket_there}system dial-stdio"]


def why_not(where: str, said: str) -> EngineUnreachable:
    """The error for an engine that did not answer; said: the docker program's last words (pure)."""
    words = _reason(said)
    beginning = f"The Docker engine {where} is not reached"
    for pattern, kind, advice in ADVICE:
        if re.search(pattern, said, re.IGNORECASE):
            return kind(f"{beginning}: {advice} ({words}).")
    if words:
        return EngineUnreachable(f"{beginning} ({words}).")
    return EngineUnreachable(f"{beginning}; see that its machine and it run, and that the address is right.")


ADVICE: list[tuple[str, type[EngineUnreachable], str]] = [
    (
        r"host key verification failed|host identification has changed|host key is known",
        EngineNotTrusted,
        "its ssh host key is not the known one, or none is known; connect once by hand with ssh, as the user who runs "
        "this, and compare the key",
    ),
    (
        r"permission denied \(",
        EngineNotTrusted,
        "ssh was not let in; the user who runs this needs a key that the other machine accepts",
    ),
    (
        r"remote error: tls|certificate required|bad certificate",
        EngineNotTrusted,
        "it does not accept our certificate; see that tls_cert and tls_key are made by the authority it asks for",
    ),
    (
        r"x509|certificate|tls: ",
        EngineNotTrusted,
        "TLS failed; see that tls_ca is the authority that made its certificate, and for that host name",
    ),
    (
        r"permission denied while|dial unix .*permission denied",
        EngineNotTrusted,
        "the user there may not use the engine's socket",
    ),
    (
        r"docker: (command )?not found|docker: No such file",
        EngineNotTrusted,
        "the other machine finds no docker program for a command that comes by ssh",
    ),
    (
        r"no such host|could not resolve|refused|no route to host|timed? ?out|unreachable|cannot connect",
        EngineUnreachable,
        "nothing answers there; see that the machine and its engine run, and that the address is right",
    ),
]


def _reason(said: str) -> str:
    """The last thing said, in one line; Docker repeats what ssh said, in its own words."""
    lines = [" ".join(each.split()) for each in said.splitlines() if each.strip(" @\r")]
    if not lines:
        return ""
    told = re.search(r"stderr=(.+)", lines[-1])
    return (told[1] if told else lines[-1]).rstrip(".")[-300:]


@functools.cache
def ssh_host(url: str) -> str | None:
    """The machine's real name or address behind an ssh:// URL, which may be an alias of the user's ssh."""
    parts = urlsplit(url)
    name = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname or ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["ssh", "-G", name], capture_output=True, text=True, check=False, timeout=SECONDS)
        if found := re.search(r"^hostname (\S+)$", asked.stdout, re.MULTILINE):
            return found[1]
    return parts.hostname


def without_engine(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what leads Docker's programs to an engine (docker(1))."""
    names = {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"}
    return {name: value for name, value in environ.items() if name not in names}
