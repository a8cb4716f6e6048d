"""Does Prefect still plan the runs? A server that is emptied, or answers nothing, says so to nobody.

To a runner whose deployments are gone, Prefect's API answers that nothing is due: all looks well, and nothing runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from deployments.serving.late import applied, refusals_in_words, see_that_it_answers
from deployments.serving.wanted import Wanted
from tasks.alerts.message import Message, in_words
from tasks.errors import RollcallError

LOOK_SECONDS = 120.0
"""From one look to the next, while all is well."""
AGAIN_SECONDS = 20.0
PATIENCE = 180.0
"""For so long Prefect may give no answer, or plan nothing, as when it is started again."""
ANSWER_SECONDS = 10.0
MOST_NAMED = 3


class Standing(NamedTuple):
    """What Prefect has of one deployment. paused: by a person, whose wish it is; next_run: the next one planned."""

    schedules: int
    paused: bool
    next_run: datetime | None


class Found(NamedTuple):
    """Names of deployments. lost: gone, or without their schedule; unplanned: with a schedule by which nothing is
    planned."""

    lost: list[str]
    unplanned: list[str]


def compare(deployed: Mapping[UUID, Wanted], standing: Mapping[UUID, Standing]) -> Found:
    """What Prefect has, held against what it was given (pure)."""
    lost, unplanned = list[str](), list[str]()
    for identity, each in deployed.items():
        known = standing.get(identity)
        if known is None or (each.cron and not known.schedules):
            lost.append(each.name)
        elif each.cron and not known.paused and known.next_run is None:
            unplanned.append(each.name)
    return Found(lost, unplanned)


@dataclass
class Scheduling:
    """Looks every few minutes, in a thread of its own.

    api: Prefect's, once it is known; deployed: what Prefect was given, by the ids that it gave; lost: what it lost
    since, for whoever deploys again; seen: when all was well last; well: set while it is.
    """

    api: Callable[[], str]
    deployed: Callable[[], Mapping[UUID, Wanted]]
    stopping: threading.Event
    lost: list[str] = field(default_factory=list)
    seen: datetime = field(default_factory=lambda: datetime.now(UTC))
    well: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Look until all is to stop. Raise RollcallError where runs are lost, or have not been planned for minutes."""
        wait, unwell = 0.0, math.inf
        while not self.stopping.wait(wait):
            began, now = datetime.now(UTC), time.monotonic()
            why = self._why_not()
            if not why:
                self.seen, wait, unwell = began, LOOK_SECONDS, math.inf
                self.well.set()
                continue
            wait, unwell = AGAIN_SECONDS, min(unwell, now)
            if self.lost or now - unwell >= PATIENCE:
                self.well.clear()
                raise RollcallError(why)

    def _why_not(self) -> str:
        """Why nothing would run; nothing where all is well."""
        deployed = self.deployed()
        try:
            see_that_it_answers(self.api(), ANSWER_SECONDS)
            with refusals_in_words():
                found = compare(deployed, applied().standing_of(deployed))
        except RollcallError as error:
            return str(error)
        if deployed is not self.deployed():
            return ""  # Made anew while it was looked at: the next look tells.
        self.lost = found.lost
        if found.lost:
            return f"Prefect has lost {named(found.lost)}"
        if found.unplanned:
            return f"Prefect plans no runs of {named(found.unplanned)}"
        return ""


def named(names: Sequence[str]) -> str:
    """Some of the names, and how many more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def deployed_again(names: Sequence[str]) -> Message:
    """What people are told of deployments that were gone."""
    said = f"Gone there: {named(names)}. They are made anew, and their runs are planned again."
    after = ["Was the server's database emptied, or did somebody delete them? A flow is switched off by `never`."]
    return in_words("WARNING rollcall serve: Prefect had lost deployments", said, after, "warning")
