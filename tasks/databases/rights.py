"""What the user of a target may not read in a database: tables, sequences, rows behind a policy, large objects; and
what PostgreSQL's programs leave out for everybody but a superuser, without failing."""

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
# pg_read_all_data does not cover large objects, and only PostgreSQL 18 has has_largeobject_privilege().
UNREADABLE_LARGE_OBJECTS = """
    SELECT count(*) FROM pg_largeobject_metadata AS m
    WHERE current_setting('lo_compat_privileges') = 'off' AND NOT pg_has_role(m.lomowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) AS a WHERE a.privilege_type = 'SELECT'
                      AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END)
"""
# pg_dump warns of the first and is silent about the second; it ends well in both cases.
LEFT_OUT = """
    SELECT 'the subscription ' || quote_ident(subname) FROM pg_subscription
    WHERE current_setting('is_superuser') = 'off'
      AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT 'the options of the user mapping of ' || quote_ident(usename) || ' for ' || quote_ident(srvname)
    FROM pg_user_mappings WHERE current_setting('is_superuser') = 'off' AND umoptions IS NULL
    ORDER BY 1
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


def unreadable_large_objects(connection: Connection) -> int:
    """How many large objects the user cannot read, so that a dump would stop there. Raise DatabaseError."""
    with translated("the user's rights"):
        row = connection.execute(UNREADABLE_LARGE_OBJECTS).fetchone()
    return int(row[0]) if row else 0


def left_out(connection: Connection) -> list[str]:
    """What pg_dump leaves out because the user is no superuser, although it ends well. Raise DatabaseError."""
    with translated("the user's rights"):
        return [str(what) for (what,) in connection.execute(LEFT_OUT)]


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
