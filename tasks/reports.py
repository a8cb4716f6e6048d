"""What a run leaves to be looked at in Prefect: artifacts and events. Without Prefect both are nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks import orchestration
from tasks.alerts.artifacts import backup_report, verify_report
from tasks.alerts.events import backup_event, verify_event
from tasks.backups.file import Rotation
from tasks.models import CheckResult, Manifest


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
