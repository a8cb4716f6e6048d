"""Whether a volume holds anything at all."""

from __future__ import annotations

import contextlib
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount

from tasks.containers.engine import OUR_LABEL
from tasks.containers.startable import cause, start_each, why_not_started
from tasks.errors import EngineError

SECONDS = 120
PROGRAMS = ("find", "head")
EMPTY = 7  # The helper's exit code: any other that is not 0 means that it could not look.
# The first file, or how the search ended. It finds nothing, too, where it may not read.
SCRIPT = f"""
{start_each(*PROGRAMS)}
cd /volume || exit 1
case "$({{ find . ! -type d -print; echo "ended $?"; }} | head -n 1)" in
    ./*) exit 0 ;;
    "ended 0") exit {EMPTY} ;;
    *) exit 1 ;;
esac
"""


def is_empty(client: docker.DockerClient, volume: str, image_id: str, owner: str) -> bool:
    """Whether nothing but folders is in the volume, which a helper container mounts read-only. Raise EngineError."""
    try:
        status = _run(client, volume, image_id, owner)
    except APIError as error:
        why = why_not_started(client, image_id, owner, PROGRAMS) or cause(error)
        raise EngineError(f"The volume {volume} cannot be looked into: {why}.") from error
    if status not in (0, EMPTY):
        why = why_not_started(client, image_id, owner, PROGRAMS) or f"a search through it ended with {status}"
        raise EngineError(f"The volume {volume} cannot be looked into: {why}.")
    return status == EMPTY


def _run(client: docker.DockerClient, volume: str, image_id: str, owner: str) -> int:
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    made = client.api.create_container(
        image_id,
        ["-c", SCRIPT],
        entrypoint=["sh"],
        user="0:0",
        labels={OUR_LABEL: owner},
        host_config=client.api.create_host_config(
            mounts=[Mount("/volume", volume, type="volume", read_only=True, no_copy=True)],
            tmpfs=dict.fromkeys(image["Config"].get("Volumes") or {}, "size=1m"),
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            cap_add=["DAC_READ_SEARCH"],
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="none"),
        ),
    )
    try:
        client.api.start(made)
        return int(client.api.wait(made, timeout=SECONDS)["StatusCode"])
    finally:
        with contextlib.suppress(NotFound, APIError):
            client.api.remove_container(made, force=True)
