"""The containers that use the database: stopped before it is, started when the restored data is the one that counts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from tasks.containers import at_rest, recreate
from tasks.containers.engine import engine
from tasks.errors import ContainerMissing, EngineError, EngineUnreachable
from tasks.restore.hands import Facts, Hands

log = logging.getLogger("rollcall")

UNWELL = "dependants_unwell"  # the fact, in the journal


STOPPING = "stopping"  # the fact: which one was being stopped last


def stop_dependants(hands: Hands) -> None:
    """The last one first; which one it is, is in the journal before: the engine may go on with it when we are dead."""
    for name in reversed(hands.plan.dependants):
        hands.journal.write("starting", "stop dependants", {STOPPING: name})
        with engine(hands.docker, recreate.STOP_PATIENCE) as client, _if_there(name):
            recreate.stop(client, name)


def start_dependants_again(hands: Hands) -> None:
    """As they were: what was removed meanwhile cannot be started, and is no reason to leave the rest undone."""
    stopping = None if hands.journal.is_done("stop dependants") else hands.journal.facts.get(STOPPING)
    for name in hands.plan.dependants:
        with engine(hands.docker, recreate.STOP_PATIENCE) as client, _if_there(name):
            if name == stopping:
                recreate.stop(client, name)
            recreate.start(client, name)


def down_still(hands: Hands) -> list[str]:
    """A sentence for every dependant of an undone restore that does not run again, seconds after it was started; one
    that a late stop has ended is started once more."""
    if "stop dependants" not in {line.step for line in hands.journal.lines}:
        return []
    with engine(hands.docker) as client:
        down = at_rest.not_running(client, hands.plan.dependants)
    return [f"A dependant does not run as it should: {each}" for each in down]


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
