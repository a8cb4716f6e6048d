"""Prefect events as data, so that automations can act on them; tasks/orchestration.py emits them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.alerts.decide import Reason
from tasks.errors import RollcallError
from tasks.models import CheckResult, Finding, Manifest, Verdict

# An event is refused above 1.5 MB; nobody reads the hundredth finding in one.
_MOST_FINDINGS = 50


@dataclass(frozen=True)
class Event:
    """What `prefect.events.emit_event(event=name, resource=resource, payload=payload)` takes."""

    name: str
    resource: dict[str, str]
    payload: dict[str, Any]


def verify_event(result: CheckResult) -> Event:
    """`rollcall.verify.healthy`, `.warning` or `.critical`."""
    payload: dict[str, Any] = {
        "verdict": result.verdict,
        "checked_at": result.checked_at.isoformat(),
        "volume": result.identity.volume if result.identity else None,
        **_findings(result.findings),
    }
    return Event(f"rollcall.verify.{result.verdict}", _resource(result.target), payload)


def backup_event(manifest: Manifest) -> Event:
    """`rollcall.backup.stored` or `rollcall.backup.quarantined`; sizes in bytes, timings in seconds."""
    payload: dict[str, Any] = {
        "id": manifest.id,
        "verdict": manifest.verdict,
        "created_at": manifest.created_at.isoformat(),
        "bytes": sum(each.bytes for each in manifest.objects),
        "storages": sorted({each.storage for each in manifest.objects}),
        "timings": dict(manifest.timings),
        **_findings(manifest.findings),
    }
    kind = "quarantined" if manifest.quarantined else "stored"
    return Event(f"rollcall.backup.{kind}", _resource(manifest.target), payload)


def failed_event(target: str, what: str, error: BaseException) -> Event:
    """`rollcall.backup.failed`, `rollcall.verify.failed`; quotes only our own errors, others may hold a password."""
    said = str(error) if isinstance(error, RollcallError) else ""
    return Event(f"rollcall.{what}.failed", _resource(target), {"error": type(error).__name__, "message": said})


def alert_event(target: str, verdict: Verdict, reason: Reason, title: str, undelivered: Sequence[str]) -> Event:
    """`rollcall.alert.sent`; `undelivered` is what `notify` returned."""
    payload: dict[str, Any] = {
        "verdict": verdict,
        "reason": reason,
        "title": title,
        "delivered": not undelivered,
        "undelivered": list(undelivered),
    }
    return Event("rollcall.alert.sent", _resource(target), payload)


def _resource(target: str) -> dict[str, str]:
    return {"prefect.resource.id": f"rollcall.target.{target}", "prefect.resource.name": target}


def _findings(findings: Sequence[Finding]) -> dict[str, Any]:
    shown = [finding.model_dump(exclude_none=True) for finding in findings[:_MOST_FINDINGS]]
    return {"findings": shown, "findings_total": len(findings)}
