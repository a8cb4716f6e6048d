"""The shell script of the helper that searches volumes for clusters, and for the files that belong to none. Its
arguments are the names of the folders below /volumes."""

from __future__ import annotations

from tasks.containers import other_files
from tasks.containers.control_file import BYTES
from tasks.containers.startable import start_each

SEARCH_SECONDS = 30
SIZE_SECONDS = 20
PROGRAMS = ("find", "od", "tr", "cut", "du", "df", "tail", "head", "wc", "readlink")
"""The helper ends with 127 if one of these cannot start."""

# For coreutils and busybox alike. What it prints of others' files is hexadecimal: a name may hold anything. Links are
# not followed, and the control file is read until two readings agree: its server may be writing it. A volume is unclear
# where the search says of anything but what went meanwhile, as it may where a server runs, that it could not look.
_TEXT = r"""
export LC_ALL=C
%(start_each)s
if timeout 5 true 2>/dev/null; then limit() { timeout "$@"; }; else limit() { shift; "$@"; }; fi
unclear() { echo "unclear $n x$(printf %%s "$1" | hex)"; }
hex() { od -An -v -tx1 "$@" 2>/dev/null | tr -d ' \n'; }
look() {
    for part in "$1" "$1/global" "$1/global/pg_control"; do [ -L "$part" ] && return; done
    [ -f "$1/global/pg_control" ] || return
    control=; again=$(hex -N%(bytes)d "$1/global/pg_control")
    until [ "$control" = "$again" ]; do control=$again; again=$(hex -N%(bytes)d "$1/global/pg_control"); done
    size=$(limit %(size_seconds)d du -sk "$1" 2>/dev/null | cut -f1)
    free=$(df -kP "$1" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)
    pid=no; [ -e "$1/postmaster.pid" ] && pid=yes
    names="x$(printf %%s "${1#$root}" | hex) x$(hex -N16 "$1/PG_VERSION")"
    echo "cluster $n $names x$control ${size:--} ${free:--} $pid"
}
%(other_files)s
for n in "$@"; do
    root=/volumes/$n
    files=$(limit %(search_seconds)d find $root -maxdepth 4 -type d \( %(pruned)s \) -prune \
        -o -type f -name PG_VERSION -print 2>&1); status=$?
    if [ $status -ge 124 ]; then
        unclear "it is too big"
    elif [ $status -ne 0 ]; then
        case "$files" in *": No such file or directory"*) ;; *) unclear "find ended with $status" ;; esac
    fi
    said=
    printf '%%s\n' "$files" | while IFS= read -r line; do
        case "$line" in
            $root/*/PG_VERSION|$root/PG_VERSION) look "${line%%/PG_VERSION}" ;;
            "find: "*": No such file or directory") ;;
            "find: "*) [ -n "$said" ] || unclear "$line"; said=yes ;;
        esac
    done
    other_files "$files"
    echo "done $n"
done
echo end
"""
PRUNED = (
    "base", "pg_wal", "pg_xlog", "pg_tblspc", "pg_xact", "pg_multixact", "pg_subtrans", "pg_stat", "pg_stat_tmp",
    "pg_logical", "pg_replslot", "pg_notify", "pg_snapshots", "pg_serial", "pg_twophase", "pg_commit_ts", "pg_dynshmem",
)  # fmt: skip
SCRIPT = _TEXT % {
    "start_each": start_each(*PROGRAMS),
    "bytes": BYTES,
    "size_seconds": SIZE_SECONDS,
    "search_seconds": SEARCH_SECONDS,
    "pruned": " -o ".join(f"-name {name}" for name in PRUNED),
    "other_files": other_files.SCRIPT,
}
