"""The containers that use the database: stopped before it is, started when the restored data is the one that counts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from tasks.containers import recreate
from tasks.containers.engine import engine
from tasks.errors import ContainerMissing, EngineError, EngineUnreachable
from tasks.restore.hands import Facts, Hands

log = logging.getLogger("rollcall")

UNWELL = "dependants_unwell"  # the fact, in the journal


def stop_dependants(hands: Hands) -> None:
    """The last one first."""
    for name in reversed(hands.plan.dependants):
        with engine(hands.docker, recreate.STOP_PATIENCE) as client, _if_there(name):
            recreate.stop(client, name)


def start_dependants_again(hands: Hands) -> None:
    """As they were: what was removed meanwhile cannot be started, and is no reason to leave the rest undone."""
    for name in hands.plan.dependants:
        with engine(hands.docker) as client, _if_there(name):
            recreate.start(client, name)


@contextlib.contextmanager
def _if_there(name: str) -> Iterator[None]:
    try:
        yield
    except ContainerMissing:
        log.warning("The dependant %s does not exist any more.", name)


def start_dependants(hands: Hands) -> Facts:
    """Each, and wait until it is well. One that does not come up is put down and told, and the next one is started:
    the data is right, clients write to it, and nothing of that may be undone for a sick worker.

    Raise EngineUnreachable: then `recover` starts them.
    """
    found = []
    for name in hands.plan.dependants:
        try:
            with engine(hands.docker) as client:
                recreate.start(client, name)
                recreate.wait_healthy(client, name, hands.config.target(hands.plan.target).start_wait)
        except EngineUnreachable:
            raise
        except EngineError as error:
            found.append(_unwell(name, error))
            log.warning("%s", found[-1])
    return {UNWELL: found}


def _unwell(name: str, error: EngineError) -> str:
    if isinstance(error, ContainerMissing):
        return f"The dependant {name} does not exist any more and was not started. The restore stands."
    return f"A dependant does not run as it should: {error} The restore stands; look at it: docker logs {name}"


def unwell(hands: Hands) -> list[str]:
    """A sentence for every dependant that did not come up after the restore."""
    found: list[str] = hands.journal.facts.get(UNWELL, [])
    return found
