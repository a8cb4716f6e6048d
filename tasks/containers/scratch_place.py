"""Where a scratch server has its data, and the account that the folder is made for: that of the image's own server."""

from __future__ import annotations

import contextlib
import tarfile
from pathlib import PurePosixPath

import docker
from docker.errors import NotFound
from docker.types import Mount

from tasks.containers.engine import OUR_LABEL
from tasks.containers.leashed import leashed
from tasks.errors import EngineError, RestoreFailed
from tasks.models import Model

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")

# $1 PGDATA, $2 where the volume is mounted, $3 user, $4 group where the user is only a number. It prints `uid:gid`, and
# where the image has no name for that uid its accounts with one more: initdb cannot do without (initdb.c, get_id).
PREPARE = """
set -e
if [ -e "$1/PG_VERSION" ]; then
    owner=$(stat -c %u:%g "$1")
else
    uid=$(id -u "$3" 2>/dev/null) || case $3 in *[!0-9]*) exit 0 ;; *) uid=$3 ;; esac
    owner=$uid:$(id -g "$3" 2>/dev/null || echo "$4")
    mkdir -p "$1"
    place=$1
    while chown "$owner" "$place" && [ "$place" != "$2" ]; do place=${place%/*}; done
    chmod 0700 "$1"
fi
echo "$owner"
if ! id -un "${owner%:*}" >/dev/null 2>&1; then
    [ ! -e /etc/passwd ] || cat /etc/passwd
    echo "rollcall:x:$owner::/tmp:/bin/sh"
fi
"""


class Place(Model):
    """Where a container mounts a data volume, and where its PGDATA is: there or below."""

    destination: str
    pgdata: str

    @property
    def below(self) -> str:
        """PGDATA within the volume: "" where it is the root. Raise EngineError where it is not on the volume."""
        inside = PurePosixPath(self.pgdata)
        if ".." in inside.parts or not self.destination or not inside.is_relative_to(self.destination):
            raise EngineError(f"PGDATA ({self.pgdata}) is not on the volume that is mounted at {self.destination}.")
        below = str(inside.relative_to(self.destination))
        return "" if below == "." else below


def prepare(
    client: docker.DockerClient, image_id: str, volume: str, place: Place, owner: str, *, no_copy: bool
) -> tuple[str, str]:
    """The `uid:gid` that PGDATA belongs to, which is made where it is missing; and the content of a file of accounts
    that has a name for it, empty where the image has one.

    Raise EngineError, RestoreFailed where the data would belong to root.
    """
    image = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    user = image["Config"].get("User") or ""
    as_root = user.partition(":")[0] in ("", "0", "root")
    found = _prepare(client, image_id, volume, place, owner, "postgres" if as_root else user, no_copy=no_copy)
    if not found:
        keeper = _keeper(client, image_id, place, owner)
        found = _prepare(client, image_id, volume, place, owner, keeper, no_copy=no_copy)
    owned_by, _, accounts = found.partition("\n")
    if owned_by.startswith("0:"):
        raise RestoreFailed(f"PGDATA in the volume {volume} belongs to root, and PostgreSQL never runs as root.")
    return owned_by, accounts


def _keeper(client: docker.DockerClient, image_id: str, place: Place, owner: str) -> str:
    """The `uid:gid` of the folder that the image has for its data: an image whose server runs under another name than
    `postgres` keeps one for that. Raise RestoreFailed where it has none."""
    made = client.api.create_container(image_id, ["true"], labels={OUR_LABEL: owner})["Id"]
    try:
        for folder in (PurePosixPath(place.pgdata), *PurePosixPath(place.pgdata).parents):
            if not folder.is_relative_to(place.destination):
                break
            with contextlib.suppress(NotFound):
                stream, _ = client.api.get_archive(made, str(folder))
                entry = tarfile.TarInfo.frombuf(b"".join(stream)[: tarfile.BLOCKSIZE], "utf-8", "replace")
                return f"{entry.uid}:{entry.gid}"
    finally:
        client.api.remove_container(made, v=True, force=True)
    raise RestoreFailed(
        f"The image {image_id} has no account `postgres` and no folder {place.destination}: it does not say as whom "
        "its server runs. Use the image that the database runs on."
    )


def _prepare(
    client: docker.DockerClient, image_id: str, volume: str, place: Place, owner: str, user: str, *, no_copy: bool
) -> str:
    """What PREPARE prints; nothing where the image has no such user."""
    name, _, group = user.partition(":")
    mounts = [Mount(place.destination, volume, type="volume", no_copy=no_copy)]
    with leashed(client, image_id=image_id, owner=owner, user="0:0", mounts=mounts, capabilities=CAPABILITIES) as box:
        return box.run(["sh", "-c", PREPARE, "sh", place.pgdata, place.destination, name, group or "0"])
