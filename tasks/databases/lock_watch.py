"""Watch for the one deadlock that PostgreSQL cannot see: a session waits for our locks, the dump waits for that
session, and we wait for the dump, in a process of ours, where no server looks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.databases.connect import Login, connect, translated
from tasks.errors import DatabaseError, TablesLocked

log = logging.getLogger("rollcall")

# Whom the dump waits for, directly or through others (PostgreSQL documentation, pg_blocking_pids).
WAITS_FOR_US = """
WITH RECURSIVE waits(pid) AS (
    SELECT unnest(pg_catalog.pg_blocking_pids(pid)) FROM pg_catalog.pg_stat_activity
    WHERE application_name = %(waiter)s AND wait_event_type = 'Lock'
  UNION
    SELECT unnest(pg_catalog.pg_blocking_pids(pid)) FROM waits
)
SELECT count(*) FROM waits WHERE pid = %(holder)s
"""


@contextmanager
def lock_watch(
    login: Login, waiter: str, holder: int, stuck: Callable[[TablesLocked], None], every: float = 1.0
) -> Iterator[None]:
    """While the block runs, call `stuck` once if the session called `waiter` waits for the session `holder`.

    It is asked `every` so many seconds, and has to be so twice in a row: a passing wait is none.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(login, waiter, holder, stuck, every, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        # Not for ever: in a network that has gone silent the last question is never answered.
        thread.join(2 * every)


def _watch(
    login: Login, waiter: str, holder: int, stuck: Callable[[TablesLocked], None], every: float, done: threading.Event
) -> None:
    """The watch ends with its connection: without the server the dump ends too, and says so itself."""
    times = 0
    try:
        with connect(login) as connection, translated("watching the dump's locks", login=login):
            while times < 2 and not done.wait(every):
                row = connection.execute(WAITS_FOR_US, {"waiter": waiter, "holder": holder}).fetchone()
                times = times + 1 if row and row[0] else 0
    except DatabaseError as error:
        log.info("The watch over the dump's locks ended: %s", error)
        return
    if times == 2 and not done.is_set():
        stuck(TablesLocked(f"In {login.database}, a session waits for tables being dumped, and the dump for it."))
