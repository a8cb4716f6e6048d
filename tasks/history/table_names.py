"""Table names as people write them in the configuration, matched with those PostgreSQL counts under
(pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from tasks.errors import ConfigError

_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')


@lru_cache(maxsize=50_000)
def parse_table(name: str) -> tuple[str | None, str]:
    """Schema (None where none is written) and table; unquoted parts are folded to lower case, as in SQL.

    Raise ConfigError where this is no table name.
    """
    parts: list[str] = []
    position = 0
    while match := _PART.match(name, position):
        quoted, bare = match.groups()
        parts.append(quoted.replace('""', '"') if quoted else bare.lower())
        position = match.end()
        if name[position : position + 1] != ".":
            break
        position += 1
    if position != len(name) or name.endswith(".") or len(parts) not in (1, 2):
        raise ConfigError(
            f"{name!r} is no table name; write table or schema.table, with double quotes around a part that "
            'PostgreSQL would quote, for example "Sales Data"."Orders".'
        )
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def resolve_table(name: str, counts: Iterable[str]) -> str | None:
    """The key of `counts` that `name` means: schema.table as written, table in `public`, else in the only
    schema that has it. None if there is none. Raise ConfigError for a malformed name, or one that several
    schemas have."""
    schema, table = parse_table(name)
    places = {}
    for key in counts:
        found_schema, found_table = parse_table(key)
        if found_table == table and schema in (None, found_schema):
            places[found_schema] = key
    if schema is None and len(places) > 1 and "public" not in places:
        raise ConfigError(
            f"The table name {name!r} is ambiguous: there are {', '.join(sorted(places.values()))}; "
            "write it with its schema."
        )
    return places.get("public") or next(iter(places.values()), None)
