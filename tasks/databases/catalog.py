"""What the catalogues say: which relations hold rows, and how every object of a database is defined.

Left out everywhere: PostgreSQL's own schemas, temporary objects, and members of extensions, for which the
extension stands (pg_dump does the same). Names are quoted by the server's `quote_ident`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from tasks.databases.connect import Connection

TABLE, PARTITIONED, MATERIALIZED_VIEW, SEQUENCE = "r", "p", "m", "S"


@dataclass(frozen=True)
class Relation:
    """A table, partitioned table, materialised view or sequence (`kind` as in pg_class.relkind).

    name and root are qualified and quoted; root is the topmost partitioned table, or the relation itself.
    readable: whether the role may select from it; filtered: whether row-level security applies to the role.
    """

    oid: int
    schema: str
    table: str
    kind: str
    populated: bool
    name: str
    root: str
    readable: bool
    filtered: bool

    @property
    def identifier(self) -> sql.Identifier:
        """For building statements."""
        return sql.Identifier(self.schema, self.table)


# has_table_privilege() is null for a relation that was just dropped: that is found out by its own check.
RELATION: LiteralString = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relispopulated,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname),
           coalesce(quote_ident(rn.nspname) || '.' || quote_ident(r.relname),
                    quote_ident(n.nspname) || '.' || quote_ident(c.relname)),
           coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), true),
           c.relkind IN ('r', 'p') AND row_security_active(c.oid)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_class AS r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
    LEFT JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
    WHERE c.relpersistence <> 't'
"""

# An extension's table holds user rows, and is dumped, where the extension says so (pg_extension.extconfig).
NOT_DUMPED: LiteralString = """EXISTS (
    SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_extension'::regclass AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')))
"""

RELATIONS: LiteralString = rf"""{RELATION}
      AND c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
      AND NOT {NOT_DUMPED}
    ORDER BY n.nspname, c.relname
"""


def relations(connection: Connection) -> list[Relation]:
    """Every relation whose rows or position belong into a tally, by schema and name. Raise psycopg.Error."""
    return [Relation(*row) for row in connection.execute(RELATIONS)]


# Whatever schema they are in. Which of their rows the extension's own script made, nobody can tell.
OF_EXTENSIONS: LiteralString = f"{RELATION} AND c.relkind IN ('r', 'S') AND {NOT_DUMPED} ORDER BY 6"


def of_extensions(connection: Connection) -> list[Relation]:
    """The extensions' own tables and sequences but for those that the extension says to dump: pg_dump leaves these out.
    Raise psycopg.Error."""
    return [Relation(*row) for row in connection.execute(OF_EXTENSIONS)]


def definitions(connection: Connection) -> Iterator[tuple[str, str | None]]:
    """Every object as (kind and name, definition); None where it was dropped meanwhile. Raise psycopg.Error.

    Definitions do not depend on oids, on column numbers or on gaps between them, on owners, grants or comments but for
    those of the database itself. Not among them: casts, languages, text search configurations, operator classes,
    options of foreign servers.
    """
    for query in DEFINITIONS:
        # Reading a view's definition locks the view. Kept to the end, that lock would make a CREATE OR REPLACE VIEW
        # wait for us, and pg_dump for that one, for ever; given back at once, it is in nobody's way.
        with connection.transaction(force_rollback=True):
            rows = connection.execute(PREAMBLE + query).fetchall()
        yield from rows


PREAMBLE: LiteralString = r"""
    WITH spaces AS (
        SELECT oid, quote_ident(nspname) AS name FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
    ), collations AS (
        SELECT o.oid, quote_ident(nspname) || '.' || quote_ident(collname) AS name
        FROM pg_collation AS o JOIN pg_namespace AS n ON n.oid = collnamespace
    ), members AS (
        SELECT classid, objid FROM pg_depend
        WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
    ), classes AS (
        SELECT c.*, s.name || '.' || quote_ident(c.relname) AS name FROM pg_class AS c
        JOIN spaces AS s ON s.oid = c.relnamespace
        WHERE c.relpersistence <> 't'
          AND (c.oid, 'pg_class'::regclass) NOT IN (SELECT objid, classid FROM members)
    )
"""

