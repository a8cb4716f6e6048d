"""Accept the present state of a target after a legitimate change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tasks.checks.look import look_at_cluster, look_at_container, take_tally
from tasks.config import Config
from tasks.history.judge import UNREAD, resolve_table
from tasks.history.manifests import other, undumped
from tasks.history.records import Acceptance
from tasks.history.store import History, open_history
from tasks.models import Tally


def accept_present(config: Config, target: str, reason: str, by: str, at: datetime, table: str | None) -> Acceptance:
    """Count now, and make that the baseline (of `table` alone, or of all, and then the identity and the cluster's other
    databases too). The caller holds the target's lock: what a restore shows half-way must not become what is expected.

    The rows that no dump holds are accepted with the others: `table.not_dumped` is silent until they change.
    Raise what looking at the target raises; HistoryError for a table that nobody ever saw.
    """
    rules = config.target(target)
    seen = look_at_cluster(rules, look_at_container(rules))
    names = seen.databases if table is None else [rules.database]
    tallies = {name: take_tally(rules, seen, database=name) for name in names}
    tally, word = tallies[rules.database], (reason, by, at)
    with open_history(config.history) as history:
        if table is not None and (own := _own_table(table, tally)):
            history.accept(undumped(target), _undumped(tally), None, *word, own)
            return history.acceptances(undumped(target))[-1].model_copy(update={"target": target})
        if table is None:
            for name in {*names, *history.others(target)} - {rules.database}:
                _accept_other(history, other(target, name), tallies.get(name), word)
            history.accept(undumped(target), _undumped(tally), None, *word)
        history.accept(target, tally.counts, seen.identity, *word, table)
        return history.acceptances(target)[-1]


def _own_table(table: str, tally: Tally) -> str | None:
    """The table of an extension that `table` means, if it means none that is dumped."""
    return None if resolve_table(table, tally.counts) else resolve_table(table, _undumped(tally))


def _accept_other(history: History, name: str, tally: Tally | None, word: tuple[str, str, datetime]) -> None:
    history.accept(name, tally.counts if tally else {}, None, *word)
    history.accept(undumped(name), _undumped(tally) if tally else {}, None, *word)


def _undumped(tally: Tally) -> Mapping[str, int]:
    return {name: tally.extension_rows.get(name, UNREAD) for name in tally.not_dumped}
