"""What the user of a target may not read in a database: tables, sequences, rows behind a policy."""

from __future__ import annotations

from tasks.databases.connect import Connection, translated

# What pg_dump dumps: everything outside of the system's own schemas that no extension owns.
HIDDEN = """
    WITH mine AS (
        SELECT c.oid, c.relkind, c.oid::regclass::text AS name, n.oid AS schema
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype = 'e'))
    SELECT name FROM mine
    WHERE NOT has_schema_privilege(schema, 'USAGE')
       OR NOT CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'SELECT')
                   ELSE has_table_privilege(oid, 'SELECT') END
       OR row_security_active(oid)
    ORDER BY name
"""
# pg_dumpall of the roles reads their password verifiers.
ROLES = "SELECT has_table_privilege('pg_authid', 'SELECT')"
SIZE = """
    SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
    WHERE has_database_privilege(oid, 'CONNECT')
"""


def hidden(connection: Connection) -> list[str]:
    """The names of what the user cannot read in full, and a dump would stop at. Raise DatabaseError."""
    with translated("the user's rights"):
        return [str(name) for (name,) in connection.execute(HIDDEN)]


def may_read_roles(connection: Connection) -> bool:
    """Whether the user may read the roles with their password verifiers. Raise DatabaseError."""
    with translated("the user's rights"):
        row = connection.execute(ROLES).fetchone()
    return bool(row and row[0])


def cluster_bytes(connection: Connection) -> int:
    """The size of all databases on disk. Raise DatabaseError."""
    with translated("the size of the databases"):
        row = connection.execute(SIZE).fetchone()
    return int(row[0]) if row else 0
