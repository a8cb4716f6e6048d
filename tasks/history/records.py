"""The rows of the history, as frozen data."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, Field

from tasks.history.process import Process, this_process
from tasks.models import Finding, Identity, Model, Verdict

ObservationKind = Literal["verify", "backup", "manifest", "restore"]

CLOCK_TOLERANCE = timedelta(minutes=5)
"""What is dated further in the future is not believed: it would hide all that happens until then."""


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


# A time without a zone is refused: it would be read differently on another machine.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Observation(Model):
    """What one verify or backup saw. `accepted` ones are what later tallies are judged by."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    target: str
    checked_at: Moment
    kind: ObservationKind
    verdict: Verdict
    findings: list[Finding] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)
    schema_objects: dict[str, str] = Field(default_factory=dict)
    schema_fingerprint: str = ""
    identity: Identity | None = None
    accepted: bool
    backup_id: str | None = None


class Acceptance(Model):
    """A person's word that the counts of `table` (None: of all tables, and the identity) are right as they are.

    last_observation: the number of the last observation of any target that was there by then, whatever its date; None
    where an older Rollcall kept it.
    """

    target: str
    at: Moment
    table: str | None = None
    counts: dict[str, int]
    identity: Identity | None = None
    reason: str
    accepted_by: str
    last_observation: int | None = None


class Pin(Model):
    """The cluster a target must be."""

    target: str
    system_identifier: str
    volume: str | None
    pinned_at: Moment
    reason: str


class Alert(Model):
    """One notification that was sent, or could not be. `fingerprint` says which findings it told of; `missed` whom it
    did not reach, where others were reached."""

    target: str
    verdict: Verdict
    fingerprint: str
    sent_at: Moment
    delivered: bool
    missed: list[str] | None = None


class Telling(Model):
    """A message that is being sent. what: `alert`, or the kind of run that failed; verdict: of an alert; sender: who
    sends it; alert: the number of its row among the alerts, once it has one."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    target: str
    what: str
    verdict: Verdict = "critical"
    fingerprint: str
    since: Moment
    sender: Process = Field(default_factory=this_process)
    alert: int | None = None


class ToldFailure(Model):
    """A failure of a run of `what` that people have heard of; missed: the destinations that have not, though others
    have."""

    target: str
    what: str
    fingerprint: str
    told_at: Moment
    missed: list[str] = Field(default_factory=list)


class Run(Model):
    """One run of a flow; `ended_at` is None where it was recorded while still going."""

    target: str
    kind: str
    started_at: Moment
    ended_at: Moment | None
    outcome: str
    message: str = ""


class StoredBackup(Model):
    """A backup as the storages held it when they were looked at last.

    stored: bytes by storage, for each that holds it whole. raw_bytes: of its dumps before compression. seconds: from
    the first look at the container until all was read back. proven_at: when a drill or a restore last proved it.
    """

    target: str
    id: str
    created_at: Moment
    quarantined: bool
    stored: dict[str, int]
    raw_bytes: int
    seconds: float
    proven_at: Moment | None = None


class Tallied(NamedTuple):
    """The part of an accepted observation that the baseline is made of. number: as observations were put down."""

    at: datetime
    counts: Mapping[str, int]
    number: int = 0


class RowsOverTime(NamedTuple):
    """The rows of each table (by name, in order) at each of `moments`; None where the table was not there."""

    moments: list[datetime]
    tables: dict[str, list[int | None]]


class Baseline(NamedTuple):
    """What a new tally is judged by: rows by table, of the last accepted tally and the highest in the window.

    `last` also says which tables must exist. Both are empty for a target without history.
    """

    last: Mapping[str, int]
    highest: Mapping[str, int]


NO_HISTORY = Baseline({}, {})
