"""Tell people: decide whether a run's outcome is news, send it once, and remember that it was sent."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tasks import orchestration
from tasks.alerts.decide import Decision, LastAlert, decide_whom, fingerprint, missed_by
from tasks.alerts.events import alert_event, failed_event
from tasks.alerts.message import Message, compose, compose_failure
from tasks.alerts.notify import destination, undelivered, undelivered_finding
from tasks.alerts.ping import ping_failure
from tasks.checks.judgement import Judgement
from tasks.checks.shelves import said_by_storages
from tasks.config import Config, NotifyBlock
from tasks.errors import HistoryError, RollcallError
from tasks.history.backups import newest_good_of
from tasks.history.records import Alert, Run, Telling
from tasks.history.store import History, open_history
from tasks.history.telling import ALERT, AT_WORK, begin_alert, begin_failure, end_alert, end_failure
from tasks.models import Finding, Identity

log = logging.getLogger("rollcall")

_told_without_history: dict[tuple[str, str, str, str], datetime] = {}
"""Which failures were told while the history could not be used, as on a full disk: a watcher tries again and again."""


def tell(
    config: Config,
    target: str,
    judgement: Judgement,
    identity: Identity | None,
    counts: Mapping[str, int],
    backup_id: str | None,
) -> list[Finding]:
    """Send the outcome if it is news; return `notification.failed` where it could not be delivered.

    Of several runs that find the same at once one sends it, and none waits for another. Where some of the destinations
    were reached, only the others are tried again.
    """
    now, every = datetime.now(UTC), timedelta(hours=config.remind_every_hours)
    verdict, told = judgement.verdict, fingerprint(judgement.findings)
    telling = Telling(target=target, what=ALERT, verdict=verdict, fingerprint=told, since=now)

    everybody = destinations(config)

    def why(last: Alert | None) -> Decision | None:
        return decide_whom(verdict, judgement.findings, _last(last), now, every, everybody)

    with open_history(config.history) as history:
        begun = begin_alert(history, telling, why, lambda decision: decision.only is not None)
        if begun is None:
            return []
        decision, telling = begun
        message = compose(
            target,
            verdict,
            judgement.findings,
            identity,
            counts,
            expected=judgement.expected,
            reason=decision.reason,
            when=now,
            backup=backup_id,
        )
        unheard = reach(config, message, decision.only)
        end_alert(history, telling, delivered=not unheard, missed=missed_by(decision, unheard, everybody))
    sentences = list(unheard.values())
    if decision.only is None:
        event = alert_event(target, verdict, decision.reason, message.title, sentences)
        orchestration.emit(event.name, event.resource, event.payload)
    finding = undelivered_finding(sentences)
    return [finding] if finding else []


def _last(alert: Alert | None) -> LastAlert | None:
    if alert is None:
        return None
    return LastAlert(alert.verdict, alert.fingerprint, alert.sent_at, alert.delivered, frozenset(alert.missed or ()))


def tell_first(
    config: Config, target: str, judgement: Judgement, identity: Identity | None, counts: Mapping[str, int]
) -> list[Finding]:
    """Send what is critical whatever the storages say, before they are asked: one that is silent takes a minute.

    What they said at the last check is taken to hold still, so that this is the only message where it does. Before
    there was a check, nothing is sent. Return as `tell` does.
    """
    if judgement.verdict != "critical":
        return []
    with open_history(config.history) as history:
        before = history.latest(target, "verify")
        backup = newest_good_of(history, target, datetime.now(UTC))
    if before is None:
        return []
    taken = backup is not None and backup.created_at > before.checked_at
    said = said_by_storages(before.findings, taken_since=taken)
    return tell(config, target, judgement.with_findings(said), identity, counts, backup.id if backup else None)


def send(config: Config, message: Message) -> list[str]:
    """Deliver to every destination of the configuration; return what could not be, in sentences."""
    return list(reach(config, message).values())


def destinations(config: Config) -> list[str]:
    """Everybody whom the configuration names, by what they are called in the history."""
    return [destination(entry) for entry in config.notify]


def reach(config: Config, message: Message, only: Collection[str] | None = None) -> dict[str, str]:
    """Deliver to these destinations (None: to all); return a sentence for each that was not reached, by its name."""
    names = destinations(config)

    def by_block(name: str, what: Message) -> None:
        orchestration.send_notification_block(name, what.title, what.body)

    if any(isinstance(entry, NotifyBlock) for entry in config.notify):
        with suppress(Exception):  # Whatever keeps Prefect from loading is said of that destination; others are told.
            orchestration.load_blocks()
    positions = [at for at, name in enumerate(names) if only is None or name in only]
    return {names[at]: said for at, said in undelivered(config.notify, positions, message, by_block).items()}


def tell_failure(config: Config, target: str, what: str, error: RollcallError, *, recorded: bool = False) -> list[str]:
    """Say that a run of `what` did not come to its end; the same failure again only after the cool-down.

    recorded: the run has put its end into the history itself. It is told even where the history cannot be used: that
    may be the very failure. Who waits outside hears of every one.
    """
    ping_failure(config, target, what, error)
    event = failed_event(target, what, error)
    orchestration.emit(event.name, event.resource, event.payload)
    now = datetime.now(UTC)
    telling = Telling(target=target, what=what, fingerprint=str(error), since=now)
    if not _begin(config, telling):
        return []
    sentences = send(config, compose_failure(target, what, error, now))
    for sentence in sentences:
        log.warning("%s", sentence)
    run = Run(target=target, kind=what, started_at=now, ended_at=now, outcome="failed", message=str(error))
    try:
        with open_history(config.history) as history:
            end_failure(history, telling, None if recorded else run)
    except HistoryError as reason:
        log.warning("%s", reason)
    return sentences


def _begin(config: Config, telling: Telling) -> bool:
    """Whether this process is to tell of the failure; where the history cannot say, by its own memory."""
    try:
        with open_history(config.history) as history:
            return begin_failure(history, telling, lambda known: _is_news(config, telling, known))
    except HistoryError:
        key = (config.history, telling.target, telling.what, telling.fingerprint)
        last = _told_without_history.get(key)
        if last is not None and telling.since - last < timedelta(hours=config.remind_every_hours):
            return False
        _told_without_history[key] = telling.since
        return True


def _is_news(config: Config, telling: Telling, history: History) -> bool:
    """False if just this was told within the cool-down and nothing has come to its end since."""
    every, now = timedelta(hours=config.remind_every_hours), telling.since
    same = [run for run in history.runs(telling.target, telling.what) if run.message == telling.fingerprint]
    # What is dated in the future, for the clock was set back, silences nothing.
    told = [run for run in same if -AT_WORK < now - run.started_at < every]
    seen = history.latest(telling.target)
    return not told or (seen is not None and told[-1].started_at < seen.checked_at < now + AT_WORK)