# Without its name, which is another one in a copy. Privileges with the default ones and without the grantor: a dump and
# a restore change how they are kept.
DATABASE: LiteralString = """
    SELECT 'database itself', json_build_object('owner', pg_get_userbyid(datdba), 'connection_limit', datconnlimit,
        'comment', shobj_description(d.oid, 'pg_database'), 'privileges', (
            SELECT json_agg(DISTINCT concat_ws(' ', privilege_type, 'TO', coalesce(quote_ident(rolname), 'PUBLIC'),
                CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END))
            FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) LEFT JOIN pg_roles AS r ON oid = grantee))::text
    FROM pg_database AS d WHERE datname = current_database()
"""

SCHEMAS: LiteralString = """
    SELECT 'schema ' || name, '' FROM spaces
    WHERE (oid, 'pg_namespace'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

EXTENSIONS: LiteralString = """
    SELECT 'extension ' || quote_ident(extname),
           json_build_array(extversion, extnamespace::regnamespace::text)::text
    FROM pg_extension
"""

TABLES: LiteralString = """
    SELECT CASE relkind WHEN 'f' THEN 'foreign table ' ELSE 'table ' END || name,
           json_build_array(relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident,
               pg_get_partkeydef(c.oid), pg_get_expr(relpartbound, c.oid),
               (SELECT json_agg(inhparent::regclass::text ORDER BY inhseqno)
                FROM pg_inherits WHERE inhrelid = c.oid),
               (SELECT json_agg(o ORDER BY o) FROM unnest(reloptions) AS o),
               CASE WHEN reloftype <> 0 THEN reloftype::regtype::text END,
               (SELECT srvname FROM pg_foreign_table JOIN pg_foreign_server AS fs ON fs.oid = ftserver
                WHERE ftrelid = c.oid),
               (SELECT amname FROM pg_am WHERE pg_am.oid = relam))::text
    FROM classes AS c WHERE relkind IN ('r', 'p', 'f')
"""

COLUMNS: LiteralString = """
    SELECT 'column ' || c.name || '.' || quote_ident(attname),
           json_build_array(format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
               pg_get_expr(adbin, adrelid),
               CASE WHEN attcollation <> typcollation
                   THEN (SELECT name FROM collations WHERE oid = attcollation) END)::text
    FROM classes AS c
    JOIN pg_attribute AS a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS t ON t.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE c.relkind IN ('r', 'p', 'f')
"""

# Not null (contype n, PostgreSQL 18) is with the columns. What a foreign key of or to a partitioned table
# makes on the partitions gets names of its own on each restore, and is implied by the one on the parent.
CONSTRAINTS: LiteralString = """
    SELECT 'constraint ' || c.name || '.' || quote_ident(conname), pg_get_constraintdef(k.oid)
    FROM classes AS c JOIN pg_constraint AS k ON conrelid = c.oid
    WHERE contype IN ('c', 'f', 'p', 'u', 'x') AND NOT (contype = 'f' AND conparentid <> 0)
"""

# pg_dump leaves invalid indexes out, except those of partitioned tables.
INDEXES: LiteralString = """
    SELECT 'index ' || s.name || '.' || quote_ident(x.relname),
           CASE WHEN pg_get_indexdef(i.indexrelid) IS NOT NULL
           THEN json_build_array(pg_get_indexdef(i.indexrelid), indisclustered, indisreplident)::text END
    FROM classes AS c JOIN pg_index AS i ON indrelid = c.oid
    JOIN pg_class AS x ON x.oid = indexrelid JOIN spaces AS s ON s.oid = x.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND (indisvalid OR c.relkind = 'p') AND indisready
"""

VIEWS: LiteralString = """
    SELECT CASE relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || name,
           CASE WHEN pg_get_viewdef(c.oid) IS NOT NULL
           THEN json_build_array(pg_get_viewdef(c.oid),
               (SELECT json_agg(o ORDER BY o) FROM unnest(reloptions) AS o))::text END
    FROM classes AS c WHERE relkind IN ('v', 'm')
