"""Definitions that PostgreSQL prints in another way once it has read its own print: are two prints of the same object?

A restored object is what the server made of the printed text, and print, parse, print is no fixed point: `a BETWEEN 1
AND 3 AND b > 0` changes its brackets, a cast of a list spreads over its elements, implied names are written out. So the
server is asked: in a transaction that is rolled back it makes the object again from the recorded text, and prints that.
What belongs to a table is made on an empty table of the same name and columns, where it costs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from tasks.databases import catalog
from tasks.databases.connect import Connection

ROUNDS = 4  # Every print that is known stays after one.
ASIDE, BESIDE = '"rollcall aside"', '"rollcall beside"'
PART = re.compile(r'(?:"(?:[^"]|"")*"|[^".])+')
EXPRESSION = {
    "index": re.compile(r"\(.*\(| WHERE "),
    "constraint": re.compile(r"^(CHECK|EXCLUDE)\b"),
    "trigger": re.compile(r" WHEN "),
}


class Kind(NamedTuple):
    """How objects of one kind are read and made again.

    query: the catalogue's; printed: which elements of the definition the server prints from a parsed form, None where
    the definition is such a print as a whole; make: the statements that make an object of this name from its
    definition; drop: the one that removes it first, where it stands on the table itself and not on an empty one.
    """

    query: LiteralString
    printed: tuple[int, ...] | None
    make: Callable[[str, Any], Iterator[str]]
    drop: str = ""


def texts(definitions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The definitions to keep as they are, by name: that of the database itself, those of a version, and those that
    hold an expression, which alone may print in another way. Where two objects have one name, neither is kept."""
    found: dict[str, list[str]] = {}
    for name, definition in definitions:
        found.setdefault(name, []).append(definition)
    return {name: each[0] for name, each in sorted(found.items()) if len(each) == 1 and _is_kept(name, each[0])}


def _is_kept(name: str, text: str) -> bool:
    kind = kind_of(name)
    if kind in ("column", "table"):
        return any(_parts(kind, text)[0])
    if kind in ("function", "procedure"):
        return " DEFAULT " in text or json.loads(text)[-1] is not None
    pattern = EXPRESSION.get(kind)
    return bool(pattern.search(text)) if pattern else kind in KINDS or kind in ("database", "extension")


def kind_of(name: str) -> str:
    """`materialized view` of `materialized view public.m`."""
    return "materialized view" if name.startswith("materialized view ") else name.split(" ", maxsplit=1)[0]


def same(connection: Connection, name: str, one: str, other: str) -> bool:
    """Whether two texts of the object `name`, which exists here, are prints of one definition.

    Nothing changes: all is rolled back. False also where the server does not make the object from one of them.
    """
    kind = kind_of(name)
    if kind not in KINDS or _parts(kind, one)[1] != _parts(kind, other)[1]:
        return False
    with connection.transaction(force_rollback=True):
        for setting in ("TRANSACTION READ WRITE", "LOCAL ROLE NONE", "LOCAL check_function_bodies = off"):
            _run(connection, f"SET {setting}")
        # The users' own code is not to run for what is made here.
        for (trigger,) in connection.execute("SELECT quote_ident(evtname) FROM pg_event_trigger").fetchall():
            _run(connection, f"ALTER EVENT TRIGGER {trigger} DISABLE")
        reached = list(_prints(connection, name, one))
        return any(each in reached for each in _prints(connection, name, other))


def _prints(connection: Connection, name: str, text: str) -> Iterator[list[Any]]:
    """What the server printed of the object, what it prints of that, and so on until it stays."""
    seen: list[list[Any]] = []
    while text and len(seen) < ROUNDS:
        parts = _parts(kind_of(name), text)[0]
        if parts in seen:
            return
        seen.append(parts)
        yield parts
        text = _made_again(connection, name, text)


def _parts(kind: str, text: str) -> tuple[list[Any], list[Any]]:
    """What the server prints from a parsed form, and all else."""
    printed = KINDS[kind].printed
    if printed is None:
        return [text], []
    elements = json.loads(text)
    rest = [each for at, each in enumerate(elements) if at not in printed and at - len(elements) not in printed]
    return [elements[each] for each in printed], rest


