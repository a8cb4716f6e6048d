"""Where an image keeps PostgreSQL's programs: not every one has them on PATH, and some hold several versions."""

from __future__ import annotations

# Debian's packages, those of postgresql.org for RPM, Alpine's, a build from source, and what vendors put below /opt.
USUAL = (
    "/usr/lib/postgresql/$major/bin /usr/pgsql-$major/bin /usr/libexec/postgresql$major /usr/local/pgsql/bin "
    "/usr/local/pgsql-$major/bin /opt/*/bin /opt/*/*/bin"
)

# The folder with a server of the very version comes first on PATH: Debian's own pg_dump on PATH is a script that takes
# the newest one. Where no usual folder has it, the image is searched, and nothing that is mounted into it.
SEARCH = r"""
major=%(major)d
runs() {
    case $("$1/postgres" --version 2>/dev/null </dev/null) in *") $major"[!0-9]*|*") $major") ;; *) false ;; esac
}
programs() {
    onpath=$(command -v postgres)
    for folder in "${onpath%%/*}" %(usual)s; do runs "$folder" && echo "$folder" && return; done
    find / -xdev -name postgres ! -type d 2>/dev/null </dev/null | while IFS= read -r each; do
        runs "${each%%/*}" && echo "${each%%/*}" && break
    done
}
folder=$(programs)
[ -z "$folder" ] || PATH=$folder:$PATH
export PATH
"""


def path_with(major: int) -> str:
    """Lines of shell that put the programs of PostgreSQL `major` first on PATH; `$folder` is where they are then, and
    empty where the image has no server of that version. 0, for a version that is not known: no lines."""
    return SEARCH % {"major": major, "usual": USUAL} if major else ""
