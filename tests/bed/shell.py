"""A line of shell with volumes at hand, in a container that leaves nothing: not even an anonymous volume."""

from collections.abc import Mapping

import docker
from docker.errors import ContainerError

from tests.bed.labels import remove


def shell(
    client: docker.DockerClient,
    image: str,
    script: str,
    *,
    labels: Mapping[str, str],
    read_only: Mapping[str, str] | None = None,
    **volumes: str,
) -> str:
    """What the line prints, run as root without a network; each volume is at /NAME, those of `read_only` (folder:
    volume) cannot be written. Raise ContainerError where it ends with another code than 0.

    The client's own `run(remove=True)` would keep the volume that the image declares.
    """
    binds = {volume: {"bind": f"/{folder}", "mode": "rw"} for folder, volume in volumes.items()}
    binds |= {volume: {"bind": f"/{folder}", "mode": "ro"} for folder, volume in (read_only or {}).items()}
    box = client.containers.create(
        image, ["-c", script], entrypoint=["sh"], user="0", network_mode="none", volumes=binds, labels=dict(labels)
    )
    try:
        box.start()
        code = box.wait()["StatusCode"]
        if code:
            raise ContainerError(box, code, script, image, box.logs(stdout=False, stderr=True))
        return bytes(box.logs(stdout=True, stderr=False)).decode()
    finally:
        remove(box)
