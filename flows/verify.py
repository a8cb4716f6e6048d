"""Verify a target: is it the cluster it should be, are its rows there, is there a backup to go back to?"""

from __future__ import annotations

from datetime import UTC, datetime

from tasks import menu, orchestration
from tasks.checks.judgement import Judgement
from tasks.checks.look import Seen
from tasks.checks.shelves import freshness_findings
from tasks.config import Config, load
from tasks.containers.observe import Container
from tasks.errors import ContainerMissing, ContainerStopped, DatabaseUnreachable, LoginRefused, tellable
from tasks.models import CheckResult, Identity, Tally

ABSENT = (ContainerMissing, ContainerStopped, DatabaseUnreachable, LoginRefused)


@orchestration.flow(name="verify", run_name="verify {target}")
def verify(target: str, config: str | None = None) -> CheckResult:
    """Check a target's identity, rows, schema and backups; record it in the history; alert on a change.

    Args:
        target: Name of the target, as in the configuration.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
    """
    settings = load(config)
    settings.target(target)
    menu.ping_start(settings, target, "verify")
    now = datetime.now(UTC)
    try:
        lost = menu.restore_history(settings, target)
        judgement, tally, identity = _look_and_judge(settings, target, now)
        volume = menu.look_for_volume(settings.target(target), identity)
        interrupted = menu.look_for_interruption(settings, target)
        judgement = judgement.with_findings([*lost, *volume, *interrupted])
        undelivered = menu.tell_first(settings, target, judgement, identity, tally.counts)
        shelves = menu.look_at_backups(settings, target)
        menu.remember_backups(settings, target, shelves)
        judgement = judgement.with_findings(freshness_findings(settings, target, shelves))
        menu.remember(settings, target, "verify", now, judgement, tally, identity)
        # What could not be delivered a moment ago is tried again by the next check.
        undelivered = undelivered or menu.tell(settings, target, judgement, identity, tally.counts, shelves.newest_good)
        menu.forget_old(settings, target, now)
        result = _report(settings, target, now, judgement.with_findings(undelivered), tally, identity)
    except Exception as error:
        menu.tell_failure(settings, target, "verify", tellable(error))
        raise
    menu.ping_done(settings, target, "verify", result.verdict, result.findings)
    return result


def _look_and_judge(settings: Config, target: str, now: datetime) -> tuple[Judgement, Tally, Identity | None]:
    """What was found; a database that is not there to be asked is a finding, not a failure to check."""
    rules = settings.target(target)
    container: Container | None = None
    try:
        container = menu.look_at_container(rules)
        seen: Seen = menu.look_at_cluster(rules, container)
        tally = menu.take_tally(rules, seen, deadline=rules.check_deadline)
    except ABSENT as error:
        return menu.judge_absence(settings, target, container, error), Tally(counts={}), None
    identity = menu.judge_cluster(settings, target, seen.identity)
    judgement = menu.judge_tally(settings, target, tally, now)
    others = menu.judge_others(settings, target, seen.databases, {}, now)
    return judgement.with_findings([*identity, *others]), tally, seen.identity


def _report(
    settings: Config, target: str, now: datetime, judgement: Judgement, tally: Tally, identity: Identity | None
) -> CheckResult:
    """Leave a report."""
    result = CheckResult(
        target=target,
        verdict=judgement.verdict,
        checked_at=now,
        findings=judgement.findings,
        counts=tally.counts,
        identity=identity,
        expected=judgement.expected,
    )
    menu.report_check(settings, result)
    return result
