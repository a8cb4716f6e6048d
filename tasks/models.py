"""The data that flows pass between tasks and keep in manifests and history.

All models are frozen; a later Rollcall may add fields, so reading ignores unknown ones. Times are UTC; sizes are bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["notice", "warning", "critical"]
Verdict = Literal["healthy", "warning", "critical"]
Role = Literal["dump", "globals", "config"]

DataOn = Literal["volume", "folder", "memory", "container"]
"""A Docker volume, a folder of the engine's host, a tmpfs, or the container's own layer."""

BEFORE_A_RESTORE, BEFORE_A_DOWN = "before a restore", "before a down"
"""Occasions of a backup that is not one of its own."""

WORST_FIRST: tuple[Severity, ...] = ("critical", "warning", "notice")


class Model(BaseModel):
    """Frozen data."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Finding(Model):
    """One thing that is wrong (warning, critical) or worth knowing (notice). Codes are listed in docs/findings.md."""

    code: str
    severity: Severity
    message: str
    table: str | None = None


def verdict_of(findings: list[Finding]) -> Verdict:
    """The worst of the findings; notices leave a target healthy."""
    severities = {finding.severity for finding in findings}
    if "critical" in severities:
        return "critical"
    return "warning" if "warning" in severities else "healthy"


class SequencePosition(Model):
    """Where a sequence stands, as `setval(name, last_value, is_called)` would put it."""

    last_value: int
    is_called: bool


DifferenceKind = Literal[
    "database", "rows", "column", "sequence", "large_objects",  # what a backup is for
    "materialized_view", "definition", "missing", "added", "extension_version", "setting",  # what can be made again
]  # fmt: skip
DATA: frozenset[DifferenceKind] = frozenset({"database", "rows", "column", "sequence", "large_objects"})


class Difference(Model):
    """One thing in which a rebuilt cluster is not what the manifest says: a named difference.

    object: as a person names it (`rows in public.t`, `view public.v`, `extension pg_trgm`); expected, found: the two
    texts or numbers, where they are known; why: a reason in one sentence, e.g. pg_restore's own words.
    """

    kind: DifferenceKind
    database: str
    object: str
    expected: str | None = None
    found: str | None = None
    why: str | None = None

    @property
    def blocking(self) -> bool:
        """Whether it is of the data itself, so that nothing is proven."""
        return self.kind in DATA


class Tally(Model):
    """What one database holds, read in one snapshot.

    counts: exact rows by `quote_ident`-qualified table name; a partitioned table once, under its root.
    materialized_views: rows, or None where it was never populated; kept apart, for a restore refreshes them.
    schema_objects: a short hash of the definition by object (`table public.experts`, `column public.experts.name` …);
    schema_fingerprint: SHA-256 over all of them; definitions: the texts of those that hold an expression or a version.
    not_dumped: tables of extensions that hold rows and are in no dump.
    extension_rows: the rows of these, where the role may read them. extension_sequences: where the extensions' own
    sequences stand that are in no dump.
    """

    counts: dict[str, int]
    materialized_views: dict[str, int | None] = Field(default_factory=dict)
    sequences: dict[str, SequencePosition] = Field(default_factory=dict)
    large_objects: int = 0
    schema_fingerprint: str = ""
    schema_objects: dict[str, str] = Field(default_factory=dict)
    definitions: dict[str, str] = Field(default_factory=dict)
    not_dumped: list[str] = Field(default_factory=list)
    extension_rows: dict[str, int] = Field(default_factory=dict)
    extension_sequences: dict[str, SequencePosition] = Field(default_factory=dict)


class Identity(Model):
    """Which cluster answered, and what it is mounted on.

    system_identifier, timeline and checkpoint_lsn come from pg_control_system() and pg_control_checkpoint()
    (PostgreSQL documentation, System Information Functions). volume is None where PGDATA is on no Docker volume.
    folder: that of the engine's host that it is in instead; folder_id: its device and inode, where this user may read
    them. data_on: what PGDATA is on.
    settled_xid: the cluster's next transaction id, where no transaction that could have written was at work: while that
    stays, nothing was written since.
    """

    container: str
    volume: str | None
    system_identifier: str
    timeline: int
    checkpoint_lsn: str
    server_version: str
    compose_project: str | None = None
    container_id: str = ""
    image_id: str = ""
    pgdata: str = ""
    settled_xid: int | None = None
    folder: str | None = None
    folder_id: str | None = None
    data_on: DataOn | None = None

    @property
    def place(self) -> str | None:
        """Where the data is: the volume's name or the folder's path; None where it is in neither."""
        return self.volume or self.folder


class StoredObject(Model):
    """One object in one storage: `bytes` and `sha256` are of the stored (compressed) form."""

    storage: str
    key: str
    role: Role
    bytes: int
    sha256: str
    database: str | None = None
    raw_bytes: int = 0


class Manifest(Model):
    """The record of one backup. A backup exists only once its manifest is stored.

    occasion: empty for a backup of its own; `before a restore` for what was there when one began, which is no default
    to restore; `before a down`.
    """

    format: int = 1
    id: str
    target: str
    created_at: datetime
    verdict: Verdict
    quarantined: bool
    method: str
    server_version: str
    database: str
    objects: list[StoredObject]
    tally: Tally
    databases: dict[str, Tally] = Field(default_factory=dict)
    identity: Identity
    findings: list[Finding] = Field(default_factory=list)
    cluster: dict[str, Any] = Field(default_factory=dict)
    omitted: list[str] = Field(default_factory=list)
    occasion: str = ""
    timings: dict[str, float] = Field(default_factory=dict)
    rollcall_version: str = ""


class CheckResult(Model):
    """What `verify` found, and the rows that were expected; `verify --json` prints exactly this."""

    target: str
    verdict: Verdict
    checked_at: datetime
    findings: list[Finding]
    counts: dict[str, int]
    identity: Identity | None
    expected: dict[str, int] = Field(default_factory=dict)
