"""What the steps of a restore work with, and what a step is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.config import Config
from tasks.restore.journal import Journal
from tasks.restore.plan import Plan
from tasks.sections import Docker

Facts = dict[str, Any]


class Hands(NamedTuple):
    """What a step works with."""

    config: Config
    journal: Journal

    @property
    def plan(self) -> Plan:
        """The approved plan."""
        return self.journal.header.plan

    @property
    def docker(self) -> Docker | None:
        """The engine that the target is on."""
        return self.config.target(self.plan.target).docker

    @property
    def run(self) -> str:
        """The restore's own id."""
        return self.journal.header.run

    @property
    def live(self) -> str:
        """The id of the container that has the target's name when all is done."""
        return str(self.journal.facts.get("replacement") or self.plan.container_id)

    @property
    def names(self) -> tuple[str, str]:
        """What the replacement is called before it takes over, and what the old container is called after."""
        return f"{self.plan.container}.new-{self.run}", f"{self.plan.container}.before-{self.run}"


def _nothing(_hands: Hands) -> None:
    return


def _no_facts(_hands: Hands) -> Facts:
    return {}


@dataclass(frozen=True)
class Act:
    """prepare: facts that undoing needs, read before anything changes; do: the change, and facts it made; undo."""

    do: Callable[[Hands], Facts | None]
    undo: Callable[[Hands], None] = _nothing
    prepare: Callable[[Hands], Facts] = _no_facts
