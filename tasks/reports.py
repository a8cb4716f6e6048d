"""What a run leaves to be looked at in Prefect: artifacts and events. Without Prefect both are nothing.

A report is not what a run is for: whatever making one meets is logged, and the run goes on.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ParamSpec

from tasks import orchestration
from tasks.alerts.all_targets import targets_report
from tasks.alerts.artifacts import artifact_key, fitted
from tasks.alerts.events import backup_event, verify_event
from tasks.alerts.run_reports import backup_report, failure_report, verify_report
from tasks.alerts.tell import tell_failure
from tasks.backups.file import Rotation
from tasks.config import Config
from tasks.errors import RollcallError
from tasks.history.chart import embedded
from tasks.history.standing import standings
from tasks.history.store import open_history
from tasks.limits import check_limits
from tasks.models import CheckResult, Manifest
from tasks.restore.drill import DrillResult
from tasks.restore.plan import Plan
from tasks.restore.report import RestoreReport
from tasks.restore.words import drill_markdown, drill_title, plan_markdown, restore_markdown

P = ParamSpec("P")

log = logging.getLogger("rollcall")

TARGETS_KEY = "rollcall-targets"
CHART_DAYS = 30


def _costing_no_run(report: Callable[P, None]) -> Callable[P, None]:
    """`report`, which does nothing where no run is tracked, and only logs what it meets."""

    @functools.wraps(report)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        if not orchestration.tracked():
            return
        try:
            report(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the run has done its work; its report can be missed
            # The class alone: what Prefect's own errors say may quote an address with a key in it.
            log.warning("A report for Prefect's UI could not be made (%s).", type(error).__name__)

    return call


@_costing_no_run
def report_check(config: Config, result: CheckResult) -> None:
    """Findings, counts against baseline, the history as a picture, identity; and the state of all targets."""
    event = verify_event(result)  # Alarms hang on it: it does not wait for a picture.
    orchestration.emit(event.name, event.resource, event.payload)
    charts, pin = _charts(config, result), _pin(config, result.target)
    _publish(
        artifact_key("verify", result.target),
        lambda most: verify_report(result, result.expected, charts, pin, most),
        f"{result.target}: {result.verdict}",
    )
    report_targets(config)


def _charts(config: Config, result: CheckResult) -> dict[str, str]:
    """The rows of the last days as a picture, by its caption."""
    since = datetime.now(UTC) - timedelta(days=CHART_DAYS)
    target = result.target
    floors = {name: rule.min for name, rule in config.target(target).tables.items() if rule.min is not None}
    alarming = {each.table for each in result.findings if each.table and each.severity != "notice"}
    with open_history(config.history) as history:
        drawn = embedded(history.rows_over_time(target, since), target, floors, alarming)
    return {f"Rows by table over {CHART_DAYS} days": drawn} if drawn else {}


def _pin(config: Config, target: str) -> dict[str, str]:
    """What the target's identity must be."""
    rules = config.target(target)
    with open_history(config.history) as history:
        pin = history.pin(target)
    cluster = {"system_identifier": pin.system_identifier} if pin else {}
    return {"container": rules.container, "volume": rules.pinned, **cluster}


@_costing_no_run
def report_backup(config: Config, manifest: Manifest, expected: dict[str, int], rotation: Rotation) -> None:
    """Sizes, rates, timings, where the copies are, counts, rotation; and the state of all targets."""
    event = backup_event(manifest)
    orchestration.emit(event.name, event.resource, event.payload)
    _publish(
        artifact_key("backup", manifest.target),
        lambda most: backup_report(
            manifest, expected, rotation.deleted, rotation.frozen, newest_good=rotation.newest_good, most=most
        ),
        f"{manifest.id}: {manifest.verdict}",
    )
    report_targets(config)


@_costing_no_run
def report_plan(plan: Plan) -> None:
    """What a restore would do, to be read before anybody approves it."""
    orchestration.publish(
        artifact_key("restore-plan", plan.target), plan_markdown(plan), f"{plan.target}: plan {plan.hash}"
    )


@_costing_no_run
def report_restore(config: Config, report: RestoreReport) -> None:
    """The proof, then the plan that was followed; and the state of all targets."""
    words = f"{report.target}: {report.outcome}"
    _publish(artifact_key("restore", report.target), lambda most: restore_markdown(report, most), words)
    resource = {"prefect.resource.id": f"rollcall.target.{report.target}", "prefect.resource.name": report.target}
    payload = report.model_dump(mode="json", include={"outcome", "run", "approved_by", "downtime_seconds", "staging"})
    orchestration.emit("rollcall.restore.done", resource, payload)
    report_targets(config)


@_costing_no_run
def report_drill(config: Config, result: DrillResult) -> None:
    """Whether the backup came back, and how long that took; and the state of all targets."""
    words = f"{result.backup}: {drill_title(result).lower()}"
    resource = {"prefect.resource.id": f"rollcall.target.{result.target}", "prefect.resource.name": result.target}
    name = "rollcall.drill.proven" if result.proven else "rollcall.drill.not-proven"
    orchestration.emit(name, resource, result.model_dump(mode="json", include={"backup", "rto_seconds", "reason"}))
    _publish(artifact_key("drill", result.target), lambda most: drill_markdown(result, most), words)
    report_targets(config)


def report_failure(
    config: Config, target: str, what: str, error: RollcallError, *, recorded: bool = False
) -> list[str]:
    """Tell whom it concerns, as `tell_failure` does; why it ended, where the run has not reported that itself
    (`recorded`); and the state of all targets."""
    undelivered = tell_failure(config, target, what, error, recorded=recorded)
    if not recorded:
        _report_end(target, what, error)
    report_targets(config)
    return undelivered


@_costing_no_run
def _report_end(target: str, what: str, error: RollcallError) -> None:
    """Under the key of what would have been reported: so its newest version is how the last run ended."""
    now = datetime.now(UTC)
    key = artifact_key(what.removesuffix("-volume"), target)
    _publish(key, lambda _most: failure_report(target, what, error, now), f"{target}: {what} did not come to its end")


def _publish(key: str, make: Callable[[int], str], words: str) -> None:
    orchestration.publish(key, fitted(make), words)


@_costing_no_run
def report_targets(config: Config) -> None:
    """The state of all targets, under a key of its own: its newest version is how things are."""
    orchestration.publish(TARGETS_KEY, *targets_page(config))


def targets_page(config: Config) -> tuple[str, str]:
    """The state of all targets as Markdown, and in a few words. Raise HistoryError."""
    now = datetime.now(UTC)
    with open_history(config.history) as history:
        found = standings(history, sorted(config.targets), now, check_limits(config))
    wrong = [name for name, standing in found.items() if not standing.healthy]
    words = f"not healthy: {', '.join(wrong)}" if wrong else "all healthy"
    return fitted(lambda most: targets_report(list(found.values()), now, most)), words
