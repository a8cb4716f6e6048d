"""A container that ends when we do, and programs run in it.

Its first process waits for a line that never comes. When this process ends, however it ends, the kernel closes the
connection that the line would come over: the wait ends, with it the container and every program in it, and the engine
removes it. It has no network, no capability that is not asked for, and nothing writable but what is mounted.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount
from docker.utils.socket import STDOUT, frames_iter

from tasks.containers.engine import OUR_LABEL
from tasks.containers.exec_status import exit_status
from tasks.containers.leash import last_words
from tasks.containers.line import Line
from tasks.containers.startable import CANNOT_START, cause, why_not_started
from tasks.errors import EngineError, RestoreFailed

WAITING = "IFS= read -r end"
MOST_SAID = 16 << 20  # bytes of a program's standard error that are kept: its last ones


class ProgramFailed(RestoreFailed):
    """A program in the container did not exit with 0. words: its last ones, in one line; said: all that it said."""

    def __init__(self, message: str, words: str, said: str = "") -> None:
        super().__init__(message)
        self.words, self.said = words, said


class Leashed:
    """A running container of ours, and the line it hangs on."""

    def __init__(
        self, client: docker.DockerClient, container_id: str, line: Line, image_id: str = "", owner: str = ""
    ) -> None:
        self._client, self._id, self._line, self._image_id, self._owner = client, container_id, line, image_id, owner

    def run(
        self,
        command: Sequence[str],
        stdin: Iterable[bytes] | None = None,
        deadline: float = 60.0,
        environment: Mapping[str, str] | None = None,
        user: str = "",
    ) -> str:
        """What the program prints. stdin is streamed to it; after `deadline` seconds it is given up.

        Raise ProgramFailed if it does not exit with 0, RestoreFailed if it is too late or was ended from outside, and
        what `stdin` raises.
        """
        program = command[0]
        try:
            made = self._client.api.exec_create(
                self._id, list(command), stdin=stdin is not None, environment=dict(environment or {}), user=user
            )
            conversation = _Conversation(self._client.api.exec_start(made["Id"], socket=True), deadline)
            output, errors = conversation.carry_on(stdin)
            status = None if conversation.late else exit_status(self._client, made["Id"])
        except APIError as error:
            why = self._why_not() or f"the scratch container is gone ({cause(error)})"
            raise RestoreFailed(f"{program} cannot be run: {why}.") from error
        if conversation.late:
            raise RestoreFailed(f"{program} did not end within {deadline:g} s; raise `deadline` if it needs longer.")
        if status is None and (why := self._why_not()):
            raise RestoreFailed(f"{program} cannot be run: {why}.")
        if status is None:
            raise RestoreFailed(f"{program} was ended from outside: somebody, or the engine, ended its container.")
        if status != 0:
            words = last_words(errors or output).rstrip(".")
            if status in CANNOT_START and (why := self._why_not(program)):
                raise ProgramFailed(f"{program} cannot be run: {why}.", words, errors)
            raise ProgramFailed(f"{program} failed (exit {status}): {words}.", words, errors)
        return output

    def _why_not(self, *programs: str) -> str:
        return why_not_started(self._client, self._image_id, self._owner, programs)

    def through(self, client: docker.DockerClient) -> Leashed:
        """The same container by another client: a client is for one thread."""
        return Leashed(client, self._id, self._line, self._image_id, self._owner)

    def close(self) -> None:
        """End the container with all that runs in it, and wait until it is gone."""
        self._line.close()
        _remove(self._client, self._id)


class _Conversation:
    """What goes to a program and what comes from it, until it ends or `deadline` seconds are over."""

    def __init__(self, stream: Any, deadline: float) -> None:
        self._stream = stream
        self._line = Line(stream)
        self.late = False
        self._watch = threading.Timer(deadline, self._give_up)
        self._watch.daemon = True

    def carry_on(self, stdin: Iterable[bytes] | None) -> tuple[str, str]:
        """Its standard output and its standard error. Raise what `stdin` raises."""
        self._watch.start()
        if stdin is not None:
            self._line.feed(stdin)
        try:
            return self._listen()
        finally:
            self._watch.cancel()
            self._line.close()
            if self._line.failure:
                raise self._line.failure

    def _listen(self) -> tuple[str, str]:
        output, errors = bytearray(), bytearray()
        with contextlib.suppress(OSError):
            for kind, chunk in frames_iter(self._stream, tty=False):  # type: ignore[no-untyped-call]
                if kind == STDOUT:
                    output += chunk
                else:
                    errors += chunk
                    del errors[:-MOST_SAID]
        return output.decode(errors="replace"), errors.decode(errors="replace")

    def _give_up(self) -> None:
        self.late = True
        self._line.hang_up()


@contextmanager
def leashed(
    client: docker.DockerClient,
    *,
    image_id: str,
    owner: str,
    user: str,
    mounts: Sequence[Mount],
    capabilities: Sequence[str] = (),
) -> Iterator[Leashed]:
    """A container of the image in which nothing runs but what is asked for; it is gone after the block.

    user: `uid:gid` or a name; owner: its label, so that a sweep finds it. The image's entry point, and so its init
    scripts, never run. Raise EngineError.
    """
    made: str | None = None
    line: Line | None = None
    try:
        made = client.api.create_container(
            image_id,
            ["-c", WAITING],
            entrypoint=["sh"],
            name=f"rollcall-scratch-{secrets.token_hex(6)}",
            stdin_open=True,
            user=user,
            labels={OUR_LABEL: owner},
            host_config=_confined(client, image_id, mounts, capabilities),
        )["Id"]
        line = Line(client.api.attach_socket(made, params={"stdin": 1, "stream": 1}))
        client.api.start(made)
    except BaseException as error:
        if line is not None:
            line.close()
        _remove(client, made)
        if isinstance(error, APIError):
            why = why_not_started(client, image_id, owner) or f"from {image_id}: {cause(error)}"
            raise EngineError(f"A scratch container cannot be started: {why}.") from error
        raise
    box = Leashed(client, made, line, image_id, owner)
    try:
        yield box
    finally:
        box.close()


def _confined(
    client: docker.DockerClient, image_id: str, mounts: Sequence[Mount], capabilities: Sequence[str]
) -> dict[str, Any]:
    """No network, no way to more rights, and no anonymous volume for those that the image declares."""
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    taken = {str(each["Target"]) for each in mounts}
    declared = {"/tmp", *(image["Config"].get("Volumes") or {})} - taken  # noqa: S108 - a place in the container
    config: dict[str, Any] = client.api.create_host_config(
        mounts=list(mounts),
        tmpfs=dict.fromkeys(declared, "size=16m"),
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        cap_add=list(capabilities),
        security_opt=["no-new-privileges"],
        # For parallel index builds; the engine's 64 MiB end them with "could not resize shared memory segment".
        shm_size="1g",
        restart_policy={"Name": "no"},
        log_config=LogConfig(type="none"),
        auto_remove=True,
    )
    return config


def _remove(client: docker.DockerClient, container_id: str | None) -> None:
    """Remove the container, which removes itself when it ends, and wait until it is gone."""
    if container_id is None:
        return
    with contextlib.suppress(NotFound, APIError, requests.exceptions.RequestException):
        client.api.remove_container(container_id, force=True)
    with contextlib.suppress(NotFound, APIError, requests.exceptions.RequestException):
        client.api.wait(container_id, timeout=30, condition="removed")
