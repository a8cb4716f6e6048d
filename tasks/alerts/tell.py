"""Tell people: decide whether a run's outcome is news, send it, and remember that it was sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tasks import orchestration
from tasks.alerts.decide import LastAlert, decide, fingerprint
from tasks.alerts.events import alert_event, failed_event
from tasks.alerts.message import Message, compose, compose_failure, compose_recovery
from tasks.alerts.notify import notify, undelivered_finding
from tasks.alerts.ping import ping_failure
from tasks.checks.judgement import Judgement
from tasks.config import Config
from tasks.errors import HistoryError, RollcallError
from tasks.history.records import Alert, Run
from tasks.history.store import History, open_history
from tasks.models import Finding, Identity

log = logging.getLogger("rollcall")


def tell(
    config: Config,
    target: str,
    judgement: Judgement,
    identity: Identity | None,
    counts: Mapping[str, int],
    backup_id: str | None,
) -> list[Finding]:
    """Send the outcome if it is news; return `notification.failed` where it could not be delivered."""
    now = datetime.now(UTC)
    with open_history(config.history) as history:
        last = _last(history, target)
        every = timedelta(hours=config.remind_every_hours)
        reason = decide(judgement.verdict, judgement.findings, last, now, every)
        if reason is None:
            return []
        if judgement.verdict == "healthy":
            message = compose_recovery(target, counts, judgement.expected, identity, when=now, backup=backup_id)
        else:
            message = compose(
                target,
                judgement.verdict,
                judgement.findings,
                identity,
                counts,
                expected=judgement.expected,
                reason=reason,
                when=now,
                backup=backup_id,
            )
        undelivered = send(config, message)
        alert = Alert(
            target=target,
            verdict=judgement.verdict,
            fingerprint=fingerprint(judgement.findings),
            sent_at=now,
            delivered=not undelivered,
        )
        history.record_alert(alert)
    event = alert_event(target, judgement.verdict, reason, message.title, undelivered)
    orchestration.emit(event.name, event.resource, event.payload)
    finding = undelivered_finding(undelivered)
    return [finding] if finding else []


def _last(history: History, target: str) -> LastAlert | None:
    last = history.last_alert(target)
    return LastAlert(last.verdict, last.fingerprint, last.sent_at, last.delivered) if last else None


def send(config: Config, message: Message) -> list[str]:
    """Deliver to every destination of the configuration; return what could not be, in sentences."""

    def by_block(name: str, what: Message) -> None:
        orchestration.send_notification_block(name, what.title, what.body)

    return notify(config.notify, message, by_block)


def tell_failure(config: Config, target: str, what: str, error: RollcallError, *, recorded: bool = False) -> list[str]:
    """Say that a run of `what` did not come to its end; the same failure again only after the cool-down.

    recorded: the run has put its end into the history itself. It is told even where the history cannot be used: that
    may be the very failure. Who waits outside hears of every one.
    """
    ping_failure(config, target, what, error)
    event = failed_event(target, what, error)
    orchestration.emit(event.name, event.resource, event.payload)
    now = datetime.now(UTC)
    if not _is_news(config, target, what, str(error), now):
        return []
    undelivered = send(config, compose_failure(target, what, error, now))
    for sentence in undelivered:
        log.warning("%s", sentence)
    if recorded:
        return undelivered
    run = Run(target=target, kind=what, started_at=now, ended_at=now, outcome="failed", message=str(error))
    try:
        with open_history(config.history) as history:
            history.record_run(run)
    except HistoryError as reason:
        log.warning("%s", reason)
    return undelivered


def _is_news(config: Config, target: str, what: str, message: str, now: datetime) -> bool:
    """False if just this was told within the cool-down and nothing has come to its end since."""
    try:
        with open_history(config.history) as history:
            told = [run for run in history.runs(target, what) if run.message == message]
            seen = history.latest(target)
    except HistoryError:
        return True
    if not told or now - told[-1].started_at >= timedelta(hours=config.remind_every_hours):
        return True
    return seen is not None and seen.checked_at > told[-1].started_at
