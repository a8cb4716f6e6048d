"""Whether programs of an image can be started at all.

Asked where a helper container gave no sign: one whose shell cannot start looks like one that somebody ended.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, NotFound
from docker.types import LogConfig

from tasks.containers.engine import OUR_LABEL

SECONDS = 60
CANNOT_START = (126, 127)
"""What a shell, and the engine's `exec`, end with where the program is not there, or cannot be started."""

# Each is started; what it answers does not matter. busybox takes --version for an error, and ends.
START_EACH = """
for tool in {programs}; do
    "$tool" --version > /dev/null 2>&1 < /dev/null
    case $? in 126|127) echo "$tool cannot be started" >&2; exit 127 ;; esac
done
"""


def start_each(*programs: str) -> str:
    """Shell that ends with 127, and says why, unless each of the programs can be started."""
    return START_EACH.format(programs=" ".join(programs))


def why_not_started(
    client: docker.DockerClient, image_id: str, owner: str, programs: Sequence[str] = (), user: str = "0:0"
) -> str:
    """Why no helper container of the image can do its work, and what it needs, without the last full stop.

    Empty where its shell and the programs can be started, or where nobody can say. owner: labels the container that is
    started to see.
    """
    try:
        status, said = _try(client, image_id, owner, start_each(*programs) if programs else "exit 0", user)
    except NotFound as error:
        return cause(error) if "image" in cause(error).lower() else ""
    except APIError as error:
        status, said = 127, cause(error)
    except requests.exceptions.RequestException:
        return ""
    if status == 0:
        return ""
    needed = f"a shell{''.join(f', {each}' for each in programs)}"
    return (
        f"{said.rstrip('.') or f'its shell ended with {status}'}. The image {_name(client, image_id)} needs {needed} "
        "that start there, as in the official PostgreSQL images; use an image that has them"
    )


def cause(error: APIError) -> str:
    """What the engine says, without what its parts say of each other."""
    said = str(error.explanation or error).strip()
    found = re.search(r"(?:container process(?: caused)?|exec failed): (?!.*container process)(.+)$", said, re.DOTALL)
    return (found[1] if found else said).removesuffix(": unknown").strip().rstrip(".")


def _try(client: docker.DockerClient, image_id: str, owner: str, script: str, user: str) -> tuple[int, str]:
    """How a shell that runs the script ends, and its last words."""
    made = client.api.create_container(
        image_id, ["-c", script], entrypoint=["sh"], user=user, labels={OUR_LABEL: owner},
        host_config=_confined(client, image_id),
    )  # fmt: skip
    try:
        client.api.start(made)
        status = int(client.api.wait(made, timeout=SECONDS)["StatusCode"])
        return status, " ".join(client.api.logs(made, stdout=False, stderr=True).decode(errors="replace").split())
    finally:
        with contextlib.suppress(NotFound, APIError):
            client.api.remove_container(made, force=True)


def _confined(client: docker.DockerClient, image_id: str) -> dict[str, Any]:
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    config: dict[str, Any] = client.api.create_host_config(
        tmpfs=dict.fromkeys(image["Config"].get("Volumes") or {}, "size=1m"),
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        log_config=LogConfig(type=LogConfig.types.JSON),
    )
    return config


def _name(client: docker.DockerClient, image_id: str) -> str:
    """As a person calls it."""
    with contextlib.suppress(APIError):
        image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
        return str((image.get("RepoTags") or [image_id])[0])
    return image_id
