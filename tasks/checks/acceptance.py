"""Accept the present state of a target after a legitimate change."""

from __future__ import annotations

from datetime import datetime

from tasks.checks.look import look_at_cluster, look_at_container, take_tally
from tasks.config import Config
from tasks.history.records import Acceptance
from tasks.history.store import open_history


def accept_present(config: Config, target: str, reason: str, by: str, at: datetime, table: str | None) -> Acceptance:
    """Count now, and make that the baseline (of `table` alone, or of all, and then the identity too).

    Raise what looking at the target raises; HistoryError for a table that nobody ever saw.
    """
    rules = config.target(target)
    seen = look_at_cluster(rules, look_at_container(rules))
    tally = take_tally(rules, seen)
    with open_history(config.history) as history:
        history.accept(target, tally.counts, seen.identity, reason, by, at, table)
        return history.acceptances(target)[-1]