"""

# Not pg_get_functiondef(), but where the body is kept parsed (14 and later): it keeps to no snapshot, so a function
# that is replaced meanwhile would be in the dump as it was and in the tally as it is.
FUNCTIONS: LiteralString = """
    SELECT CASE prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
           || s.name || '.' || quote_ident(proname)
           || '(' || pg_get_function_identity_arguments(p.oid) || ')',
           CASE prokind WHEN 'a' THEN json_build_array(
               pg_get_function_result(p.oid), proparallel, aggkind, aggtransfn::regproc::text,
               format_type(aggtranstype, NULL), aggtransspace, agginitval, aggfinalfn::regproc::text,
               CASE WHEN aggfinalfn <> 0 THEN json_build_array(aggfinalextra, aggfinalmodify) END,
               aggcombinefn::regproc::text, aggserialfn::regproc::text,
               aggdeserialfn::regproc::text, aggsortop::regoper::text,
               aggmtransfn::regproc::text, aggminvtransfn::regproc::text,
               format_type(aggmtranstype, NULL), aggmfinalfn::regproc::text, aggminitval)::text
           ELSE CASE WHEN pg_get_function_arguments(p.oid) IS NOT NULL THEN json_build_array(
               pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), lanname, prokind, provolatile,
               proisstrict, prosecdef, proleakproof, proparallel, procost, prorows, prosupport::text, proconfig,
               (SELECT json_agg(format_type(o, NULL)) FROM unnest(protrftypes) AS o), probin, prosrc,
               CASE WHEN to_jsonb(p) ->> 'prosqlbody' IS NOT NULL THEN pg_get_functiondef(p.oid) END)::text END END
    FROM pg_proc AS p JOIN spaces AS s ON s.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
    LEFT JOIN pg_aggregate ON aggfnoid = p.oid
    WHERE (p.oid, 'pg_proc'::regclass) NOT IN (SELECT objid, classid FROM members)
      AND NOT EXISTS (  -- the constructors of a range type come and go with it
          SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
              AND d.deptype = 'i')
