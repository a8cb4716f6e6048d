"""The history's tables and how values are kept in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 4  # 2: backups; 3: being_told; 4: acceptances.last_observation, alerts.missed, failures_told


class Utc(TypeDecorator[datetime]):
    """A moment, kept in UTC also where the database knows no zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a naive time never gets here (the records refuse it)."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Back with its zone."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData()


def _number() -> Column[int]:
    """Rows of the same instant stay in the order they were written in."""
    return Column("number", Integer, primary_key=True, autoincrement=True)


version = Table("rollcall_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

# A schema changes far less often than it is looked at: each one is kept once, under its own hash.
schemas = Table(
    "schemas", metadata, Column("hash", String(64), primary_key=True), Column("objects", JSON, nullable=False)
)

observations = Table(
    "observations",
    metadata,
    _number(),
    Column("id", String(200), nullable=False, unique=True),
    Column("target", String(100), nullable=False),
    Column("checked_at", Utc, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("findings", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("schema_hash", ForeignKey("schemas.hash"), nullable=False),
    Column("schema_fingerprint", String(200), nullable=False),
    Column("identity", JSON(none_as_null=True)),
    Column("accepted", Boolean, nullable=False),
    Column("backup_id", String(200)),
    Index("observations_by_target", "target", "checked_at"),
    Index("observations_accepted", "target", "accepted", "checked_at"),
    Index("observations_in_order", "target", "number"),
)

acceptances = Table(
    "acceptances",
    metadata,
    _number(),
    Column("target", String(100), nullable=False, index=True),
    Column("at", Utc, nullable=False),
    Column("table", Text),
    Column("counts", JSON, nullable=False),
    Column("identity", JSON(none_as_null=True)),
    Column("reason", Text, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("last_observation", Integer),
)

pins = Table(
    "pins",
    metadata,
    Column("target", String(100), primary_key=True),
    Column("system_identifier", String(40), nullable=False),
    Column("volume", Text),
    Column("pinned_at", Utc, nullable=False),
    Column("reason", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    _number(),
    Column("target", String(100), nullable=False, index=True),
    Column("verdict", String(20), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("sent_at", Utc, nullable=False),
    Column("delivered", Boolean, nullable=False),  # False also while it is being told
    Column("missed", JSON(none_as_null=True)),  # the destinations, where others were reached
)

# What is being sent right now, so that nobody else sends it too.
being_told = Table(
    "being_told",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("target", String(100), nullable=False, index=True),
    Column("what", String(40), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("since", Utc, nullable=False),
    Column("sender", JSON, nullable=False),
    Column("alert", Integer),
)

# Which failures people have heard of, whatever became of the runs.
failures_told = Table(
    "failures_told",
    metadata,
    _number(),
    Column("target", String(100), nullable=False, index=True),
    Column("what", String(40), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("told_at", Utc, nullable=False),
    Column("missed", JSON, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    _number(),
    Column("target", String(100), nullable=False, index=True),
    Column("kind", String(40), nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("ended_at", Utc),
    Column("outcome", String(40), nullable=False),
    Column("message", Text, nullable=False),
)

# What the storages held when they were looked at last: the catalogue itself is always read from them.
backups = Table(
    "backups",
    metadata,
    Column("target", String(100), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("created_at", Utc, nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("stored", JSON, nullable=False),
    Column("raw_bytes", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("proven_at", Utc),
)
