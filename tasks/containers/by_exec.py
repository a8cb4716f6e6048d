"""A program started by `docker exec` in the database's own container; its output is the engine's multiplexed stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
from docker.utils.socket import STDOUT, frames_iter

from tasks.containers.exec_status import exit_status
from tasks.containers.leash import LAST_WORDS, Leash, Program, failure_of, line_broke, too_late
from tasks.containers.observe import Container
from tasks.containers.program_folder import path_with


class Exec:
    """A program started by `docker exec` in the database's own container."""

    def __init__(self, client: docker.DockerClient, exec_id: str, stream: Any, leash: Leash, deadline: float) -> None:
        self._client, self._id, self._stream, self._leash = client, exec_id, stream, leash
        self._ends = time.monotonic() + deadline  # First: whoever is hung up on finds that its time is over.
        # A program that has gone quiet cannot be asked for the time: hanging up on it ends the wait for its output.
        self._watch = threading.Timer(deadline, leash.hang_up)
        self._watch.daemon = True
        self._watch.start()
        self.say, self.feed, self.stop = leash.say, leash.feed, leash.stop

    def chunks(self) -> Iterator[bytes]:
        """See Running."""
        stderr = ""
        try:
            for kind, chunk in frames_iter(self._stream, tty=False):  # type: ignore[no-untyped-call]
                if time.monotonic() > self._ends:
                    break
                if kind == STDOUT:
                    yield chunk
                else:
                    stderr = (stderr + chunk.decode(errors="replace"))[-LAST_WORDS:]
        except OSError as error:
            raise self._leash.failure or line_broke() from error
        if time.monotonic() > self._ends:
            raise too_late()
        status = exit_status(self._client, self._id)
        if self._leash.failure:
            raise self._leash.failure
        if status != 0:
            raise failure_of(status, stderr)

    def close(self) -> None:
        """Let go of the leash: the program ends if it still runs."""
        self._watch.cancel()
        self._leash.close()


def start_exec(client: docker.DockerClient, container: Container, program: Program) -> Exec:
    """Start `program` in the container. Raise APIError."""
    script = program.script(path_with(container.major))
    started = client.api.exec_create(container.id, ["sh", "-c", script], stdin=True, stdout=True, stderr=True)
    stream = client.api.exec_start(started["Id"], socket=True)
    return Exec(client, started["Id"], stream, Leash(stream, program), program.deadline)
