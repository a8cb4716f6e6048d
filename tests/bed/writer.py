"""A write load that never rests: rows, TRUNCATE, DDL, sequences and large objects, over a connection each.

What it keeps true at every instant, and at no moment between two, is what a mixed backup would break:
`lockstep` holds 100 rows; `left_side` and `right_side` together 1000; the balances of `accounts` add up to 0.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.bed.postgres import PostgresServer
from tests.bed.progress import BedError, wait_until

LOCKSTEP_ROWS = 100
BOTH_SIDES = 1000

SCHEMA = (
    "CREATE SCHEMA app",
    "CREATE TABLE app.lockstep (i int)",
    f"INSERT INTO app.lockstep SELECT generate_series(1, {LOCKSTEP_ROWS})",
    "CREATE TABLE app.left_side (id int PRIMARY KEY)",
    "CREATE TABLE app.right_side (id int PRIMARY KEY)",
    f"INSERT INTO app.left_side SELECT generate_series(1, {BOTH_SIDES})",
    "CREATE TABLE app.accounts (id int PRIMARY KEY, balance bigint NOT NULL)",
    "INSERT INTO app.accounts SELECT i, 0 FROM generate_series(1, 200) AS i",
    "CREATE TABLE app.events (id bigserial PRIMARY KEY, said text, at timestamptz DEFAULT now())",
    "CREATE TABLE app.wide (id int GENERATED ALWAYS AS IDENTITY)",
    "CREATE SEQUENCE app.ticket INCREMENT 7",
    "CREATE TABLE app.measured (at int, value float8) PARTITION BY RANGE (at)",
    "CREATE TABLE app.measured_0 PARTITION OF app.measured FOR VALUES FROM (0) TO (1000)",
    "CREATE MATERIALIZED VIEW app.added_up AS SELECT balance > 0 AS rich, count(*) FROM app.accounts GROUP BY 1",
    "CREATE FUNCTION app.phrase() RETURNS text LANGUAGE sql AS $$ SELECT '0' $$",
)

Connection = psycopg.Connection[tuple[Any, ...]]
Job = Callable[[Connection, int], None]


def _lockstep(connection: Connection, _: int) -> None:
    connection.execute("TRUNCATE app.lockstep")
    connection.execute(f"INSERT INTO app.lockstep SELECT generate_series(1, {LOCKSTEP_ROWS})".encode())


def _sides(connection: Connection, turn: int) -> None:
    source, sink = ("left", "right") if turn // 20 % 2 == 0 else ("right", "left")
    moved = f"""WITH moved AS (DELETE FROM app.{source}_side WHERE id IN
                   (SELECT id FROM app.{source}_side ORDER BY random() LIMIT {random.randint(1, 60)}) RETURNING id)
               INSERT INTO app.{sink}_side SELECT id FROM moved"""
    connection.execute(moved.encode())


def _accounts(connection: Connection, _: int) -> None:
    amount = random.randint(1, 1000)
    one, other = random.sample(range(1, 201), 2)
    connection.execute("UPDATE app.accounts SET balance = balance - %s WHERE id = %s", [amount, one])
    connection.execute("UPDATE app.accounts SET balance = balance + %s WHERE id = %s", [amount, other])


def _events(connection: Connection, turn: int) -> None:
    connection.execute("INSERT INTO app.events (said) SELECT repeat('word ', 20) FROM generate_series(1, 30)")
    connection.execute("UPDATE app.events SET said = 'changed' WHERE id % 50 = 0 AND said <> 'changed'")
    if turn % 10 == 9:
        connection.execute("DELETE FROM app.events WHERE id < (SELECT max(id) - 2000 FROM app.events)")


def _tickets(connection: Connection, _: int) -> None:
    connection.execute("SELECT count(nextval('app.ticket')) FROM generate_series(1, 50)")


def _large_objects(connection: Connection, turn: int) -> None:
    connection.execute("SELECT lo_from_bytea(0, repeat('x', 3000)::bytea) FROM generate_series(1, 3)")
    if turn % 3 == 2:
        old = "SELECT oid FROM pg_largeobject_metadata ORDER BY oid LIMIT 7"
        connection.execute(f"SELECT lo_unlink(oid) FROM ({old}) AS old".encode())


def _tables(connection: Connection, turn: int) -> None:
    """Create now, drop some turns later; rows in each."""
    connection.execute(f"CREATE TABLE app.passing_{turn} AS SELECT generate_series(1, {turn % 40}) AS i".encode())
    connection.execute(f"DROP TABLE IF EXISTS app.passing_{turn - 3}".encode())


def _columns(connection: Connection, turn: int) -> None:
    connection.execute(f"ALTER TABLE app.wide ADD COLUMN c{turn} int DEFAULT {turn}".encode())
    connection.execute(f"ALTER TABLE app.wide DROP COLUMN IF EXISTS c{turn - 5}".encode())
    connection.execute("INSERT INTO app.wide DEFAULT VALUES")


def _partitions(connection: Connection, turn: int) -> None:
    start = (turn + 1) * 1000
    bounds = f"FOR VALUES FROM ({start}) TO ({start + 1000})"
    connection.execute(f"CREATE TABLE app.measured_{turn + 1} PARTITION OF app.measured {bounds}".encode())
    connection.execute("INSERT INTO app.measured SELECT %s + i, i FROM generate_series(0, 49) AS i", [start])
    connection.execute(f"DROP TABLE IF EXISTS app.measured_{turn - 3}".encode())


def _definitions(connection: Connection, turn: int) -> None:
    """What no lock of a dump stops: functions are replaced, indexes and foreign keys added."""
    body = f"AS $$ SELECT '{turn}' $$"
    connection.execute(f"CREATE OR REPLACE FUNCTION app.phrase() RETURNS text LANGUAGE sql {body}".encode())
    connection.execute(f"CREATE OR REPLACE VIEW app.seen AS SELECT id, {turn} AS turn FROM app.accounts".encode())
    if turn < 50:
        connection.execute(f"CREATE INDEX accounts_{turn} ON app.accounts (balance) WHERE id < {turn}".encode())


def _views(connection: Connection, turn: int) -> None:
    """A migration: its view is his alone until it gets the table too. And a materialised view, refreshed."""
    connection.execute("REFRESH MATERIALIZED VIEW app.added_up")
    connection.execute(f"CREATE OR REPLACE VIEW app.narrow AS SELECT id, {turn} AS turn FROM app.wide".encode())
    connection.execute("ALTER TABLE app.wide ALTER COLUMN id SET NOT NULL")


# The pause is the longest, in seconds. Whoever wants a table for himself waits less eagerly: it is his queueing
# between our lock and pg_dump's that makes a backup begin again.
JOBS: dict[Job, float] = {
    _lockstep: 3.0,
    _sides: 0.05,
    _accounts: 0.02,
    _events: 0.05,
    _tickets: 0.01,
    _large_objects: 0.05,
    _tables: 4.0,
    _columns: 4.0,
    _partitions: 4.0,
    _definitions: 0.05,
    _views: 4.0,
}


@dataclass
class Writer:
    """Runs every job, each transaction of which is a turn, while the context is open."""

    server: PostgresServer
    turns: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.server.execute(*SCHEMA)
        self._threads = [threading.Thread(target=self._run, args=(job, pause)) for job, pause in JOBS.items()]
        for thread in self._threads:
            thread.start()
        try:
            wait_until(lambda: len(self.turns) == len(JOBS) or bool(self.failures), 120, "a first turn of every writer")
            self.check()
        except BaseException:
            self._stop()
            raise
        return self

    def check(self) -> None:
        """Raise BedError if a writer failed."""
        if self.failures:
            raise BedError("; ".join(self.failures))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def _run(self, job: Job, pause: float) -> None:
        turn = 10  # So that those before the first have names too.
        try:
            with self.server.connect(autocommit=True) as connection:
                while not self._ended.wait(random.uniform(0, pause)):
                    # A migration and any pg_dump can deadlock: the one that the server picks tries again.
                    with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                        job(connection, turn)
                    turn += 1
                    self.turns[job.__name__] += 1
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            self.failures.append(f"{job.__name__}: {error}")
