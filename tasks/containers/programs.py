"""Run one of PostgreSQL's own programs, of the server's own version, next to the server, and stream what it prints.

Two ways, one face. Where the engine shares our kernel, a helper container from the database's own image joins the
database's network and writes into a FIFO: half the processor time of the other way, which is `docker exec` and its
multiplexed stream (Docker Desktop, remote engines, a worker in a container that shares no folder with the host).
Both hang on a leash (leash.py): nothing of either outlives this process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from tasks.containers.by_exec import Exec, start_exec
from tasks.containers.by_helper import Helper, NoHelper, start_helper, sweep_helpers
from tasks.containers.engine import shares_this_kernel
from tasks.containers.leash import Program, Running
from tasks.containers.observe import Container

__all__ = ["Program", "Running", "beside", "sweep_helpers"]

log = logging.getLogger("rollcall")


@contextmanager
def beside(
    client: docker.DockerClient,
    container: Container,
    program: Program,
    *,
    owner: str,
    by_exec: bool | None = None,
) -> Iterator[Running]:
    """Start `program` next to the server, waiting for its argument line; nothing of it is left after the block.

    by_exec: which way; None takes a helper container where one works, else `docker exec`.
    owner: labels the helper, so that a later run can sweep what a killed engine left. Raise EngineError.
    """
    if by_exec is None:
        by_exec = not shares_this_kernel(client)
    running: Helper | Exec
    try:
        running = start_exec(client, container, program) if by_exec else start_helper(client, container, program, owner)
    except NoHelper as reason:
        log.warning("No helper container can be used (%s); docker exec is used instead, which is slower.", reason)
        running = start_exec(client, container, program)
    try:
        yield running
    finally:
        running.close()
