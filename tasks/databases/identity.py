"""Which cluster answers, and how it was initialised: what a copy of it must be made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from tasks.databases.cluster_state import read_state
from tasks.databases.connect import Connection, Login, connect, quoted, translated
from tasks.databases.secret_settings import may_hold_secret
from tasks.errors import DatabaseError, RowsHidden

INVALID_DATABASE = -2  # datconnlimit of a database whose DROP DATABASE was interrupted: it takes no connections.


@dataclass(frozen=True)
class ClusterIdentity:
    """One cluster, as it calls itself.

    timeline and checkpoint_lsn are those of the last completed checkpoint: they never run ahead of the data,
    may be minutes behind it, and only grow in one cluster. Paths are those inside the server's container. snapshot is
    txid_current_snapshot() as text, `xmin:xmax:in progress`.
    """

    system_identifier: str
    timeline: int
    checkpoint_lsn: str
    server_version: str
    data_directory: str
    config_file: str
    hba_file: str
    ident_file: str
    snapshot: str

    @property
    def settled_xid(self) -> int | None:
        """The transaction id that is given out next, where no transaction was at work that had one; else None.

        Whatever changes a row, in a table without a log of its changes too, has an id. So while a cluster's next id is
        still this one, nothing has been written to any of its databases since.
        """
        _, following, working = self.snapshot.split(":")
        return None if working else int(following)


IDENTITY = """
    SELECT s.system_identifier::text, c.timeline_id, c.checkpoint_lsn::text,
           current_setting('server_version'), current_setting('data_directory'),
           current_setting('config_file'), current_setting('hba_file'), current_setting('ident_file'),
           txid_current_snapshot()::text
    FROM pg_control_system() AS s, pg_control_checkpoint() AS c
"""


def read_identity(connection: Connection) -> ClusterIdentity:
    """The identity of the cluster behind `connection`. Raise DatabaseError that names a missing GRANT."""
    with _needing_settings(connection, "the cluster's identity"):
        row = connection.execute(IDENTITY).fetchone()
    if row is None:
        raise DatabaseError("The server gave no identity: pg_control_system() returned nothing; look at its log.")
    return ClusterIdentity(*row)


def server_address(connection: Connection) -> tuple[str, int] | None:
    """The address and port at which the server took this connection, as it calls them itself."""
    with translated("the server's address"):
        row = connection.execute("SELECT host(inet_server_addr()), inet_server_port()").fetchone()
    return (str(row[0]), int(row[1])) if row and row[0] else None


CLUSTER = """
    SELECT json_build_object(
        'server_version_num', current_setting('server_version_num')::int,
        'bootstrap_user', (SELECT rolname FROM pg_roles WHERE oid = 10),
        'data_checksums', current_setting('data_checksums') = 'on',
        'wal_segment_size', (SELECT bytes_per_wal_segment FROM pg_control_init()),
        'block_size', current_setting('block_size')::int,
        'tablespaces', (SELECT coalesce(json_object_agg(spcname, pg_tablespace_location(oid)), '{}')
                        FROM pg_tablespace WHERE oid >= 16384))
"""

# Of a session without settings of ours, which would hide the server's.
SETTINGS = """
    SELECT name, json_build_object(
        'setting', setting, 'unit', unit, 'context', context, 'source', source, 'file', sourcefile)
    FROM pg_settings
    WHERE source IN ('command line', 'configuration file', 'environment variable')
    ORDER BY name
"""

OWN_SETTINGS = (
    "SELECT DISTINCT name FROM pg_file_settings WHERE name LIKE '%.%'",
    r"""SELECT found[1] FROM regexp_matches(pg_read_file('postmaster.opts'),
        '"(?:-c" "|-c|--)([a-zA-Z_][^"= ]*[.][^"= ]+)=', 'g') AS found""",
)

DATABASES = """
    SELECT d.datname, pg_encoding_to_char(d.encoding), pg_get_userbyid(d.datdba), t.spcname, to_jsonb(d)
    FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
    ORDER BY d.datname
