"""Settles the runs whose process is gone, as left_over.py decides: at the start, and whenever the runner ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from deployments.serving.late import applied, in_utc
from deployments.serving.left_over import Decision, decide
from deployments.serving.wanted import Wanted
from tasks.checks.lock import is_held

log = logging.getLogger("rollcall")

WORDS = {"skip": "skipped", "dead": "not finished", "wait": "still at work", "again": "started again"}


class Settling:
    """Remembers which runs outlived their runner. May be used from any thread."""

    def __init__(self, state: Path) -> None:
        """`state`: the folder of the locks."""
        self._state = state
        self._outliving: set[str] = set()
        self._one = threading.Lock()

    def all(self, deployed: Mapping[UUID, Wanted]) -> None:
        """What a former runner left, before anything of a new one can begin: no run may be at work under either."""
        with self._one:
            self._carry_out(self._decisions(deployed), deployed)

    def more(self, deployed: Mapping[UUID, Wanted]) -> None:
        """What was still at work then, and has ended since."""
        with self._one:
            if self._outliving:
                decisions = self._decisions(deployed)
                self._carry_out([each for each in decisions if each.run.id in self._outliving], deployed)

    def _decisions(self, deployed: Mapping[UUID, Wanted]) -> list[Decision]:
        now = datetime.now(UTC)
        return decide(applied().runs_due(deployed, now), now, self._is_at_work)

    def _carry_out(self, decisions: list[Decision], deployed: Mapping[UUID, Wanted]) -> None:
        """Do it; keep which runs are still at work, to ask again."""
        for each in decisions:
            applied().carry_out(each, deployed)
            if each.what != "wait":
                log.info("%s, due %s: %s. %s", each.run.name, in_utc(each.run.due), WORDS[each.what], each.why)
        self._outliving = {each.run.id for each in decisions if each.what == "wait"}

    def _is_at_work(self, flow: str, target: str) -> bool:
        """Whether some process holds the lock that such a run takes; a check takes none, and is over in seconds."""
        if flow == "verify":
            return False
        return is_held(self._state, f"{target}/drill" if flow == "drill" else target)
