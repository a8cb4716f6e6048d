"""Files in PGDATA that are not PostgreSQL's own, such as keys and a `conf.d`.

No backup holds them, and the server may not start without them. A restore copies them from the volume that is there,
with owners and rights.
"""

from __future__ import annotations

from collections.abc import Sequence

import docker
from docker.types import Mount

from tasks.containers.copying import CAPABILITIES
from tasks.containers.leashed import leashed
from tasks.containers.other_files import OWN
from tasks.containers.scratch_place import Place

# $1: PGDATA below the root; $2: PostgreSQL's own names; then what an earlier run copied, which is copied again. What
# the copy has already stays as it is there.
TAKE_OVER = r"""
below=$1 own=$2; shift 2
cd "/from/$below" 2>/dev/null || exit 0
for each in "$@"; do rm -rf "/to/$below/$each" || exit 1; done
for each in * .[!.]* ..?*; do
    [ -e "$each" ] || [ -L "$each" ] || continue
    case "$own" in *" $each "*) continue ;; esac
    [ ! -e "/to/$below/$each" ] || continue
    cp -a "$each" "/to/$below/" || exit 1
    printf '%s\n' "$each"
done
"""

# $1: PGDATA; then arguments of the server's. What lies outside of PGDATA is the container's own, and is not here.
# `postgres -C` prints a setting.
CHECK = r"""
pgdata=$1; shift
said=$(postgres -D "$pgdata" "$@" -C data_directory 2>&1 >/dev/null) || {
    case "$said" in *"$pgdata"*) printf '%s\n' "$said" | grep -v "^$" | head -n 1 ;; esac; exit 0
}
[ "$(postgres -D "$pgdata" "$@" -C ssl 2>/dev/null)" = on ] || exit 0
for name in ssl_cert_file ssl_key_file ssl_ca_file ssl_crl_file ssl_dh_params_file; do
    file=$(postgres -D "$pgdata" "$@" -C $name 2>/dev/null) || continue
    case "$file" in "") continue ;; "$pgdata"/*) ;; /*) continue ;; *) file=$pgdata/$file ;; esac
    [ -r "$file" ] || { echo "$name is $file, which is not there or cannot be read by the server's user"; exit 0; }
done
"""


def take_over(
    client: docker.DockerClient, *, source: str, volume: str, place: Place, image_id: str, owner: str,
    again: Sequence[str] = (), deadline: float = 3600.0,
) -> list[str]:  # fmt: skip
    """Copy what is in PGDATA of `source` and is not PostgreSQL's own into that of `volume`, unless it is there already.

    again: names that were copied earlier, and are copied anew. Return the names. Raise EngineError, RestoreFailed.
    """
    mounts = [
        Mount("/from", source, type="volume", read_only=True, no_copy=True),
        Mount("/to", volume, type="volume", no_copy=True),
    ]
    with leashed(client, image_id=image_id, owner=owner, user="0:0", mounts=mounts, capabilities=CAPABILITIES) as box:
        own = f" {' '.join(OWN)} "
        return box.run(["sh", "-c", TAKE_OVER, "sh", place.below, own, *again], deadline=deadline).splitlines()


def make_folder(client: docker.DockerClient, *, volume: str, below: str, image_id: str, owner: str) -> None:
    """Make the folder `below` in the volume, where it is not there: it changes places with another one."""
    mounts = [Mount("/to", volume, type="volume", no_copy=True)]
    script = 'mkdir -p "/to/$1"'
    with leashed(
        client, image_id=image_id, owner=owner, user="0:0", mounts=mounts, capabilities=("DAC_OVERRIDE",)
    ) as box:
        box.run(["sh", "-c", script, "sh", below])


def tls_settings(command: Sequence[str]) -> list[str]:
    """The settings of TLS that a container's command gives its server, as arguments: they win over its files (pure)."""
    found = [each.removeprefix("--").removeprefix("-c") for each in command]
    named = [each.replace("-", "_", each.partition("=")[0].count("-")) for each in found if "=" in each]
    return [word for each in named if each.startswith("ssl") for word in ("-c", each)]


def why_not_readable(
    client: docker.DockerClient, *, volume: str, place: Place, image_id: str, owner: str, settings: Sequence[str] = ()
) -> str:
    """Why a server cannot start with the configuration in PGDATA, in PostgreSQL's words; empty where it can, as far as
    is known without a start. What the container brings from outside of PGDATA is not looked at. settings: arguments of
    the server's command."""
    mounts = [Mount(place.destination, volume, type="volume", no_copy=True)]
    with leashed(
        client, image_id=image_id, owner=owner, user="0:0", mounts=mounts, capabilities=("DAC_READ_SEARCH",)
    ) as box:
        user = box.run(["stat", "-c", "%u:%g", place.pgdata]).strip()
        return " ".join(box.run(["sh", "-c", CHECK, "sh", place.pgdata, *settings], user=user).split())
