"""The fields of the status API: names that never collide, and series that never run away."""

from __future__ import annotations

from typing import Any

from deployments.status_answers import Database, SystemMetrics, database, system_metrics
from deployments.status_metrics import shown_tables
from tasks.config import Target
from tasks.history.standing import Standing


def standing(counts: dict[str, int], **given: Any) -> Standing:
    fields: dict[str, Any] = {
        "target": "t",
        "verdict": "healthy",
        "findings": [],
        "counts": counts,
        "identity_ok": True,
        "checked_at": None,
        "stale": False,
        "last_backup": None,
        "last_proven_at": None,
        "last_drill": None,
    }
    return Standing.model_validate(fields | given)


def rules(**tables: dict[str, int]) -> Target:
    return Target.model_validate(
        {"container": "c", "volume": "v", "database": "d", "storages": ["a"], "tables": tables}
    )


def test_the_old_dashboard_finds_its_fields() -> None:
    answer = database(standing({"public.experts": 85, "public.knowledge_nodes": 26_337}))
    assert answer == {"healthy": True, "experts": 85, "knowledge_nodes": 26_337}


def test_tables_of_other_schemas_keep_their_schema_so_that_nothing_collides() -> None:
    counts = {
        "public.experts": 85,
        "sales.experts": 2,
        'public."sales.experts"': 3,
        '"Sales Data"."Orders"': 4,
        'public."Orders"': 5,
        '"public.x".y': 6,
    }
    assert database(standing(counts)) == {
        "healthy": True,
        "experts": 85,
        "sales.experts": 2,
        '"sales.experts"': 3,
        '"Sales Data"."Orders"': 4,
        '"Orders"': 5,
        '"public.x".y': 6,
    }


def test_a_table_called_healthy_does_not_become_the_verdict() -> None:
    answer = database(standing({"public.healthy": 1, "audit.healthy": 2}, verdict="critical"))
    assert answer == {"healthy": False, "public.healthy": 1, "audit.healthy": 2}


def test_answers_have_the_shape_that_is_promised() -> None:
    answer = SystemMetrics.model_validate(system_metrics({"t": standing({"public.self": 1})}, "t"))
    assert isinstance(answer.db, Database)
    assert answer.db.model_extra == {"self": 1}
    assert SystemMetrics.model_validate(system_metrics({"t": standing({})}, None)).db is None


def test_of_very_many_tables_those_with_a_rule_come_first() -> None:
    counts = {f"public.t{number:02}": number for number in range(20)}
    assert shown_tables(rules(t19={"min": 1}), counts, 3) == ["public.t19", "public.t00", "public.t01"]
    assert shown_tables(rules(t19={"min": 1}, gone={}), counts, 20) == sorted(counts)


def test_a_rule_that_means_no_table_clearly_is_passed_over() -> None:
    counts = {"a.t": 1, "b.t": 2, "b.u": 3}
    assert shown_tables(rules(t={"min": 1}, **{"x..y": {}}), counts, 1) == ["a.t"]
