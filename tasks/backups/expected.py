"""How many bytes a dump will have: an estimate, for nothing but the progress that people see."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg

from tasks.config import Config
from tasks.databases.connect import Login, connect
from tasks.errors import RollcallError
from tasks.history.backups import stored_backups
from tasks.history.store import open_history

log = logging.getLogger("rollcall")

SIZES = """
SELECT pg_database_size(current_database()), sum(pg_database_size(datname))::bigint
FROM pg_catalog.pg_database WHERE datname = ANY(%s)
"""


def dump_bytes(config: Config, target: str, way: Login, databases: Sequence[str]) -> int:
    """Bytes of the dump of `way`'s database before compression: its size on the disk, in the proportion that dumps and
    disk have shown in the last backup of these `databases`; 0 where that cannot be found out."""
    try:
        with open_history(config.history) as history:
            dumped = [each.raw_bytes for each in stored_backups(history, target) if not each.quarantined]
        with connect(way) as connection:
            row = connection.execute(SIZES, [list(databases)]).fetchone()
    except (RollcallError, psycopg.Error) as error:
        log.debug("%s: how large the dump will be cannot be estimated: %s", target, error)
        return 0
    size, of_all = row or (0, 0)
    return in_proportion(size, of_all, dumped[-1] if dumped else 0)


def in_proportion(size: int, of_all: int, dumped: int) -> int:
    """The share of `dumped` that a database of `size` has among those of `of_all` bytes; else its size (pure).

    Text of numbers may be twice what a table holds, and indexes are in no dump: so what was dumped last tells more than
    the disk does.
    """
    return round(size * dumped / of_all) if dumped > 0 and of_all > 0 else size
