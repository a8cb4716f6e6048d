"""What a scratch server is configured with, and what its log says (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

PORT = 5432

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_directories": "/rollcall",
    "hba_file": "/rollcall/pg_hba.conf",
    "ident_file": "/rollcall/pg_ident.conf",
    "ssl": "off",
    # Nothing that the cluster did of its own accord.
    "archive_mode": "off",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "autovacuum": "off",
    "restart_after_crash": "off",
    # What is rebuilt is written to disk once, at the end (initdb --sync-only); a crash before that starts it anew.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "jit": "off",
    # A tally locks every table at once.
    "max_connections": "30",
    "max_locks_per_transaction": "4096",
    "max_replication_slots": "1000",
    # A statement that fails may hold a password verifier: no statement may reach a log.
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "lc_messages": "C",
}
PRELOAD_NOTHING = {"shared_preload_libraries": ""}
FULL = ("No space left on device", "Disk quota exceeded")

# By the first version that knows them.
NEWER_SETTINGS = {17: {"event_triggers": "off"}}

# What a cluster cannot do without once it was used, under the name that pg_controldata has for it.
REMEMBERED = {
    "wal_level setting": "wal_level",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "track_commit_timestamp setting": "track_commit_timestamp",
}


def scratch_settings(control: Mapping[str, str], wanted: Mapping[str, str], major: int) -> dict[str, str]:
    """Every setting of a scratch server of version `major`: those of ours win over what is `wanted`, which wins over
    what the cluster's control file remembers."""
    remembered = {setting: control[name] for name, setting in REMEMBERED.items() if name in control}
    settings = {**remembered, **PRELOAD_NOTHING, **wanted, **SETTINGS}
    for since, newer in NEWER_SETTINGS.items():
        settings |= newer if major >= since else {}
    return settings


def configuration(settings: Mapping[str, str]) -> str:
    """The text of a postgresql.conf (pure)."""
    quoted = {
        name: value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") for name, value in settings.items()
    }
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def last_reason(log: str) -> str:
    """The last thing in a server's log that says why, in one line (pure)."""
    lines = [re.sub(r"^.*?(?=(FATAL|PANIC|ERROR|HINT|DETAIL|LOG): )", "", each) for each in log.splitlines()]
    lines = [line for line in lines if line.strip()]
    grave = [place for place, line in enumerate(lines) if line.startswith(("FATAL", "PANIC", "ERROR"))]
    said = lines[-1:]
    if grave:
        # What is wrong in a configuration is said by the line before.
        first = grave[-1] - ("contains errors" in lines[grave[-1]])
        said = lines[max(0, first) : grave[-1] + 1]
        said += [line for line in lines[grave[-1] + 1 :] if line.startswith(("HINT", "DETAIL"))]
    return " ".join(" ".join(said).split()).rstrip(".") or "it said nothing"


def is_full(said: str) -> bool:
    """Whether what a program or a server said tells of a full disk, and not of too little shared memory (pure)."""
    return any(sign in line and "shared memory" not in line for line in said.splitlines() for sign in FULL)
