"""What no dump brings back, set again in a rebuilt cluster: the extensions' own sequences, ALTER ROLE ALL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psycopg

from tasks.databases.cluster_state import read_state, settings_sql
from tasks.databases.connect import Login, connect, translated
from tasks.databases.secret_settings import shown
from tasks.models import Difference, Manifest, Tally

# A sequence that this version of the extension does not have stays a difference, which the proof names.
SET = "SELECT pg_catalog.setval(s, %s, %s) FROM pg_catalog.to_regclass(%s) AS s WHERE s IS NOT NULL"


def set_positions(login: Callable[[str], Login], tallies: Mapping[str, Tally]) -> list[Difference]:
    """Put each of the extensions' own sequences where it stood, in every database, be it read-only by default; return
    why one could not be. Raise DatabaseError."""
    refused = []
    for database, tally in tallies.items():
        if tally.extension_sequences:
            with connect(login(database)) as connection, translated("the positions of the extensions' sequences"):
                connection.execute("SET default_transaction_read_only = off")
                for name, each in tally.extension_sequences.items():
                    try:
                        connection.execute(SET, [each.last_value, each.is_called, name])
                    except psycopg.DatabaseError as error:
                        if connection.closed:
                            raise
                        why = error.diag.message_primary or type(error).__name__
                        refused.append(
                            Difference(kind="sequence", database=database, object=f"position of {name}", why=why)
                        )
    return refused


def set_for_all_roles(login: Callable[[str], Login], manifest: Manifest) -> list[Difference]:
    """Set what ALTER ROLE ALL had set; return what is not so afterwards, and why. To be done last, for it holds for the
    sessions of a rebuild, too. Raise DatabaseError."""
    refused: dict[str, str] = {}
    settings: Mapping[str, str] = manifest.cluster.get("settings_for_all") or {}
    if not settings:
        return []
    with connect(login("template1")) as connection, translated("the settings of all roles"):
        connection.execute("SET default_transaction_read_only = off")
        for name, statement in zip(settings, settings_sql(manifest.cluster), strict=True):
            try:
                connection.execute(statement.encode())
            except psycopg.DatabaseError as error:
                refused[name] = error.diag.message_primary or type(error).__name__
        found: Mapping[str, str] = read_state(connection)["settings_for_all"]
    return [
        Difference(
            kind="setting", database=manifest.database, object=f"setting {name} of all roles",
            expected=shown(name, value), found=shown(name, found[name]) if name in found else "missing",
            why=refused.get(name),
        )
        for name, value in settings.items()
        if found.get(name) != value
    ]  # fmt: skip
