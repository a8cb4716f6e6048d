"""Events that automations listen for."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.alerts.events import alert_event, backup_event, failed_event, verify_event
from tasks.errors import StorageFull
from tasks.models import CheckResult, Finding, Identity, Manifest, StoredObject, Tally, Verdict

WHEN = datetime(2026, 2, 1, 2, 5, tzinfo=UTC)
RESOURCE = {"prefect.resource.id": "rollcall.target.knowledge_os", "prefect.resource.name": "knowledge_os"}
IDENTITY = Identity(
    container="c", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="16.4"
)
LOST = Finding(code="rows.dropped", severity="critical", message="lost", table="public.experts")


def manifest(**changes: Any) -> Manifest:
    plain = Manifest(
        id="b1",
        target="knowledge_os",
        created_at=WHEN,
        verdict="healthy",
        quarantined=False,
        method="dump",
        server_version="16.4",
        database="knowledge_os",
        objects=[StoredObject(storage=name, key="k", role="dump", bytes=10, sha256="00") for name in ("b", "a")],
        tally=Tally(counts={"public.experts": 85}),
        identity=IDENTITY,
        timings={"dump": 2.0},
    )
    return plain.model_copy(update=changes)


@pytest.mark.parametrize("verdict", ["healthy", "warning", "critical"])
def test_a_check_is_an_event_of_its_verdict(verdict: Verdict) -> None:
    result = CheckResult(
        target="knowledge_os", verdict=verdict, checked_at=WHEN, findings=[LOST], counts={}, identity=IDENTITY
    )
    event = verify_event(result)
    assert event.name == f"rollcall.verify.{verdict}"
    assert event.resource == RESOURCE
    assert event.payload == {
        "verdict": verdict,
        "checked_at": "2026-02-01T02:05:00+00:00",
        "volume": "v",
        "findings": [{"code": "rows.dropped", "severity": "critical", "message": "lost", "table": "public.experts"}],
        "findings_total": 1,
    }


def test_a_backup_is_stored_or_quarantined() -> None:
    stored = backup_event(manifest())
    quarantined = backup_event(manifest(quarantined=True, verdict="critical"))
    assert (stored.name, quarantined.name) == ("rollcall.backup.stored", "rollcall.backup.quarantined")
    assert stored.payload["bytes"] == 20
    assert stored.payload["storages"] == ["a", "b"]


def test_a_failed_backup_quotes_our_own_errors_only() -> None:
    ours = failed_event("knowledge_os", "backup", StorageFull("No space on local."))
    other = failed_event("knowledge_os", "backup", RuntimeError("password=hunter2"))
    assert ours.name == "rollcall.backup.failed"
    assert ours.payload == {"error": "StorageFull", "message": "No space on local."}
    assert other.payload == {"error": "RuntimeError", "message": ""}


def test_a_sent_alert_says_whether_it_arrived() -> None:
    event = alert_event("knowledge_os", "critical", "new", "CRITICAL", ["notify[0] (json): refused."])
    assert event.name == "rollcall.alert.sent"
    assert event.payload["delivered"] is False
    assert alert_event("knowledge_os", "critical", "new", "CRITICAL", []).payload["delivered"] is True


def test_a_thousand_findings_make_an_event_that_is_still_accepted() -> None:
    result = CheckResult(
        target="t", verdict="critical", checked_at=WHEN, findings=[LOST] * 1000, counts={}, identity=None
    )
    event = verify_event(result)
    assert event.payload["findings_total"] == 1000
    assert len(json.dumps(event.payload)) < 100_000
