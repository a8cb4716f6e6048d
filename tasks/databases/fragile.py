"""What a restore may not be able to make again as it is, although a dump holds it."""

from __future__ import annotations

from tasks.databases.connect import Connection, translated

# A materialised view is filled anew, so what it reads must answer. A CHECK is asked again for every row that is loaded:
# a function that is not immutable may read another table, or the time. Functions of the server itself are no
# dependencies (PostgreSQL documentation, pg_depend), so they are read out of the expression.
FRAGILE = r"""
    SELECT format('the materialised view %s reads the foreign table %s', c.oid::regclass, f.oid::regclass)
    FROM pg_class AS c JOIN pg_rewrite AS r ON r.ev_class = c.oid
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    JOIN pg_class AS f ON d.refclassid = 'pg_class'::regclass AND f.oid = d.refobjid AND f.relkind = 'f'
    WHERE c.relkind = 'm'
    UNION
    SELECT format('the CHECK %s of %s calls %s, which is not immutable',
                  conname, conrelid::regclass, p.oid::regprocedure)
    FROM pg_constraint AS k, regexp_matches(conbin::text, ':funcid (\d+)', 'g') AS called
    JOIN pg_proc AS p ON p.oid = called[1]::oid AND p.provolatile <> 'i'
    WHERE contype = 'c' AND conrelid <> 0 AND conislocal
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = conrelid
                      AND d.deptype = 'e')
    ORDER BY 1
"""


def fragile(connection: Connection) -> list[str]:
    """What may hinder a restore of the database, a phrase each. Raise DatabaseError."""
    with translated("what a restore may not make again"):
        return [str(phrase) for (phrase,) in connection.execute(FRAGILE)]