"""


def in_recovery(connection: Connection) -> bool:
    """Whether the server is a standby. Raise DatabaseError."""
    with translated("whether the server is a standby"):
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def read_cluster(connection: Connection) -> dict[str, Any]:
    """How the cluster was initialised, and its databases; plain data that goes into a manifest.

    server_version_num, bootstrap_user, data_checksums, wal_segment_size and block_size (bytes), tablespaces
    (name to location), encoding, collate, ctype, locale_provider, icu_locale and icu_rules (of template0,
    which nobody changes), settings (those of the command line, files and environment, as the server has them, by name:
    setting, unit, context, source, file; without what may be a secret), and databases: the last six of each, with its
    owner, connection_limit, tablespace, is_template and allow_connections. Beside these, what no dump carries, as
    `read_state` says. Raise DatabaseError that names the GRANT where it is missing.
    """
    with _needing_settings(connection, "how the cluster was initialised"):
        row = connection.execute(CLUSTER).fetchone()
        rows = connection.execute(DATABASES).fetchall()
        state = read_state(connection)
    databases = {name: _database(*facts) for name, *facts in rows}
    initial = databases.get("template0") or databases["template1"]
    locale = {key: initial[key] for key in LOCALE}
    known = {**(row[0] if row else {}), **locale, **state}
    return {**known, "settings": _settings(connection), "databases": databases}


def _settings(connection: Connection) -> dict[str, Any]:
    """Settings by name in lower case, without what may be a secret: a manifest is shown. pg_settings leaves out those
    that no library knows (`app.tenant`)."""
    with connect(_login_of(connection), settings={}) as plain, translated("the server's settings"):
        plain.execute("RESET search_path")
        found = {name.lower(): each for name, each in plain.execute(SETTINGS)}
        for name in _users_own(plain):
            row = plain.execute("SELECT current_setting(%s, true)", [name]).fetchone()
            if row and row[0] is not None:
                found.setdefault(name.lower(), {"setting": row[0], "source": "custom"})
    return {name: each for name, each in found.items() if not may_hold_secret(name, str(each["setting"]))}


def _users_own(connection: Connection) -> set[str]:
    """The names with a dot on the server's command line and in its files, as far as the role may read either."""
    names: set[str] = set()
    for query in OWN_SETTINGS:
        with suppress(psycopg.Error):
            names.update(str(name) for (name,) in connection.execute(query))
    return names


LOCALE = ("encoding", "collate", "ctype", "locale_provider", "icu_locale", "icu_rules")
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


def _database(encoding: str, owner: str, tablespace: str, columns: dict[str, Any]) -> dict[str, Any]:
    """One row of pg_database; which columns tell the locale depends on the server's version."""
    provider = str(columns.get("datlocprovider", "c"))
    return {
        "encoding": encoding,
        "collate": columns["datcollate"],
        "ctype": columns["datctype"],
        "locale_provider": PROVIDERS.get(provider, provider),
        "icu_locale": columns.get("datlocale") or columns.get("daticulocale"),
        "icu_rules": columns.get("daticurules"),
        "owner": owner,
        "tablespace": tablespace,
        "connection_limit": columns["datconnlimit"],
        "is_template": columns["datistemplate"],
        "allow_connections": columns["datallowconn"],
    }


CONNECTABLE = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND datname <> 'template0' AND datconnlimit <> %s ORDER BY datname
"""

# Whatever initdb made has an oid below 16384 (FirstNormalObjectId).
USER_OBJECTS = """
    SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE c.oid >= 16384 AND n.nspname !~ '^pg_(temp|toast)')
        OR EXISTS (SELECT FROM pg_proc WHERE oid >= 16384)
        OR EXISTS (SELECT FROM pg_extension WHERE oid >= 16384)
        OR EXISTS (SELECT FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(temp|toast)')
        OR EXISTS (SELECT FROM pg_largeobject_metadata)
"""


def databases(connection: Connection) -> list[str]:
    """The names of all databases to back up, sorted: those that allow connections, without template0.

    template1 is among them only if somebody put something into it (a relation, function, extension or schema
    with an oid beyond those of initdb, or a large object); to see that, a second connection to it is made with the
    same login. One that cannot be asked is among them.
    """
    with translated("the list of databases"):
        names = [str(name) for (name,) in connection.execute(CONNECTABLE, [INVALID_DATABASE])]
    return _without_empty(connection, names, "template1")


def beyond(connection: Connection, present: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Those of `present`, as `databases` returns it, that are not `taken`.

    Not `postgres`, with which every cluster is made, if nobody put anything into it; to see that, a second connection
    is made to it. One that cannot be asked is among them.
    """
    return _without_empty(connection, [name for name in present if name not in taken], "postgres")


def _without_empty(connection: Connection, names: list[str], initial: str) -> list[str]:
    """`names` without `initial`, which initdb made, if nobody put anything into it."""
    if initial in names:
        with suppress(DatabaseError):
            if not _has_user_objects(_login_of(connection).to(initial)):
                return [name for name in names if name != initial]
    return names


def closed(databases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of those that allow no connections, sorted, of `databases` as `read_cluster` returns them (pure).

    Nobody can dump them, so they are in no backup. Not template0, which every cluster has, nor one whose DROP DATABASE
    was interrupted: nobody can use that any more.
    """
    return sorted(
        name
        for name, each in databases.items()
        if not each.get("allow_connections", True)
        and name != "template0"
        and each.get("connection_limit") != INVALID_DATABASE
    )


def _has_user_objects(login: Login) -> bool:
    with connect(login) as connection, translated(str(login)):
        row = connection.execute(USER_OBJECTS).fetchone()
    return bool(row and row[0])


def _login_of(connection: Connection) -> Login:
    info = connection.info
    return Login(info.host, info.port, info.user, info.password or None, info.dbname)


@contextmanager
def _needing_settings(connection: Connection, what: str) -> Iterator[None]:
    """Say which GRANT is missing instead of that something is."""
    try:
        with translated(what):
            yield
    except RowsHidden as error:
        user = connection.info.user
        raise DatabaseError(
            f"The role {user!r} may not read {what}: as a superuser run "
            f"GRANT pg_read_all_settings TO {quoted(user)}, or use a superuser as `user`."
        ) from error
