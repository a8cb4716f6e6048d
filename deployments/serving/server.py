"""A Prefect server of Rollcall's own, for who has none: a child process on SQLite, in a folder beside the state."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deployments.serving.wanted import ROOT
from deployments.tracking import answers
from tasks.errors import RollcallError
from tasks.sections import Serve

log = logging.getLogger("rollcall")

USUAL_PORT = 4200
START_SECONDS = 3600.0
"""As long as it lives it is waited for: a new version of Prefect first changes its whole database, and one that is
ended in the middle of that would begin anew each time."""
SAY_SECONDS = 60.0
STOP_SECONDS = 20.0
LONGEST_LOG = 10_000_000  # bytes
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - names for what a user may choose; the default is loopback


class OwnServer:
    """One server, from start to stop. It holds the write end of its child's standard input, and so its life."""

    def __init__(self, folder: Path, section: Serve) -> None:
        """`folder`: where the server keeps its database, its log and its last port; made if it is not there."""
        self.folder = folder
        self._section = section
        self._child: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = chosen_port(section, _last_port(folder))

    @property
    def api(self) -> str:
        """Where programs on this machine reach it."""
        return own_api(self._section, self.port)

    @property
    def ui(self) -> str:
        """Where people reach it."""
        host = socket.gethostname() if self._section.host in EVERYWHERE else self._section.host
        return f"http://{_in_url(host)}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What programs that use this server need to know."""
        return {"PREFECT_HOME": str(self.folder), "PREFECT_API_URL": self.api}

    @property
    def log(self) -> Path:
        """The file that it writes what it has to say to."""
        return self.folder / "server.log"

    def start(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start it and wait for its first answer, calling `meanwhile` again and again. Raise RollcallError if there is
        none."""
        self._wait_for_former()
        self.rotate_log()
        with self.log.open("ab") as output:
            program = [sys.executable, "-m", "deployments.serving.leashed_server", str(self._lock)]
            listen = ["server", "start", "--host", self._section.host, "--port", str(self.port)]
            self._child = subprocess.Popen(
                [*program, *listen],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=os.environ | self.environment | self._settings,
                start_new_session=True,  # Ctrl-C is for us: the server ends last.
            )
        self._wait_for_answer(meanwhile)
        (self.folder / "port").write_text(f"{self.port}\n")

    def rotate_log(self) -> None:
        """Keep what is too long as `server.log.1`, by a copy: the server has the file open, and goes on appending."""
        with suppress(OSError):
            if self.log.stat().st_size > LONGEST_LOG:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)

    def ended(self) -> int | None:
        """Its exit code once it has ended; None while it runs."""
        return self._child.poll() if self._child else None

    def stop(self) -> None:
        """End it, politely, then not. Doing it again does no harm."""
        child = self._child
        if child is None:
            return
        if child.stdin:
            child.stdin.close()
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @property
    def _lock(self) -> Path:
        return self.folder / "server.lock"

    @property
    def _settings(self) -> dict[str, str]:
        """The server's own settings; what the environment says already stands."""
        wanted = {
            "PREFECT_SERVER_UI_API_URL": f"{self.ui}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # In memory, as is Prefect's default, a restart would leave a limit's slots taken for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            # Runs, as events, go after 90 days: a check every 15 minutes is 35,000 runs a year.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "DO_NOT_TRACK": "1",
        }
        return {name: value for name, value in wanted.items() if name not in os.environ}

    def _wait_for_former(self) -> None:
        """One whose parent was killed needs a moment to notice. Raise RollcallError if it does not."""
        deadline = time.monotonic() + STOP_SECONDS
        while is_locked(self._lock):
            if time.monotonic() > deadline:
                raise RollcallError(f"A former Prefect server still uses {self.folder}; end it, then start again.")
            time.sleep(0.2)

    def _wait_for_answer(self, meanwhile: Callable[[], None]) -> None:
        began = said = time.monotonic()
        while not answers(self.api, timeout=2):
            code = self.ended()
            if code is not None:
                raise RollcallError(f"The Prefect server ended with {code} as it started; {self.log} says why.")
            now = time.monotonic()
            if now - began > START_SECONDS:
                self.stop()
                raise RollcallError(f"The Prefect server gave no answer in {START_SECONDS:.0f} s; see {self.log}.")
            if now - said > SAY_SECONDS:
                said = now
                log.info(
                    "The Prefect server is still starting, after %.0f s (%s); waiting for it.", now - began, self.log
                )
            meanwhile()
            time.sleep(0.2)


def running_api(folder: Path, section: Serve) -> str | None:
    """The API of the server that a `rollcall serve` with this `folder` has running now; None where none runs."""
    port = _last_port(folder)  # Where it answered; serve.port may be another since.
    if port is None or not (folder / "server.lock").exists() or not is_locked(folder / "server.lock"):
        return None
    return own_api(section, port)


def own_api(section: Serve, port: int) -> str:
    """Where programs on this machine reach a server of our own."""
    host = "127.0.0.1" if section.host in EVERYWHERE else section.host
    return f"http://{_in_url(host)}:{port}/api"


def chosen_port(section: Serve, last: int | None) -> int:
    """The configured port; else the last one, the usual one, or any free one. Raise RollcallError if it is taken."""
    if section.port is not None:
        if not _is_free(section.host, section.port):
            raise RollcallError(
                f"Port {section.port} of {section.host} is taken or not ours to take; end what listens there, set "
                "serve.port in the configuration, or name that server in PREFECT_API_URL."
            )
        return section.port
    for port in (last, USUAL_PORT):
        if port and _is_free(section.host, port):
            return port
    return _free_port(section.host)


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=_family(host)):
            return True
    except OSError:
        return False


def _free_port(host: str) -> int:
    try:
        with socket.create_server((host, 0), family=_family(host)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise RollcallError(
            f"serve.host: {host} is no address of this machine ({error.strerror}); use 127.0.0.1."
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _last_port(folder: Path) -> int | None:
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return None


def is_locked(path: Path) -> bool:
    """Whether some process holds the file's lock; the file is made if it is not there."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
