"""How a cluster is made again from a backup: PostgreSQL's own programs, their arguments, and what cannot be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.models import Manifest

OLDEST_WITH_PROVIDER = 15


def initdb_arguments(cluster: Mapping[str, Any], server_version: str) -> list[str]:
    """initdb's arguments for a cluster like the one that `cluster` of a manifest describes (read_cluster).

    Source: PostgreSQL documentation, initdb. Data checksums are said either way: PostgreSQL 18 has them on by default.
    """
    major = int(server_version.partition(".")[0] or 0)
    arguments = [f"--username={cluster['bootstrap_user']}", f"--encoding={cluster['encoding']}", "--no-sync"]
    arguments += [f"--lc-collate={cluster['collate']}", f"--lc-ctype={cluster['ctype']}"]
    arguments += _provider(cluster) if major >= OLDEST_WITH_PROVIDER else []
    if cluster.get("data_checksums"):
        arguments.append("--data-checksums")
    elif major >= 18:
        arguments.append("--no-data-checksums")
    if cluster.get("wal_segment_size"):
        arguments.append(f"--wal-segsize={int(cluster['wal_segment_size']) // (1 << 20)}")
    return [*arguments, "--auth=trust"]


def _provider(cluster: Mapping[str, Any]) -> list[str]:
    provider = cluster.get("locale_provider") or "libc"
    arguments = [f"--locale-provider={provider}"]
    if provider == "icu":
        arguments.append(f"--icu-locale={cluster['icu_locale']}")
        if cluster.get("icu_rules"):
            arguments.append(f"--icu-rules={cluster['icu_rules']}")
    if provider == "builtin":
        arguments.append(f"--builtin-locale={cluster['icu_locale']}")
    return arguments


def loadable_globals(script: str, bootstrap_user: str) -> str:
    """A globals script for a cluster that initdb has just made: its superuser is there already."""
    quoted = re.escape('"' + bootstrap_user.replace('"', '""') + '"')
    plain = re.escape(bootstrap_user)
    return re.sub(rf"^CREATE ROLE (?:{plain}|{quoted});\n", "", script, flags=re.MULTILINE)


def psql_command(user: str) -> list[str]:
    """psql that reads a script and stops at its first error."""
    return [
        "psql", "--no-psqlrc", "--quiet", "--host=/rollcall", f"--username={user}", "--dbname=postgres",
        "--set=ON_ERROR_STOP=1", "--file=-",
    ]  # fmt: skip


def restore_command(database: str, archive: str, user: str, jobs: int) -> list[str]:
    """pg_restore of one database with all its properties, any error fatal.

    initdb has made `postgres` and `template1`: they are dropped and made again like any other, from a connection to
    another one (PostgreSQL documentation, pg_restore, --create with --clean).
    """
    through = "template1" if database == "postgres" else "postgres"
    return [
        "pg_restore", "--create", "--clean", "--if-exists", "--exit-on-error", f"--jobs={jobs}", "--host=/rollcall",
        f"--username={user}", f"--dbname={through}", archive,
    ]  # fmt: skip


def analyze_command(user: str, jobs: int) -> list[str]:
    """Statistics for all databases: a dump holds none, and without them the first hour is slow."""
    return [
        "vacuumdb", "--all", "--analyze-only", "--quiet", f"--jobs={jobs}", "--host=/rollcall",
        f"--username={user}", "--maintenance-db=postgres",
    ]  # fmt: skip


def preloaded(configurations: Sequence[str]) -> str:
    """What `shared_preload_libraries` says in configuration files, the last one winning; empty if it says nothing.

    Some extensions cannot be created without their library.
    """
    found = [
        match.group(1)
        for text in configurations
        for match in re.finditer(r"^\s*shared_preload_libraries\s*=?\s*'([^']*)'", text, re.MULTILINE)
    ]
    return found[-1] if found else ""


def cannot_be_rebuilt(manifest: Manifest) -> list[str]:
    """Why a backup cannot be rebuilt in a volume alone, a sentence each; none if it can."""
    reasons = []
    if manifest.method != "dump":
        reasons.append(
            f"Backup {manifest.id} was taken by the method {manifest.method}, which this version cannot load."
        )
    if tablespaces := manifest.cluster.get("tablespaces"):
        reasons.append(
            f"Backup {manifest.id} has tablespaces outside of its volume ({', '.join(sorted(tablespaces))}); restore "
            "it by hand."
        )
    if "bootstrap_user" not in manifest.cluster:
        reasons.append(f"Backup {manifest.id} does not say how its cluster was initialised; restore it by hand.")
    return reasons
