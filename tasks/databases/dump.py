"""The command lines of PostgreSQL's own programs, and what their output says.

pg_dump and pg_restore run next to the server, from its own image: a dump by a newer pg_dump holds settings that an
older server refuses (PostgreSQL documentation, pg_dump, Notes).
"""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterable

from psycopg.conninfo import make_conninfo

from tasks.config import Target
from tasks.containers.observe import Container
from tasks.containers.programs import Program
from tasks.databases.reach import Way
from tasks.models import SequencePosition

# A TRUNCATE that queues between our lock and pg_dump's would wait for us, and pg_dump for it, for ever: with our locks
# held no wait of pg_dump's can end well. So it waits hardly at all (milliseconds; PostgreSQL counts against it the time
# to lock every table), and the whole is tried again from a new snapshot.
LOCK_WAIT = 300

SETVAL = re.compile(r"^SELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);$", re.MULTILINE)


def _server(target: Target, container: Container, way: Way) -> tuple[str, str]:
    """Hosts and ports where the program connects, the first that listens: the container's loopback, then the address
    that the server itself was reached at; unless the configuration names an address.

    Such an address is one of this machine's view, which a program on another machine does not share. The loopback of
    the host's own network is left out: another server may listen there.
    """
    if target.host is not None and container.engine_host is None:
        return way.host, str(way.port)
    host, port = way.inside or ("127.0.0.1", container.port)
    hosts = [host] if container.host_network else list(dict.fromkeys(["127.0.0.1", host]))
    return ",".join(hosts), ",".join([str(port)] * len(hosts))


def connection_string(target: Target, container: Container, way: Way, database: str, name: str = "rollcall") -> str:
    """For `--dbname`, quoted for libpq and for the shell; it holds no password. `name`: what the session is called."""
    host, port = _server(target, container, way)
    return shlex.quote(
        make_conninfo(
            host=host,
            port=port,
            user=target.user,
            dbname=database,
            application_name=name,
            connect_timeout=10,
        )
    )


def program(target: Target, line: str, password: str, *, fed: bool = False) -> Program:
    """A Program for `line` that ends at the target's deadline."""
    return Program(line, password, target.deadline, fed=fed, host_network=target.host is not None)


def dump_line(server: str) -> str:
    """pg_dump of one database in custom format, uncompressed (we compress with several threads); $1 is the snapshot."""
    return (
        f"exec pg_dump --no-password --dbname={server} --format=custom --compress=0 "
        f'--lock-wait-timeout={LOCK_WAIT} --snapshot="$1"'
    )


def globals_line(server: str) -> str:
    """pg_dumpall of roles with password verifiers, and tablespaces."""
    return f"exec pg_dumpall --no-password --dbname={server} --globals-only"


LIST_LINE = "pg_restore --list"


# $1 holds the numbers of the wanted entries: a list file needs no more of a line than that.
POSITIONS_LINE = (
    "printf '%s' \"$1\" | tr ' ' '\\n' > /dev/shm/rollcall-list; "
    "pg_restore --use-list=/dev/shm/rollcall-list --file=-; status=$?; rm -f /dev/shm/rollcall-list; ( exit $status )"
)


def sequence_entries(contents: str) -> str:
    """The numbers of the entries of a table of contents that set a sequence's position, for POSITIONS_LINE."""
    return " ".join(re.findall(r"^(\d+;) \d+ \d+ SEQUENCE SET ", contents, re.MULTILINE))


def positions(sql: str) -> dict[str, SequencePosition]:
    """Where the dump leaves each sequence: exactly what a restore will set, which no count beside the dump can know,
    for sequences move outside of every snapshot."""
    return {
        name.replace("''", "'"): SequencePosition(last_value=int(value), is_called=called == "true")
        for name, value, called in SETVAL.findall(sql)
    }


def codec_of(encoding: str) -> str:
    """Python's codec for an encoding of PostgreSQL: pg_restore prints names in the encoding of the dumped database.

    UTF-8 where Python has none, as for SQL_ASCII, whose names PostgreSQL hands on as they are.
    """
    page = re.sub("^WIN", "cp", encoding)
    try:
        return codecs.lookup({"EUC_CN": "gb2312", "KOI8R": "koi8_r", "KOI8U": "koi8_u"}.get(encoding, page)).name
    except LookupError:
        return "utf-8"


def unlisted(contents: str, tables: Iterable[str]) -> list[str]:
    """Those of `tables` (quoted, schema-qualified) that an archive's table of contents does not list."""
    entries = [re.sub(r"^\d+; \d+ \d+ ", "", line) for line in contents.split("\n")]
    without_owner = {entry.rpartition(" ")[0] for entry in entries}
    kinds = ("TABLE DATA", "TABLE")

    def is_listed(table: str) -> bool:
        wanted = [f"{kind} {as_listed(table)}" for kind in kinds]
        # An owner's name may hold spaces too: then only the beginning can be compared.
        return any(each in without_owner for each in wanted) or any(
            entry.startswith(f"{each} ") for each in wanted for entry in entries
        )

    return [table for table in tables if not is_listed(table)]


def as_listed(table: str) -> str:
    """`"Sales Data"."Orders"` as pg_restore lists it: Sales Data Orders, line breaks as spaces."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^."]+)', table)
    return re.sub(r"[\r\n]", " ", " ".join(quoted.replace('""', '"') or plain for quoted, plain in parts))