def _made_again(connection: Connection, name: str, text: str) -> str:
    """The definition of the object that the server makes of `text`; empty where it makes none."""
    kind = KINDS[kind_of(name)]
    rest = name.removeprefix(f"{kind_of(name)} ")
    definition = text if kind.printed is None else json.loads(text)
    for prepare in (_on_an_empty_table, _in_its_place) if kind.drop else (lambda *_: None,):
        try:
            with connection.transaction(force_rollback=True):
                prepare(connection, name, kind, text)
                for statement in kind.make(rest, definition):
                    _run(connection, statement)
                query = sql.SQL("{} SELECT definition FROM ({}) AS each (name, definition) WHERE name = {}")
                made = query.format(sql.SQL(catalog.PREAMBLE), sql.SQL(kind.query), sql.Literal(name))
                row = connection.execute(made).fetchone()
                return str(row[0]) if row else ""
        except psycopg.Error:  # This way it cannot be made.
            continue
    return ""


def _run(connection: Connection, statement: str) -> None:
    """One statement, and no second one hidden behind it: a prepared statement is never more."""
    connection.execute(statement.encode(), prepare=True)


def _on_an_empty_table(connection: Connection, name: str, kind: Kind, text: str) -> None:
    """Put the object's table aside, for an empty one of its name and columns; and the object, if its name is taken."""
    table = _table_of(name, text)
    schema, relation = PART.findall(table)
    row = connection.execute(
        "SELECT relkind::text, CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END FROM pg_class "
        "WHERE oid = %s::regclass", [table],
    ).fetchone()  # fmt: skip
    if row is None or row[0] == "v":
        _in_its_place(connection, name, kind, text)
        return
    if kind_of(name) in ("index", "statistics"):
        what = kind_of(name).upper()
        _run(connection, f"ALTER {what} {name.removeprefix(kind_of(name))} RENAME TO {BESIDE}")
    elif text.startswith("EXCLUDE"):
        _run(connection, f"ALTER TABLE {table} RENAME CONSTRAINT {_last(name)} TO {BESIDE}")
    _run(connection, f"ALTER TABLE {table} RENAME TO {ASIDE}")
    by = f" PARTITION BY {row[1]}" if row[1] else ""
    _run(connection, f"CREATE TABLE {schema}.{relation} (LIKE {schema}.{ASIDE}){by}")


def _in_its_place(connection: Connection, name: str, kind: Kind, text: str) -> None:
    rest = name.removeprefix(f"{kind_of(name)} ")
    _run(connection, kind.drop.format(object=rest, table=_table_of(name, text), name=_last(name)))


def _table_of(name: str, text: str) -> str:
    """The table that an object belongs to, qualified: in its name, or in its definition behind ON or FROM."""
    rest = name.removeprefix(f"{kind_of(name)} ")
    if kind_of(name) == "table":
        return rest
    if kind_of(name) in ("index", "statistics"):
        definition = text if kind_of(name) == "statistics" else str(json.loads(text)[0])
        behind = r" FROM " if kind_of(name) == "statistics" else r" ON (?:ONLY )?"
        qualified = rf"{behind}({PART.pattern}\.(?:\"(?:[^\"]|\"\")*\"|[^\".\s])+)"
        return str(re.findall(qualified, definition)[-1 if kind_of(name) == "statistics" else 0])
    return ".".join(PART.findall(rest)[:2])


def _last(name: str) -> str:
    return str(PART.findall(name)[-1])


def _only(beginning: str, text: str) -> str:
    """A recorded text that is a whole statement, and must be one of this kind."""
    if not text.startswith(beginning):
        raise psycopg.DataError(f"not {beginning}")
    return text


def _view(name: str, definition: Any) -> Iterator[str]:
    yield f"CREATE OR REPLACE VIEW {name} AS {definition[0]}"


def _materialized_view(name: str, definition: Any) -> Iterator[str]:
    yield f"ALTER MATERIALIZED VIEW {name} RENAME TO {ASIDE}"
    yield f"CREATE MATERIALIZED VIEW {name} AS {definition[0].rstrip(';')} WITH NO DATA"


