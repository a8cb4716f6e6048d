"""What the status API answers: the shapes, described for OpenAPI, and how a standing is put into them (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tasks.history.standing import Standing
from tasks.models import Finding, Verdict

_PUBLIC = "public."
HEALTHY = "healthy"

_COUNTS: dict[str, Any] = {"public.experts": 85, "public.knowledge_nodes": 26337}
_EXAMPLE: dict[str, Any] = {
    "verdict": "healthy",
    "counts": _COUNTS,
    "identity_ok": True,
    "checked_at": "2026-02-01T02:15:00Z",
    "last_backup_at": "2026-02-01T02:00:00Z",
    "last_proven_at": "2026-01-25T04:00:31Z",
    "stale": False,
    "findings": [],
}
_DB_EXAMPLE: dict[str, Any] = {"healthy": True, "experts": 85, "knowledge_nodes": 26337}


class PartState(NamedTuple):
    """How something that runs beside the API does. up: it runs, and has not just ended; restarts: how often it was
    started again."""

    up: bool
    restarts: int


class TargetStatus(BaseModel):
    """One target, by the last check that the history knows."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    verdict: Verdict = Field(description="The worst of the findings. Never `healthy` where the last check is too old.")
    counts: dict[str, int] = Field(
        description="Exact rows by qualified table name, quoted where PostgreSQL would; empty where the last check "
        "could not count."
    )
    identity_ok: bool | None = Field(
        description="Whether the pinned volume and cluster are there; null where the last check is too old to say so, "
        "or could not see."
    )
    checked_at: datetime | None = Field(description="When it was checked last (UTC); null if never.")
    last_backup_at: datetime | None = Field(description="When the newest good backup was taken (UTC).")
    last_proven_at: datetime | None = Field(description="When a drill or a restore last proved a good backup (UTC).")
    stale: bool = Field(description="There is no check, or it is too old to be believed.")
    findings: list[Finding] = Field(description="What is wrong or worth knowing; codes never change their meaning.")


class Database(BaseModel):
    """One target as the old dashboard reads it: `healthy`, and rows by table.

    A table of the schema `public` has its bare name, any other its qualified one; both are quoted where PostgreSQL
    would quote them, so two tables never share a name. A table that is really called `healthy` is `public.healthy`.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_DB_EXAMPLE]})
    __pydantic_extra__: dict[str, int] = Field(init=False)

    healthy: bool = Field(description="Checked lately, and nothing is wrong: false on a warning too.")


class SystemMetrics(BaseModel):
    """Every target of the configuration, and one of them as `db`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"db": _DB_EXAMPLE, "targets": {"knowledge_os": _EXAMPLE}}]}
    )

    db: Database | None = Field(description="The only target, or the one named by `?target=`; else null.")
    targets: dict[str, TargetStatus]


class Health(BaseModel):
    """The history can be read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"detail": "There is no target 'shop' in the configuration; it has: knowledge_os."}]
        }
    )

    detail: str


def target_status(standing: Standing) -> TargetStatus:
    """The answer about one target."""
    backup = standing.last_backup
    return TargetStatus(
        verdict=standing.verdict,
        counts=standing.counts,
        identity_ok=standing.identity_ok,
        checked_at=standing.checked_at,
        last_backup_at=backup.created_at if backup else None,
        last_proven_at=standing.last_proven_at,
        stale=standing.stale,
        findings=standing.findings,
    )


def database(standing: Standing) -> dict[str, bool | int]:
    """The fields of `Database`."""
    return {HEALTHY: standing.healthy, **{_short(table): rows for table, rows in standing.counts.items()}}


def _short(table: str) -> str:
    """The key of a table: its name without `public.`, unless the name would then say something else."""
    bare = table.removeprefix(_PUBLIC)
    return table if bare == HEALTHY else bare


def system_metrics(standings: Mapping[str, Standing], chosen: str | None) -> dict[str, Any]:
    """The whole answer as plain data. chosen: whose fields `db` shows."""
    return {
        "db": database(standings[chosen]) if chosen is not None else None,
        "targets": {name: target_status(each).model_dump(mode="json") for name, each in standings.items()},
    }
