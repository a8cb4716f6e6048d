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
from tasks.containers.program_folder import path_with
from tasks.containers.scratch_place import Place

# $1: PGDATA below the root; $2: PostgreSQL's own names; then, in hexadecimal as they are printed, the names that an
# earlier run copied. A name may hold anything, so it never travels as text, and whatever is removed was found here not
# to be PostgreSQL's own. What the copy has already, and no earlier run copied, stays as it is there.
# An earlier copy is brought up to date file by file: the server is down meanwhile. `cp` would write through a link, so
# the copy's links and whatever is of another kind by now go first. Where the two still differ (a file with an older
# date, other rights) the whole entry is copied anew.
TAKE_OVER = r"""
export LC_ALL=C
below=$1 own=$2; shift 2
again=" $* " from=/from/$below to=/to/$below
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
is_there() { [ -e "$1" ] || [ -L "$1" ]; }
is_own() {
    case "$1" in *" "*) return 1 ;; esac
    case "$own" in *" $1 "*) return 0 ;; esac
    return 1
}
is_copied() {
    case "$again" in *" $(hex "$1") "*) return 0 ;; esac
    return 1
}
state() {
    {
        find "./$1" ! -type d ! -type l -exec stat -c '%f %h %u:%g %s %Y %n' {} + || echo "not read in $PWD"
        find "./$1" -type d -exec stat -c '%f %u:%g %n' {} + || echo "not read in $PWD"
        find "./$1" -type l -exec stat -c '%u:%g %N' {} + || echo "not read in $PWD"
    } | sort | sha256sum
}
outdated='
for each do
    if [ ! -L "$each" ] && [ ! -L "$0/$each" ]; then
        if [ -f "$each" ] && [ -f "$0/$each" ]; then continue; fi
        if [ -d "$each" ] && [ -d "$0/$each" ]; then continue; fi
    fi
    rm -rf -- "$each" || exit 1
done'
update() {
    (cd "$to" && find "./$1" -depth -exec sh -c "$outdated" "$from" {} +) || return 1
    cp -au -- "./$1" "$to/" 2>/dev/null && [ "$(state "$1")" = "$(cd "$to" && state "$1")" ] && return 0
    rm -rf -- "$to/$1" && cp -a -- "./$1" "$to/"
}
cd "$from" 2>/dev/null || exit 0
for each in * .[!.]* ..?*; do
    is_there "$each" && ! is_own "$each" || continue
    if ! is_there "$to/$each"; then
        cp -a -- "./$each" "$to/" || exit 1
    elif is_copied "$each"; then
        update "$each" || exit 1
    else
        continue
    fi
    hex "$each"; echo
done
cd "$to" || exit 1
for each in * .[!.]* ..?*; do
    is_there "$each" && ! is_own "$each" && is_copied "$each" || continue
    is_there "$from/$each" || rm -rf -- "./$each" || exit 1
done
"""

# $1: PGDATA; then arguments of the server's. What lies outside of PGDATA is the container's own, and is not here.
# `postgres -C` prints a setting.
CHECK = r"""
pgdata=$1; shift
said=$(postgres -D "$pgdata" "$@" -C data_directory 2>&1 >/dev/null) || {
    case "$said" in *"$pgdata"*) ;; *) exit 0 ;; esac
    printf '%s\n' "$said" | grep -v "^$" | head -n 1 | sed 's/^.*\(LOG\|FATAL\): *//'; exit 0
}
for name in hba_file ident_file; do
    file=$(postgres -D "$pgdata" "$@" -C $name 2>/dev/null) || continue
    case "$file" in "$pgdata"/*) ;; *) continue ;; esac
    [ -r "$file" ] || { echo "$name is $file, which is not there or cannot be read by the server's user"; exit 0; }
    sed -n 's/^[[:space:]]*include\(_dir\)\{0,1\}[[:space:]][[:space:]]*"\{0,1\}\([^"[:space:]]*\).*/\2/p' "$file" |
        while IFS= read -r more; do
            case "$more" in "$pgdata"/*) ;; /*) continue ;; *) more=${file%/*}/$more ;; esac
            [ -r "$more" ] || { echo "$file includes $more, which is not there or cannot be read"; break; }
        done
done
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

    again: what an earlier call returned; that is brought up to date, by copying what changed. Return the names in
    PGDATA that are copies now, each in hexadecimal. Raise EngineError, RestoreFailed.
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
        major = int(box.run(["cat", f"{place.pgdata}/PG_VERSION"], user=user).partition(".")[0])
        script = f"{path_with(major)}\n{CHECK}"
        return " ".join(box.run(["sh", "-c", script, "sh", place.pgdata, *settings], user=user).split())
