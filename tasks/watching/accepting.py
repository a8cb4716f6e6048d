"""Whether a target's server accepts connections: PostgreSQL's own question, which needs no login and holds nothing."""

from __future__ import annotations

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from tasks.checks.look import look_at_container
from tasks.config import Target
from tasks.databases.reach import listens, ways
from tasks.errors import RollcallError

LISTEN_SECONDS = 0.5
"""For one address; most are on this machine."""


def accepts(target: Target) -> bool:
    """Whether the server answers that it takes connections, on any way in.

    A port that is open says less: the one that Docker publishes is open before the server is, and a server that
    recovers from a crash refuses everybody.
    """
    try:
        container = look_at_container(target)
    except RollcallError:
        return False
    return any(
        listens(way.host, way.port, LISTEN_SECONDS) and _ping(way.host, way.port, target)
        for way in ways(target, container)
    )


def _ping(host: str, port: int, target: Target) -> bool:
    # User and database are real ones, for the server writes a line about others in its log.
    line = make_conninfo(host=host, port=port, user=target.user, dbname=target.database, connect_timeout=2)
    return PGconn.ping(line.encode()) == Ping.OK
