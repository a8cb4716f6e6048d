"""What a run leaves to be looked at in Prefect: artifacts and events. Without Prefect both are nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks import orchestration
from tasks.alerts.artifacts import backup_report, verify_report
from tasks.alerts.events import backup_event, verify_event
from tasks.backups.file import Rotation
from tasks.models import CheckResult, Manifest
from tasks.restore.drill import DrillResult
from tasks.restore.plan import Plan
from tasks.restore.report import RestoreReport
from tasks.restore.words import drill_markdown, plan_markdown, restore_markdown


def _key(kind: str, target: str) -> str:
    """An artifact key: Prefect allows lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', target.lower()).strip('-')}"


def report_check(result: CheckResult, expected: Mapping[str, int]) -> None:
    """Findings, counts against baseline, identity."""
    orchestration.publish(
        _key("verify", result.target), verify_report(result, expected), f"{result.target}: {result.verdict}"
    )
    event = verify_event(result)
    orchestration.emit(event.name, event.resource, event.payload)


def report_backup(manifest: Manifest, expected: Mapping[str, int], rotation: Rotation) -> None:
    """Sizes, rates, timings, where the copies are, counts, rotation."""
    report = backup_report(manifest, expected, rotation.deleted, rotation.frozen)
    orchestration.publish(_key("backup", manifest.target), report, f"{manifest.id}: {manifest.verdict}")
    event = backup_event(manifest)
    orchestration.emit(event.name, event.resource, event.payload)


def report_plan(plan: Plan) -> None:
    """What a restore would do, to be read before anybody approves it."""
    orchestration.publish(_key("restore-plan", plan.target), plan_markdown(plan), f"{plan.target}: plan {plan.hash}")


def report_restore(report: RestoreReport) -> None:
    """The plan, then what came of it."""
    words = f"{report.target}: {report.outcome}"
    orchestration.publish(_key("restore", report.target), restore_markdown(report), words)
    resource = {"prefect.resource.id": f"rollcall.target.{report.target}", "prefect.resource.name": report.target}
    payload = report.model_dump(mode="json", include={"outcome", "run", "approved_by", "downtime_seconds", "staging"})
    orchestration.emit("rollcall.restore.done", resource, payload)


def report_drill(result: DrillResult) -> None:
    """Whether the backup came back, and how long that took."""
    words = f"{result.backup}: {'proven' if result.proven else 'NOT proven'}"
    orchestration.publish(_key("drill", result.target), drill_markdown(result), words)
    resource = {"prefect.resource.id": f"rollcall.target.{result.target}", "prefect.resource.name": result.target}
    name = "rollcall.drill.proven" if result.proven else "rollcall.drill.not-proven"
    orchestration.emit(name, resource, result.model_dump(mode="json", include={"backup", "rto_seconds", "reason"}))
