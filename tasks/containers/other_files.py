"""Files in a volume that no PostgreSQL cluster in it needs: uploads beside PGDATA, keys in it, an archive of its log.

A restore or a removal of a cluster must not touch them: no backup of a database holds them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.models import Model

NAMED = 3

# What PostgreSQL 9.6 to 18 itself makes in PGDATA (documentation, Database File Layout; initdb.c, xlog.c, syslogger.c,
# pg_upgrade), and the file that a scratch server puts aside. `log` and `pg_log` are where a server logs by default.
OWN = (
    "PG_VERSION", "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify",
    "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase",
    "pg_wal", "pg_xlog", "pg_xact", "pg_clog", "postgresql.conf", "postgresql.auto.conf", "postgresql.auto.conf.tmp",
    "pg_hba.conf", "pg_ident.conf", "postmaster.opts", "postmaster.pid", "current_logfiles", "current_logfiles.tmp",
    "log", "pg_log", "backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest",
    "recovery.conf", "recovery.done", "recovery.signal", "standby.signal", "promote", "logrotate",
    "pg_upgrade_output.d", "rollcall.auto.conf",
)  # fmt: skip

# For the shell of cluster_search.SCRIPT, whose $n, $root, hex and limit it uses. $1: the lines of its search. Folders
# are walked only on the way to a cluster, to a tablespace or to a log that a cluster's links lead to; of all else the
# number of files is counted, and 50 are named of each folder that is walked: a hundred dumps beside PGDATA do not hide
# the key in it. A folder that holds no file is nothing: lost+found, for example. What cannot be counted counts as one
# file. A volume without a cluster is of less interest: there no size is measured.
SCRIPT = (
    r"""
own=" """
    + " ".join(OWN)
    + r""" "
nl='
'
is_cluster() { [ -f "$1/PG_VERSION" ] && [ -f "$1/global/pg_control" ] && [ ! -L "$1" ]; }
leads_on() {
    [ -d "$1" ] && [ ! -L "$1" ] || return 1
    case "$nl$homes" in *"$nl$1/"*) return 0 ;; esac
    case "$links" in *"/${1#"$root"/}/"*) return 0 ;; esac
    return 1
}
is_own() {
    if is_cluster "$1"; then
        case "$2" in *" "*) return 1 ;; esac
        case "$own" in *" $2 "*) return 0 ;; esac
    else
        case "$2" in PG_[0-9]*_[0-9]*|archive_status|summaries|*.history|*.backup|*.partial) return 0 ;; esac
        case "$2" in *[!0-9A-F]*) return 1 ;; ????????????????????????) return 0 ;; esac
    fi
    return 1
}
is_linked() {
    case "$links" in *"/${1#"$root"/}$nl"*) return 0 ;; esac
    return 1
}
other() {
    told=$((told + 1)); number=1; size=-; slash=
    if [ $told -gt 50 ]; then rest=$((rest + 1)); return 0; fi
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        slash=/
        number=$({ limit 10 find "$1" ! -type d -print 2>/dev/null || echo; } | head -n "$most" | wc -l)
        [ "$number" -gt 0 ] || return 0
    fi
    [ -z "$homes" ] || size=$(limit 10 du -sk "$1" 2>/dev/null | cut -f1)
    echo "other $n x$(printf %s "${1#"$root"/}$slash" | hex) $((number)) ${size:--}"
}
walk() ( # a shell of its own: each folder has its own count
    told=0 rest=0
    for each in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ -e "$each" ] || [ -L "$each" ] || continue
        if { is_cluster "$1" || is_linked "$1"; } && is_own "$1" "${each##*/}"; then continue; fi
        if is_cluster "$each" || is_linked "$each" || leads_on "$each"; then walk "$each"; else other "$each"; fi
    done
    below=${1#"$root"}; below=${below#/}
    [ $rest -eq 0 ] || echo "other $n x$(printf %s "${below:+$below/}" | hex) $rest - more"
)
other_files() {
    homes=$(printf '%s\n' "$1" | while IFS= read -r found; do
        case "$found" in "$root"/*) is_cluster "${found%/PG_VERSION}" && echo "${found%PG_VERSION}" ;; esac
    done)
    links=$(printf '%s\n' "$homes" | while IFS= read -r home; do
        for link in "$home"pg_wal "$home"pg_xlog "$home"pg_tblspc/*; do [ ! -L "$link" ] || readlink "$link"; done
    done)$nl
    [ "$links" = "$nl" ] || echo "linked $n"
    most=1000
    [ -z "$homes" ] || most=1000000
    walk "$root"
}
"""
)


class OtherFiles(Model):
    """A file or a folder in a volume that is no part of a cluster.

    path: below the volume's root, a folder's with a slash at its end; files: how many are in it; bytes: on disk, None
    where measuring took too long. more: it stands for so many (files) more in the folder `path`, which nobody named.
    """

    path: str
    files: int
    bytes: int | None = None
    more: bool = False


def read(fields: Sequence[str]) -> OtherFiles:
    """One from the fields of its line: path (hexadecimal behind an x), number of files, KiB; `more` or not."""
    path, files, kibibytes, *more = fields
    return OtherFiles(
        path=as_text(path[1:]),
        files=int(files),
        bytes=int(kibibytes) * 1024 if kibibytes.isdigit() else None,
        more=bool(more),
    )


def as_text(hexadecimal: str) -> str:
    """A name as people may read it, whatever bytes it has."""
    return bytes.fromhex(hexadecimal).decode(errors="backslashreplace")


def in_words(found: Sequence[OtherFiles]) -> str:
    """The first few names, the number of files and their size: `uploads/ and server.key (13 files, 4.1 MB)`."""
    names = [f"{each.files:,} more in {each.path or 'its root'}" if each.more else each.path for each in found[:NAMED]]
    if len(found) > NAMED:
        names.append(f"{sum(each.files if each.more else 1 for each in found[NAMED:]):,} more")
    listed = " and ".join(names) if len(names) < NAMED else f"{', '.join(names[:-1])} and {names[-1]}"
    files = sum(each.files for each in found)
    return f"{listed} ({files:,} {'file' if files == 1 else 'files'}, {_size(found)})"


def _size(found: Sequence[OtherFiles]) -> str:
    sizes = [each.bytes for each in found if each.bytes is not None]
    if len(sizes) < len(found):
        return "size unknown"
    return f"{sum(sizes) / 1e6:,.1f} MB" if sum(sizes) >= 100_000 else f"{sum(sizes) / 1e3:,.0f} kB"
