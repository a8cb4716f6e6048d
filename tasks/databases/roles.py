"""The roles of a cluster, as the server and as a globals script name them."""

from __future__ import annotations

import re

from tasks.databases.connect import Connection, translated

_CREATED = re.compile(r'^CREATE ROLE (?:"((?:[^"]|"")+)"|([^";\s]+));$', re.MULTILINE)


def read_roles(connection: Connection) -> list[str]:
    """The names of all roles that are not PostgreSQL's own, sorted. Raise DatabaseError."""
    with translated("the list of roles"):
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname").fetchall()
    return [str(name) for (name,) in rows]


def roles_in(globals_sql: str) -> list[str]:
    """The names of the roles that a script of `pg_dumpall --globals-only` creates."""
    return [(quoted.replace('""', '"') or plain) for quoted, plain in _CREATED.findall(globals_sql)]
