"""Extensions in the versions that they had: pg_dump records none, so a restore makes the image's default ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from tasks.databases.connect import Connection
from tasks.models import Tally

AVAILABLE = """
    SELECT quote_ident(name), version, default_version
    FROM pg_available_extensions JOIN pg_available_extension_versions USING (name)
"""

# What the extension is at now, where the files of the image have another default and no way to this version.
NOT_AVAILABLE = """
    SELECT quote_ident(extname), extversion, default_version
    FROM pg_extension LEFT JOIN pg_available_extensions ON name = extname
    WHERE NOT EXISTS (
        SELECT FROM pg_available_extension_versions AS v WHERE v.name = extname AND v.version = extversion)
    ORDER BY 1
"""


def older(connection: Connection, tally: Tally) -> dict[str, str]:
    """The versions by extension, as in the tally, that are not the server's default and that it can make. Raise
    psycopg.Error."""
    return chosen(versions(tally), connection.execute(AVAILABLE).fetchall())


def versions(tally: Tally) -> dict[str, str]:
    """The version by extension, its name quoted as PostgreSQL does (pure)."""
    return {
        name.removeprefix("extension "): str(json.loads(text)[0])
        for name, text in tally.definitions.items()
        if name.startswith("extension ")
    }


def chosen(wanted: Mapping[str, str], available: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Those of the wanted versions that are available, and are not the default ones (pure)."""
    return {name: version for name, version, default in available if wanted.get(name) == version and version != default}


def edit(these: Mapping[str, str]) -> str:
    """A sed script that adds these versions to pg_dump's CREATE EXTENSION (pure)."""
    return "\n".join(
        f"s/^\\(CREATE EXTENSION IF NOT EXISTS {_literal(name)} WITH SCHEMA .*\\);$/\\1 VERSION '{_literal(version)}';/"
        for name, version in these.items()
    )


def _literal(text: str) -> str:
    return re.sub(r"([\\/.*\[\]^$&])", r"\\\1", text.replace("'", "''"))


def unmakeable(connection: Connection) -> list[tuple[str, str, str | None]]:
    """The extensions of a database that a restore would bring in another version: name, version, and the image's own;
    None where the image has none. Raise psycopg.Error."""
    return [(name, version, default) for name, version, default in connection.execute(NOT_AVAILABLE)]
