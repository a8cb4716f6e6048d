"""Tell people: decide whether a run's outcome is news, send it once, and remember that it was sent."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tasks import orchestration
from tasks.alerts import markers
from tasks.alerts.decide import Decision, LastAlert, decide_failure, decide_whom, fingerprint, missed_by
from tasks.alerts.events import alert_event, failed_event
from tasks.alerts.message import Message, compose, compose_failure
from tasks.alerts.notify import destination, undelivered, undelivered_finding
from tasks.alerts.ping import ping_failure
from tasks.checks.judgement import Judgement
from tasks.checks.shelves import said_by_storages
from tasks.config import Config, NotifyBlock
from tasks.errors import HistoryError, RollcallError
from tasks.history.backups import newest_good_of
from tasks.history.records import Alert, Run, Telling, ToldFailure
from tasks.history.store import History, open_history
from tasks.history.telling import ALERT, begin_alert, begin_failure, end_alert, end_failure
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
    """Say that a run of `what` did not come to its end; the same failure again only after the cool-down, or to those
    who have not heard it.

    recorded: the run has put its end into the history itself. It is told even where the history cannot be used: that
    may be the very failure. Who waits outside hears of every one.
    """
    ping_failure(config, target, what, error)
    event = failed_event(target, what, error)
    orchestration.emit(event.name, event.resource, event.payload)
    now, every = datetime.now(UTC), timedelta(hours=config.remind_every_hours)
    telling = Telling(target=target, what=what, fingerprint=str(error), since=now)
    begun = _begin(config, telling, every)
    if begun is None:
        return []
    decision, before = begun
    unheard = reach(config, compose_failure(target, what, error, now), decision.only)
    for sentence in unheard.values():
        log.warning("%s", sentence)
    told = _told(config, telling, decision, before, unheard)
    run = Run(target=target, kind=what, started_at=now, ended_at=now, outcome="failed", message=str(error))
    known = recorded or decision.only is not None
    try:
        with open_history(config.history) as history:
            end_failure(history, telling, None if known else run, told)
    except HistoryError as reason:
        log.warning("%s", reason)
        if told is not None:
            markers.keep(config.state, told, every)
    return list(unheard.values())


def _begin(config: Config, telling: Telling, every: timedelta) -> tuple[Decision, ToldFailure | None] | None:
    """Whom this process is to tell of the failure, and what was told before; None: nobody."""
    everybody = destinations(config)

    def decide(ended_at: datetime | None, told: ToldFailure | None) -> tuple[Decision, ToldFailure | None] | None:
        told_at, missed = (told.told_at, told.missed) if told else (None, [])
        decision = decide_failure(told_at, missed, ended_at, telling.since, every, everybody)
        return None if decision is None else (decision, told)

    def by_history(history: History, told: ToldFailure | None) -> tuple[Decision, ToldFailure | None] | None:
        seen = history.latest(telling.target)
        return decide(seen.checked_at if seen else None, told)

    try:
        with open_history(config.history) as history:
            return begin_failure(history, telling, by_history)
    except HistoryError:
        return decide(None, markers.recall(config.state, telling))


def _told(
    config: Config, telling: Telling, decision: Decision, before: ToldFailure | None, unheard: Collection[str]
) -> ToldFailure | None:
    """What is to be kept of it; None where nobody has heard it, so that it is told again."""
    missed = missed_by(decision, unheard, destinations(config))
    if unheard and not missed:
        return None
    told_at = before.told_at if before and decision.only is not None else telling.since
    key = {"target": telling.target, "what": telling.what, "fingerprint": telling.fingerprint}
    return ToldFailure(**key, told_at=told_at, missed=missed)
