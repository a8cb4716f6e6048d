"""What Prefect has planned of every schedule, and what fell between two plans, which is made up for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from deployments.serving.late import applied, in_utc
from deployments.serving.left_over import was_missed
from deployments.serving.wanted import Wanted
from tasks.errors import RollcallError

log = logging.getLogger("rollcall")

PLANNED_SECONDS = 90.0


class Plans:
    """Deployments that are made anew lose what is planned of them: `note` before, `complete` after.

    next_runs: when each is due next, by the deployment's name; done: False from the one until the other is through.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self.next_runs: dict[str, datetime] = {}
        self.done = True
        self._stopping = stopping
        self._since: dict[str, datetime] = {}

    def note(self, asked: list[Wanted], gone: Mapping[str, datetime] | None = None) -> None:
        """Since when each schedule has stood. Where a former try was not completed, what it noted stands: by now the
        schedules are only as old as that try, and what came due since would be missed for good.

        gone: when those that Prefect has lost were there last, by name; what came due since is to be made up for.
        """
        self._since = applied().schedules_before(asked) | (gone or {}) | self._since
        self.done = False

    def complete(self, deployed: Mapping[UUID, Wanted]) -> None:
        """Wait until Prefect has planned every schedule's next run, then look whether one fell between two plans.

        Raise RollcallError where it plans none; to be called again then.
        """
        asked = {identity: each.name for identity, each in deployed.items() if each.cron}
        self.next_runs = {}
        deadline = time.monotonic() + PLANNED_SECONDS
        while asked and not self._stopping.is_set():
            planned = {name: applied().next_run(identity) for identity, name in asked.items()}
            self.next_runs |= {name: due for name, due in planned.items() if due}
            asked = {identity: name for identity, name in asked.items() if name not in self.next_runs}
            if asked and time.monotonic() > deadline:
                late = ", ".join(asked.values())
                raise RollcallError(f"Prefect plans no runs of {late}; is the scheduler of its server switched off?")
            self._stopping.wait(1 if asked else 0)
        self._catch_up(deployed)
        self._since, self.done = {}, True

    def _catch_up(self, deployed: Mapping[UUID, Wanted]) -> None:
        now = datetime.now(UTC)
        for identity, each in deployed.items():
            since = self._since.get(each.name)
            if each.cron is None or since is None or each.flow == "verify":
                continue
            runs = applied().runs_due({identity: each}, now)
            due = was_missed(each.cron, each.timezone, runs, since, now)
            if due:
                log.info("%s, due %s, was missed: started now.", each.name, in_utc(due))
                applied().start_now(identity, f"missed-{identity}-{due.isoformat()}")
