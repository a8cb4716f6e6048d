"""Certainty about a container on which a call of a dead client may still be at work.

The engine goes on with what it was asked for when whoever asked is gone. moby's daemon/stop.go waits on a context of
its own (20.10), or `context.WithoutCancel` (from 24.0.3; 23.0 kills the container at once instead). Tried on 20.10.24,
with a client killed in `docker stop` of a container that takes four seconds to end, or ends by no signal:

- `start` meanwhile finds it running and does nothing; then it ends, and stays so.
- A `stop` of our own returns with the very exit that the old one waits for. After it, a start stays: the old stop has
  nothing left, for it waits for the exit of the process it has sent its signal to, and kills only what has not ended.
- An old stop whose time is over later than that kills no process that was started meanwhile.
- `start`, `rename`, `update` and the kill in a `stop` hold the container's lock: ours come after theirs.
- `create` reserves the name before it makes anything, and shows the container only when it is made.

So an own call of the same kind comes after the old one. What remains is a request that the engine has not taken up yet:
hence the end is watched for `LATE` seconds, and made so again if it changes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from tasks.containers import recreate
from tasks.containers.by_helper import sweep_helpers
from tasks.containers.engine import OUR_LABEL, inspect_container
from tasks.containers.volumes import remove_ours
from tasks.errors import ContainerMissing, EngineError, EngineUnreachable

LATE = 3.0  # seconds in which a request that was sent before its client died may still be taken up
TRIES = 3
STOPPED = (137, 143)  # exit codes: 128 and SIGKILL, SIGTERM
ASK_EVERY = 0.2


def start_for_good(client: docker.DockerClient, container: str, deadline: float | None) -> None:
    """Start the container and return once it is healthy and has gone on running for `LATE` seconds.

    deadline: seconds; None where its healthcheck is not to be waited for.

    One that is ended within that is started again, twice. Raise EngineError, with the end of its log, if it does not
    come up within `deadline` seconds or does not stay up.
    """
    for attempt in range(1, TRIES + 1):
        try:
            recreate.start(client, container)
            if deadline is not None:
                recreate.wait_healthy(client, container, deadline)
        except EngineError:
            # An end right after the start may be that of an old stop; one that takes its time is the container's own.
            if attempt == TRIES or inspect_container(client, container)["State"]["Running"]:
                raise
        else:
            if _goes_on(client, container):
                return
    found = inspect_container(client, container)
    raise EngineError(
        f"The container {found['Name'].lstrip('/')} does not stay up: it was started {TRIES} times and ended with exit "
        f"code {found['State']['ExitCode']}. {recreate.said_last(client, found)}"
    )


def _goes_on(client: docker.DockerClient, container: str) -> bool:
    """Whether it runs for `LATE` seconds without a new start."""
    started, over = inspect_container(client, container)["State"]["StartedAt"], time.monotonic() + LATE
    while time.monotonic() < over:
        state = inspect_container(client, container)["State"]
        if not state["Running"] or state["StartedAt"] != started:
            return False
        time.sleep(ASK_EVERY)
    return True


def not_running(client: docker.DockerClient, containers: Sequence[str]) -> list[str]:
    """A sentence for each of these, which were started, that does not run `LATE` seconds later and should.

    One that a late stop has ended is started again first. One that ended by itself is not: a job would do its work
    twice. Nothing is wrong with it if its exit code is 0 and nobody would restart it. One that was removed is left
    out. Raise EngineUnreachable.
    """
    if containers:
        time.sleep(LATE)
    found = []
    for each in containers:
        try:
            found += _why_down(client, each)
        except ContainerMissing:
            continue
        except EngineUnreachable:
            raise
        except EngineError as error:
            found.append(str(error))
    return found


def _why_down(client: docker.DockerClient, container: str) -> list[str]:
    """Why it does not run, once no stop has ended it any more; empty where it runs, or has done its work."""
    for _ in range(TRIES):
        found = inspect_container(client, container)
        if found["State"]["Running"]:
            return []
        if not _was_stopped(client, found):
            break
        recreate.start(client, container)
        time.sleep(LATE)
    found = inspect_container(client, container)
    code = found["State"]["ExitCode"]
    if found["State"]["Running"] or (code == 0 and not _was_stopped(client, found)):
        return []
    name, said = found["Name"].lstrip("/"), recreate.said_last(client, found)
    return [f"The container {name} does not run: it was started and ended with exit code {code}. {said}"]


def _was_stopped(client: docker.DockerClient, found: Mapping[str, Any]) -> bool:
    """Whether somebody's stop or kill ended it: the engine was asked to send it a signal since its start, or the exit
    code is that of one, or its restart policy leaves no other end. The engine remembers its last 256 events."""
    state, policy = found["State"], recreate.policy_of(found)["Name"]
    if policy in ("always", "unless-stopped") or state["ExitCode"] in STOPPED:
        return True
    asked = {"container": found["Id"], "event": "kill"}
    started = _nanoseconds(state["StartedAt"])
    since, until = started // 10**9, int(time.time()) + 1
    with contextlib.closing(client.api.events(since=since, until=until, decode=True, filters=asked)) as events:
        return any(each["timeNano"] > started for each in events)


def _nanoseconds(moment: str) -> int:
    """A time of the engine's (RFC 3339, in UTC, with up to nine decimals) in nanoseconds since 1970."""
    seconds, _, decimals = moment.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(decimals.ljust(9, "0"))