def _function(name: str, definition: Any) -> Iterator[str]:
    arguments, result, *_, body = definition
    if body is not None:
        yield _only("CREATE OR REPLACE FUNCTION ", body)
    else:
        called = name.split("(", maxsplit=1)[0]
        yield f"CREATE OR REPLACE FUNCTION {called}({arguments}) RETURNS {result} LANGUAGE sql AS ''"


def _procedure(name: str, definition: Any) -> Iterator[str]:
    arguments, *_, body = definition
    if body is not None:
        yield _only("CREATE OR REPLACE PROCEDURE ", body)
    else:
        yield f"CREATE OR REPLACE PROCEDURE {name.split('(', maxsplit=1)[0]}({arguments}) LANGUAGE sql AS ''"


def _statement(name: str, definition: Any) -> Iterator[str]:
    """A definition that is the whole statement."""
    yield _only("CREATE ", definition if isinstance(definition, str) else definition[0])


def _policy(name: str, definition: Any) -> Iterator[str]:
    using, check = definition[4:6]
    yield (
        f"CREATE POLICY {_last(name)} ON {_table_of(f'policy {name}', '')}"
        f"{f' USING ({using})' if using else ''}{f' WITH CHECK ({check})' if check else ''}"
    )


def _constraint(name: str, definition: Any) -> Iterator[str]:
    yield f"ALTER TABLE {_table_of(f'constraint {name}', '')} ADD CONSTRAINT {_last(name)} {definition}"


def _column(name: str, definition: Any) -> Iterator[str]:
    kind, _, _, generated, expression, collation = definition[:6]
    table = _table_of(f"column {name}", "")
    if not generated:
        yield f"ALTER TABLE {table} ALTER COLUMN {_last(name)} SET DEFAULT {expression}"
        return
    yield f"ALTER TABLE {table} DROP COLUMN {_last(name)}"
    how = "STORED" if generated == "s" else "VIRTUAL"
    collated = f" COLLATE {collation}" if collation else ""
    yield (f"ALTER TABLE {table} ADD COLUMN {_last(name)} {kind}{collated} GENERATED ALWAYS AS ({expression}) {how}")


def _partitioned(name: str, definition: Any) -> Iterator[str]:
    schema, _ = PART.findall(name)
    yield f"DROP TABLE {name}"
    yield f"CREATE TABLE {name} (LIKE {schema}.{ASIDE}) PARTITION BY {definition[5]}"


def _domain(name: str, definition: Any) -> Iterator[str]:
    base, _, default, collation, checks = definition[2:7]
    yield f"ALTER DOMAIN {name} RENAME TO {ASIDE}"
    yield (
        f"CREATE DOMAIN {name} AS {base}{f' COLLATE {collation}' if collation else ''}"
        f"{f' DEFAULT {default}' if default else ''}"
    )
    for called, check in checks or []:
        yield f"ALTER DOMAIN {name} ADD CONSTRAINT {sql.Identifier(called).as_string()} {check}"


KINDS: dict[str, Kind] = {
    "view": Kind(catalog.VIEWS, (0,), _view),
    "materialized view": Kind(catalog.VIEWS, (0,), _materialized_view),
    "function": Kind(catalog.FUNCTIONS, (0, -1), _function),
    "procedure": Kind(catalog.FUNCTIONS, (0, -1), _procedure),
    "trigger": Kind(catalog.TRIGGERS, (0,), _statement, "DROP TRIGGER {name} ON {table}"),
    "rule": Kind(catalog.RULES, (0,), _statement, "DROP RULE {name} ON {table}"),
    "policy": Kind(catalog.POLICIES, (4, 5), _policy, "DROP POLICY {name} ON {table}"),
    "constraint": Kind(catalog.CONSTRAINTS, None, _constraint, "ALTER TABLE {table} DROP CONSTRAINT {name}"),
    "index": Kind(catalog.INDEXES, (0,), _statement, "DROP INDEX {object}"),
    "column": Kind(catalog.COLUMNS, (4,), _column, "ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT"),
    "table": Kind(catalog.TABLES, (5,), _partitioned, "SELECT"),
    "domain": Kind(catalog.TYPES, (4, 6), _domain),
    "statistics": Kind(catalog.STATISTICS, None, _statement, "DROP STATISTICS {object}"),
}
