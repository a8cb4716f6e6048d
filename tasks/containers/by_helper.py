"""A program in a helper container of the database's own image; its output comes through a FIFO in a folder of ours."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tasks.containers import recreate
from tasks.containers.engine import OUR_LABEL
from tasks.containers.leash import Leash, Program, failure_of, too_late
from tasks.containers.observe import Container
from tasks.containers.program_folder import path_with
from tasks.containers.shared_folders import path_on_engine
from tasks.containers.startable import cause, start_each, why_not_started
from tasks.errors import EngineError

CHUNK = 1 << 20
NEVER_STARTED_SECONDS = 600.0  # between the making of a helper and its start, on the slowest machine


class NoHelper(Exception):
    """A helper container does not start, or does not see our folder."""


class Helper:
    """A program in a helper container of the database's image; output through a FIFO in a folder of ours."""

    def __init__(
        self, client: docker.DockerClient, folder: Path, container_id: str, leash: Leash, deadline: float
    ) -> None:
        self._client, self._folder, self._id, self._leash = client, folder, container_id, leash
        self._ends = time.monotonic() + deadline
        self._fifo = os.open(folder / "out", os.O_RDONLY | os.O_NONBLOCK)
        self.say, self.feed, self.stop = leash.say, leash.feed, leash.stop

    def await_ready(self) -> None:
        """Return once the helper is seen to share our folder. Raise NoHelper if it ends before, as one does to which
        another folder is shown, or has not begun within a minute."""
        given_up = time.monotonic() + 60
        while not (self._folder / "ready").exists():
            if time.monotonic() > given_up or not self._alive():
                raise NoHelper("it does not share a folder with this program")
            time.sleep(0.005)

    def chunks(self) -> Iterator[bytes]:
        """See Running."""
        yield from self._output()
        status = self._status()
        if self._leash.failure:
            raise self._leash.failure
        if status != 0:
            stderr = (self._folder / "err").read_text(errors="replace") if (self._folder / "err").exists() else ""
            raise failure_of(status, stderr)

    def _output(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._fifo, select.POLLIN | select.POLLHUP)
        while True:
            if time.monotonic() > self._ends:
                raise too_late()
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
        given_up = time.monotonic() + 60
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


def start_helper(client: docker.DockerClient, container: Container, program: Program, owner: str) -> Helper:
    """Start `program` in a helper that shares the container's network. Raise NoHelper if none can be used here."""
    folder, shown = _folder(client)
    script = program.script(
        prologue=start_each("mv")
        + f"[ -p /rollcall/out ] && : > /rollcall/ready || exit 9\n{path_with(container.major)}",
        output="> /rollcall/out 2> /rollcall/err",
        epilogue="echo $status > /rollcall/s && mv /rollcall/s /rollcall/status",
    )
    running = None
    user = f"{os.getuid()}:{os.getgid()}"
    try:
        created = client.api.create_container(
            container.image_id,
            ["-c", script],
            entrypoint=["sh"],
            stdin_open=True,
            user=user,
            labels={OUR_LABEL: owner},
            host_config=_confined(client, container, shown, host_network=program.host_network),
        )
        leash = client.api.attach_socket(created["Id"], params={"stdin": 1, "stream": 1})
        running = Helper(client, folder, created["Id"], Leash(leash, program), program.deadline)
        client.api.start(created["Id"])
        running.await_ready()
    except BaseException as error:
        running.close() if running else shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, APIError | NoHelper):
            reason = cause(error) if isinstance(error, APIError) else str(error)
            raise NoHelper(why_not_started(client, container.image_id, owner, ["mv"], user) or reason) from error
        raise
    return running


def _folder(client: docker.DockerClient) -> tuple[Path, str]:
    """A folder of ours with the FIFO in it, and its path on the engine's host. Raise NoHelper if none can be made
    (TMPDIR, a full disk), or shown to a container."""
    temporary = Path(tempfile.gettempdir())
    shown = path_on_engine(client, temporary)
    if shown is None:
        raise NoHelper(f"the temporary folder {temporary} is not on the engine's host")
    try:
        folder = Path(tempfile.mkdtemp(prefix="rollcall-"))
        os.mkfifo(folder / "out", 0o600)
    except OSError as error:
        raise NoHelper(f"no folder can be made in the temporary folder: {error.strerror}") from error
    return folder, f"{shown}/{folder.name}"


def _confined(client: docker.DockerClient, container: Container, folder: str, *, host_network: bool) -> dict[str, Any]:
    """No capability, nothing writable but our folder, and no anonymous volume for those that the image declares."""
    image: dict[str, Any] = client.api.inspect_image(container.image_id)  # type: ignore[no-untyped-call]
    declared = image["Config"].get("Volumes") or {}
    config: dict[str, Any] = client.api.create_host_config(
        network_mode="host" if host_network else f"container:{container.id}",
        binds={folder: {"bind": "/rollcall", "mode": "rw"}},
        tmpfs=dict.fromkeys(declared, "size=1m"),
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        auto_remove=True,
    )
    return config


def never_started(client: docker.DockerClient) -> list[dict[str, Any]]:
    """Helpers of anybody's that were made long ago and never started, as the engine lists them.

    A live run starts a helper at once, and one that has started ends with its run. These are of runs that were killed
    while the engine made one, and keep every volume that they mount from being removed.
    """
    found = client.api.containers(all=True, filters={"label": OUR_LABEL, "status": "created"})
    if not found:
        return []
    # By the engine's own clock, which may differ from ours.
    now = datetime.fromisoformat(client.info()["SystemTime"]).timestamp()
    return [each for each in found if now - each["Created"] > NEVER_STARTED_SECONDS]


def sweep_helpers(client: docker.DockerClient, owner: str) -> list[str]:
    """Remove the helpers that a killed run of `owner` left; the caller holds the target's lock. Return their ids.

    Those of anybody's, too, that were made long ago and never started.
    """
    left = client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={owner}"}) + never_started(client)
    for each in left:
        with contextlib.suppress(EngineError):
            recreate.remove(client, each["Id"], force=True)
    return [str(each["Id"]) for each in left]
