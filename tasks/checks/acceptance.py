"""Accept the present state of a target after a legitimate change."""

from __future__ import annotations

from datetime import datetime

from tasks.checks.look import look_at_cluster, look_at_container, take_tally
from tasks.config import Config
from tasks.history.manifests import other
from tasks.history.records import Acceptance
from tasks.history.store import open_history


def accept_present(config: Config, target: str, reason: str, by: str, at: datetime, table: str | None) -> Acceptance:
    """Count now, and make that the baseline (of `table` alone, or of all, and then the identity and the cluster's other
    databases too). The caller holds the target's lock: what a restore shows half-way must not become what is expected.

    Raise what looking at the target raises; HistoryError for a table that nobody ever saw.
    """
    rules = config.target(target)
    seen = look_at_cluster(rules, look_at_container(rules))
    names = seen.databases if table is None else [rules.database]
    tallies = {name: take_tally(rules, seen, database=name) for name in names}
    with open_history(config.history) as history:
        if table is None:
            for name in {*names, *history.others(target)} - {rules.database}:
                counts = tallies[name].counts if name in tallies else {}
                history.accept(other(target, name), counts, None, reason, by, at)
        history.accept(target, tallies[rules.database].counts, seen.identity, reason, by, at, table)
        return history.acceptances(target)[-1]
