"""What belongs to a cluster and is in no dump, or comes back from one changed: read, and said in words.

pg_dumpall writes the settings of each role and database, but not those of ALTER ROLE ALL. A subscription comes back
disabled (PostgreSQL documentation, pg_dump, Notes). Replication slots, prepared transactions and replication origins
are in no dump at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, LiteralString

from tasks.databases.connect import Connection

# pg_subscription is of the whole cluster; subconninfo alone is for superusers. Origins named pg_… are of subscriptions.
STATE: LiteralString = """
    SELECT json_build_object(
        'is_superuser', current_setting('is_superuser') = 'on',
        'settings_for_all', (
            SELECT coalesce(json_object_agg(split_part(s, '=', 1), substr(s, strpos(s, '=') + 1)), '{}')
            FROM pg_db_role_setting, unnest(setconfig) AS s WHERE setrole = 0 AND setdatabase = 0),
        'subscriptions', (
            SELECT coalesce(json_agg(json_build_object('name', quote_ident(subname), 'database', datname,
                'enabled', subenabled, 'slot', subslotname) ORDER BY datname, subname), '[]')
            FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid),
        'replication_slots', (
            SELECT coalesce(json_agg(json_build_object('name', slot_name, 'kind', slot_type, 'plugin', plugin,
                'database', database) ORDER BY slot_name), '[]')
            FROM pg_replication_slots WHERE NOT temporary),
        'prepared_transactions', (
            SELECT coalesce(json_agg(json_build_object('name', gid, 'database', database, 'owner', owner)
                ORDER BY gid), '[]')
            FROM pg_prepared_xacts),
        'replication_origins', (
            SELECT coalesce(json_agg(roname ORDER BY roname), '[]')
            FROM pg_replication_origin WHERE roname !~ '^pg_[0-9]'))
"""


def read_state(connection: Connection) -> dict[str, Any]:
    """Plain data for a manifest: is_superuser (of who asks), settings_for_all (by name), subscriptions,
    replication_slots, prepared_transactions and replication_origins. Raise psycopg.Error."""
    row = connection.execute(STATE).fetchone()
    found: dict[str, Any] = row[0] if row else {}
    return found


# Their values are lists of names, each of which must be quoted by itself (GUC_LIST_QUOTE in PostgreSQL's guc_tables.c).
LISTS = frozenset(
    {
        "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
        "temp_tablespaces", "unix_socket_directories",
    }
)  # fmt: skip


def settings_sql(cluster: Mapping[str, Any]) -> list[str]:
    """The statements that set again what ALTER ROLE ALL had set, from a manifest's `cluster`."""
    settings: Mapping[str, str] = cluster.get("settings_for_all") or {}
    return [f"ALTER ROLE ALL SET {_quoted(name)} TO {_value(name, value)};" for name, value in settings.items()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(name: str, value: str) -> str:
    listed = re.findall(r'"((?:[^"]|"")*)"|([^,\s]+)', value) if name.lower() in LISTS else []
    return ", ".join(literal(quoted.replace('""', '"') or plain) for quoted, plain in listed) or literal(value)


def literal(value: str) -> str:
    """A text as SQL has it, whatever `standard_conforming_strings` is."""
    text = value.replace("'", "''")
    return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


def not_carried(cluster: Mapping[str, Any]) -> list[str]:
    """What a backup cannot bring back as it is, a sentence each without its full stop, from a manifest's `cluster`."""
    return [*_subscriptions(cluster), *_slots(cluster), *_prepared(cluster), *_origins(cluster)]


def _subscriptions(cluster: Mapping[str, Any]) -> list[str]:
    said = []
    for each in cluster.get("subscriptions") or []:
        place = f"{SUBSCRIPTION} {each['name']} of {each['database']}"
        if not cluster.get("is_superuser"):
            said.append(f"{place}: pg_dump leaves it out, for `user` is no superuser; create it again after a restore")
        elif each["enabled"]:
            said.append(
                f"{place}: it comes back disabled, and what the publisher sends meanwhile may be missing; after a "
                f"restore see that its slot {each['slot']} is still there, then ALTER SUBSCRIPTION {each['name']} "
                f"ENABLE and ALTER SUBSCRIPTION {each['name']} REFRESH PUBLICATION WITH (copy_data = false)"
            )
    return said


def _slots(cluster: Mapping[str, Any]) -> list[str]:
    return [
        f"{SLOT} {each['name']} ({_of_slot(each)}): no dump holds one, and whoever reads it must be set up again after "
        "a restore"
        for each in cluster.get("replication_slots") or []
    ]


def _of_slot(slot: Mapping[str, Any]) -> str:
    logical = f", {slot['plugin']}, database {slot['database']}"
    return f"{slot['kind']}{logical if slot['kind'] == 'logical' else ''}"


def _prepared(cluster: Mapping[str, Any]) -> list[str]:
    return [
        f"{PREPARED} '{each['name']}' of {each['owner']} in {each['database']}: what it changed is not committed, so "
        "it is in no dump; COMMIT PREPARED or ROLLBACK PREPARED it before a backup"
        for each in cluster.get("prepared_transactions") or []
    ]


def _origins(cluster: Mapping[str, Any]) -> list[str]:
    names = cluster.get("replication_origins") or []
    return [f"{ORIGINS} {', '.join(names)}: their positions are in no dump"] if names else []


SUBSCRIPTION, SLOT, PREPARED, ORIGINS = (
    "the subscription", "the replication slot", "the prepared transaction", "the replication origins",
)  # fmt: skip