def leave_restarting(client: docker.DockerClient, container: str) -> None:
    """Return once the container, which ends again and again, has been in the engine's hands for `LATE` seconds: it
    counts as running between two starts. Raise EngineError if it cannot be started."""
    over = time.monotonic() + LATE
    recreate.start(client, container)
    while time.monotonic() < over:
        if not inspect_container(client, container)["State"]["Running"]:
            recreate.start(client, container)
        time.sleep(ASK_EVERY)


def stop_for_good(client: docker.DockerClient, container: str) -> None:
    """Stop the container and return once it has stayed so for `LATE` seconds: a start may be on its way."""
    recreate.stop(client, container)
    over = time.monotonic() + LATE
    while time.monotonic() < over:
        if inspect_container(client, container)["State"]["Running"]:
            recreate.stop(client, container)
        time.sleep(ASK_EVERY)


def remove_for_good(client: docker.DockerClient, name: str, image_id: str) -> None:
    """Remove the container called `name`, which nobody else's is, also one that the engine is only about to make.

    That one shows by its name being taken: a container of ours that never starts is created by it, and removed.
    """
    given_up = time.monotonic() + recreate.CREATE_SECONDS
    while True:
        recreate.remove(client, name, force=True)
        try:
            client.api.create_container(image_id, ["true"], name=name, host_config=_without_volumes(client, image_id))
        except (ImageNotFound, NotFound):
            return  # Without its image the engine is not at work on one either.
        except APIError as error:
            if error.status_code != recreate.CONFLICT or time.monotonic() > given_up:
                raise EngineError(f"The container {name} cannot be removed: {error.explanation or error}.") from error
        else:
            recreate.remove(client, name, force=True)
            return
        time.sleep(ASK_EVERY)


def _without_volumes(client: docker.DockerClient, image_id: str) -> dict[str, object]:
    """No anonymous volume for those that the image declares."""
    image = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    declared = image["Config"].get("Volumes") or {}
    config: dict[str, object] = client.api.create_host_config(tmpfs=dict.fromkeys(declared, "size=1m"))
    return config


def remove_volume_for_good(client: docker.DockerClient, volume: str, owner: str) -> None:
    """Remove a volume that a run of ours made, and that nobody but helpers of `owner` uses, who are removed first.

    Also one that the engine is only about to make for a killed run. Raise EngineError as `remove_ours` does.
    """
    given_up = time.monotonic() + recreate.CREATE_SECONDS
    while True:
        sweep_helpers(client, owner)
        try:
            remove_ours(client, volume)
        except EngineError:
            ours = {"label": f"{OUR_LABEL}={owner}", "volume": volume}
            if time.monotonic() > given_up or not client.api.containers(all=True, filters=ours):
                raise
            time.sleep(ASK_EVERY)
        else:
            return


def is_there(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has a container of that name."""
    try:
        inspect_container(client, name)
    except ContainerMissing:
        return False
    return True
