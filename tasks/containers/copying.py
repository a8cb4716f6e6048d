"""Copy a whole data volume into another one, by a container that may only read the first."""

from __future__ import annotations

from pathlib import PurePosixPath

import docker
from docker.types import Mount

from tasks.containers.leashed import ProgramFailed, leashed
from tasks.containers.scratch_place import Place
from tasks.containers.scratch_settings import is_full
from tasks.containers.volumes import find_volume
from tasks.errors import RestoreFailed

# FSETID keeps set-group-id bits, which a change of owner would clear.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")

# $1 PGDATA below the root. One line for each fact; a link's last word is where it leads.
LOOK = r"""
cd "/source/$1" && [ -f global/pg_control ] || { echo "no cluster"; exit; }
version=$(head -n 1 PG_VERSION) || exit; echo "version $version"
for file in standby.signal recovery.signal recovery.conf; do [ ! -e $file ] || echo "recovering $file"; done
for link in pg_wal pg_tblspc/*; do [ ! -L "$link" ] || echo "link $link $(readlink "$link")"; done
"""

# $2: the folder that is copied, empty for all of the volume. What is left of a server that ended badly must not pass
# for one that runs: in a container both may be process 1.
COPY = 'mkdir -p "/copy/$2" && cp -a "/source/$2/." "/copy/$2/" && rm -f "/copy/$1/postmaster.pid"'


def copy_volume(
    client: docker.DockerClient,
    *,
    source: str,
    volume: str,
    place: Place,
    image_id: str,
    owner: str,
    deadline: float,
    below: str = "",
) -> int:
    """Copy all of `source`, or the folder `below` in it, into the empty `volume`, with owners, rights and holes; return
    the major version of the cluster at `place`. deadline is in seconds.

    Raise RestoreFailed: no such volume, one that is in use before or after, no cluster there, one that recovers or
    follows another or that lies on more than this volume, or a full disk.
    """
    _refuse_users(client, source)
    mounts = [
        Mount("/source", source, type="volume", read_only=True, no_copy=True),
        Mount("/copy", volume, type="volume", no_copy=True),
    ]
    with leashed(client, image_id=image_id, owner=owner, user="0:0", mounts=mounts, capabilities=CAPABILITIES) as box:
        major = checked(box.run(["sh", "-c", LOOK, "sh", place.below]), source, place)
        try:
            box.run(["sh", "-c", COPY, "sh", place.below, below], deadline=deadline)
        except ProgramFailed as error:
            full = " The disk is full: make room there, then try again." if is_full(error.words) else ""
            raise RestoreFailed(f"The volume {source} cannot be copied into {volume}: {error}{full}") from error
    _refuse_users(client, source)
    return major


def _refuse_users(client: docker.DockerClient, source: str) -> None:
    """A copy of what is being written is none."""
    found = find_volume(client, source)
    if found is None:
        raise RestoreFailed(f"There is no volume {source} on this Docker engine.")
    users = [each.container for each in found.users if each.running and not each.read_only]
    if users:
        raise RestoreFailed(f"The volume {source} is in use by {', '.join(users)}; stop that first, then try again.")


def checked(facts: str, source: str, place: Place) -> int:
    """The major version that LOOK's lines tell of (pure). Raise RestoreFailed: what stands against a server there."""
    where = f"The cluster in the volume {source}"
    major = 0
    for line in facts.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "no":
            raise RestoreFailed(f"The volume {source} holds no PostgreSQL cluster in {place.below or 'its root'}.")
        if kind == "version":
            major = int(rest.partition(".")[0])
        if kind == "recovering":
            raise RestoreFailed(
                f"{where} follows another or is being recovered ({rest}); promote it, or take that one."
            )
        if kind == "link" and not PurePosixPath(rest.split(" ", 1)[1]).is_relative_to(place.destination):
            name, _, target = rest.partition(" ")
            raise RestoreFailed(f"{where} is not whole: its {name} leads out of the volume, to {target}.")
    return major