"""

TRIGGERS: LiteralString = """
    SELECT 'trigger ' || c.name || '.' || quote_ident(tgname),
           CASE WHEN pg_get_triggerdef(t.oid) IS NOT NULL
           THEN json_build_array(pg_get_triggerdef(t.oid), tgenabled)::text END
    FROM classes AS c JOIN pg_trigger AS t ON tgrelid = c.oid
    WHERE NOT tgisinternal AND (t.oid, 'pg_trigger'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

RULES: LiteralString = """
    SELECT 'rule ' || c.name || '.' || quote_ident(rulename),
           CASE WHEN pg_get_ruledef(r.oid) IS NOT NULL
           THEN json_build_array(pg_get_ruledef(r.oid), ev_enabled)::text END
    FROM classes AS c JOIN pg_rewrite AS r ON ev_class = c.oid
    WHERE rulename <> '_RETURN'
"""

POLICIES: LiteralString = """
    SELECT 'policy ' || c.name || '.' || quote_ident(polname),
           json_build_array(polcmd, polpermissive, 0 = ANY (polroles),
               (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles AS r WHERE r.oid = ANY (polroles)),
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))::text
    FROM classes AS c JOIN pg_policy ON polrelid = c.oid
"""

# pg_dump gives the sequence of an identity column the column's type; CREATE TABLE (LIKE … INCLUDING IDENTITY) made it a
# bigint.
SEQUENCES: LiteralString = """
    SELECT 'sequence ' || c.name,
           json_build_array(
               CASE WHEN NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                                     AND d.objid = c.oid AND deptype = 'i' AND refobjsubid > 0)
                    THEN format_type(seqtypid, NULL) END, seqstart, seqincrement, seqmin, seqmax, seqcache,
               seqcycle, relpersistence,
               (SELECT json_build_array(refobjid::regclass::text, attname, deptype) FROM pg_depend AS d
                JOIN pg_attribute AS a ON attrelid = refobjid AND attnum = refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND deptype IN ('a', 'i')
                  AND refclassid = 'pg_class'::regclass AND refobjsubid > 0))::text
    FROM classes AS c JOIN pg_sequence ON seqrelid = c.oid
"""

# Array, multirange and row types come with another object that is here.
TYPES: LiteralString = """
    SELECT CASE typtype WHEN 'd' THEN 'domain ' ELSE 'type ' END || s.name || '.' || quote_ident(typname),
           json_build_array(typtype,
               (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
               CASE typtype WHEN 'd' THEN format_type(typbasetype, typtypmod) END, typnotnull, typdefault,
               (SELECT name FROM collations WHERE oid = typcollation),
               (SELECT json_agg(json_build_array(conname, pg_get_constraintdef(k.oid)) ORDER BY conname)
                FROM pg_constraint AS k WHERE contypid = t.oid AND contype = 'c'),
               (SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod)) ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped),
               (SELECT json_build_array(
                    rngsubtype::regtype::text, rngcanonical::regproc::text, rngsubdiff::regproc::text)
                FROM pg_range WHERE rngtypid = t.oid),
               CASE typtype
               WHEN 'b' THEN json_build_array(typinput::text, typoutput::text, typlen, typbyval) END)::text
    FROM pg_type AS t JOIN spaces AS s ON s.oid = typnamespace
    WHERE typtype IN ('b', 'c', 'd', 'e', 'r') AND typisdefined
      AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
      AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')
      AND (t.oid, 'pg_type'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

# What copies "C" is of every encoding, and what pg_dump makes of it is of the database's own.
COLLATIONS: LiteralString = """
    SELECT 'collation ' || s.name || '.' || quote_ident(collname),
           (to_jsonb(o) - 'oid' - 'collowner' - 'collnamespace' - 'collversion' - 'collencoding')::text
    FROM pg_collation AS o JOIN spaces AS s ON s.oid = collnamespace
    WHERE (o.oid, 'pg_collation'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

OPERATORS: LiteralString = """
    SELECT 'operator ' || o.oid::regoperator::text,
           json_build_array(oprcode::text, oprresult::regtype::text, oprcanmerge, oprcanhash,
               oprcom::regoperator::text, oprnegate::regoperator::text, oprrest::text, oprjoin::text)::text
    FROM pg_operator AS o JOIN spaces AS s ON s.oid = oprnamespace
    WHERE (o.oid, 'pg_operator'::regclass) NOT IN (SELECT objid, classid FROM members) AND oprcode <> 0
"""

STATISTICS: LiteralString = """
    SELECT 'statistics ' || s.name || '.' || quote_ident(stxname), pg_get_statisticsobjdef(e.oid)
    FROM pg_statistic_ext AS e JOIN spaces AS s ON s.oid = stxnamespace
"""

EVENT_TRIGGERS: LiteralString = """
    SELECT 'event trigger ' || quote_ident(evtname),
           json_build_array(evtevent, evtfoid::regproc::text, evtenabled, evttags)::text
    FROM pg_event_trigger AS t
    WHERE (t.oid, 'pg_event_trigger'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

PUBLICATIONS: LiteralString = """
    SELECT 'publication ' || quote_ident(pubname),
           json_build_array(puballtables, pubinsert, pubupdate, pubdelete, pubtruncate,
               (SELECT json_agg(prrelid::regclass::text ORDER BY prrelid::regclass::text)
                FROM pg_publication_rel WHERE prpubid = p.oid))::text
    FROM pg_publication AS p
"""

FOREIGN_SERVERS: LiteralString = """
    SELECT 'foreign server ' || quote_ident(srvname), json_build_array(fdwname, srvtype, srvversion)::text
    FROM pg_foreign_server AS s JOIN pg_foreign_data_wrapper AS w ON w.oid = srvfdw
    WHERE (s.oid, 'pg_foreign_server'::regclass) NOT IN (SELECT objid, classid FROM members)
"""

DEFINITIONS: tuple[LiteralString, ...] = (
    DATABASE,
    SCHEMAS,
    EXTENSIONS,
    TABLES,
    COLUMNS,
    CONSTRAINTS,
    INDEXES,
    VIEWS,
    FUNCTIONS,
    TRIGGERS,
    RULES,
    POLICIES,
    SEQUENCES,
    TYPES,
    COLLATIONS,
    OPERATORS,
    STATISTICS,
    EVENT_TRIGGERS,
    PUBLICATIONS,
    FOREIGN_SERVERS,
)
