"""The history: observations, acceptances, pins, alerts and runs, in SQLite or PostgreSQL.

It can be rebuilt from the manifests of the stored backups, so losing it loses no protection for long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, Select, and_, delete, func, insert, or_, select, union

from tasks.errors import HistoryError
from tasks.history import records, tables
from tasks.history.baseline import baseline_of, comes_after
from tasks.history.manifests import observations_of, other
from tasks.history.opening import open_engine, speaking_plainly
from tasks.history.records import Acceptance, Baseline, Moment, Observation, ObservationKind, Pin, Run, Tallied
from tasks.history.table_names import resolve_table
from tasks.models import Identity, Manifest

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Acceptance",
    "Baseline",
    "History",
    "Moment",
    "Observation",
    "Pin",
    "Run",
    "open_history",
]


def open_history(url: str, busy_seconds: float = 10.0) -> History:
    """The history at a SQLAlchemy URL (`sqlite:///PATH`, `postgresql+psycopg://…`); created if it is not
    there.

    `busy_seconds`: how long to wait for another process's lock, or for PostgreSQL to take the connection.
    Raise HistoryError where it cannot be opened, is damaged, or is of a newer Rollcall.
    """
    return History(open_engine(url, busy_seconds))


class History:
    """What was seen and decided. Every method raises HistoryError where the database fails. Close it after
    use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back. Twice does no harm."""
        self._engine.dispose()

    def record(self, observation: Observation) -> None:
        """Keep an observation; one whose id is already there is left alone, so a repeated call does no
        harm."""
        with self.writing() as connection:
            _insert_observation(connection, observation)

    def observations(self, target: str, since: datetime | None = None) -> list[Observation]:
        """All observations of `target` from `since` on, oldest first by their dates."""
        query = _observations(target)
        if since is not None:
            query = query.where(tables.observations.c.checked_at >= since)
        return [_observation(row) for row in self._all(query.order_by(*_BY_DATE))]

    def latest(self, target: str, kind: ObservationKind | None = None) -> Observation | None:
        """The observation of `target` (of one kind) that was put down last, whatever its date: the clock may have been
        set back since."""
        query = _observations(target)
        if kind is not None:
            query = query.where(tables.observations.c.kind == kind)
        row = self._first(query.order_by(_NEWEST_FIRST))
        return _observation(row) if row else None

    def last_accepted(self, target: str) -> Observation | None:
        """The accepted observation of `target` that was put down last."""
        row = self._last_accepted(target)
        return _observation(row) if row else None

    def last_identity(self, target: str) -> Identity | None:
        """The identity that was accepted last: by an observation, or by a person (for `judge_identity`)."""
        seen = self._last_accepted(target, tables.observations.c.identity.is_not(None))
        said = [each for each in self.acceptances(target) if each.identity is not None]
        if said and not _is_after(seen, said[-1]):
            return said[-1].identity
        return Identity.model_validate(seen.identity) if seen else None

    def last_schema(self, target: str) -> dict[str, str] | None:
        """The schema objects to compare with (for `judge_schema`): those of the last accepted observation,
        or, where a person has accepted everything since, of the last observation before that."""
        before = self._last_accepted(target)
        whole = [each for each in self.acceptances(target) if each.table is None]
        if whole and not _is_after(before, whole[-1]):
            found, by_then = tables.observations.c, whole[-1].last_observation
            there = found.checked_at <= whole[-1].at if by_then is None else found.number <= by_then
            before = self._first(_observations(target).where(there).order_by(_NEWEST_FIRST)) or before
        return before.schema_objects if before and before.schema_objects else None

    def baseline(self, target: str, now: datetime, window_days: int) -> Baseline:
        """What a tally of `target` taken now is judged by."""
        found = tables.observations.c
        accepted = and_(found.target == target, found.accepted)
        newest = select(found.number).where(accepted).order_by(_NEWEST_FIRST).limit(1)
        since = now - timedelta(days=window_days)
        query = (
            select(found.checked_at, found.counts, found.number)
            .where(accepted, or_(found.checked_at >= since, found.number == newest.scalar_subquery()))
            .order_by(found.number)
        )
        tallies = [Tallied(row.checked_at, row.counts, row.number) for row in self._all(query)]
        return baseline_of(tallies, self.acceptances(target), now, window_days)

    def accept(
        self,
        target: str,
        counts: Mapping[str, int],
        identity: Identity | None,
        reason: str,
        by: str,
        at: datetime,
        table: str | None = None,
    ) -> None:
        """Make `counts` (of `table`, or all) the baseline from `at` on; without `table` also pin `identity`.

        `table` may be written as in the configuration. Raise HistoryError for a table nobody ever saw, and
        ConfigError for a name that is malformed or ambiguous.
        """
        if table is not None:
            table = self._known_table(target, table, counts, at)
        acceptance = Acceptance(
            target=target,
            at=at,
            table=table,
            counts=dict(counts),
            identity=identity if table is None else None,
            reason=reason,
            accepted_by=by,
        )
        with self.writing() as connection:
            last = connection.execute(select(func.max(tables.observations.c.number))).scalar() or 0
            known = acceptance.model_copy(update={"last_observation": last})
            connection.execute(insert(tables.acceptances).values(known.model_dump(mode="python")))
            if acceptance.identity is not None:
                _put_pin(connection, _pin_of(target, acceptance.identity, acceptance.at, reason))

    def acceptances(self, target: str) -> list[Acceptance]:
        """Every acceptance for `target`, in the order in which they were put down."""
        found = tables.acceptances
        rows = self._all(select(found).where(found.c.target == target).order_by(found.c.number))
        return [Acceptance.model_validate(dict(row._mapping)) for row in rows]

    def pin(self, target: str) -> Pin | None:
        """The cluster `target` must be; None before first sight."""
        row = self._first(select(tables.pins).where(tables.pins.c.target == target))
        return Pin.model_validate(dict(row._mapping)) if row else None

    def set_pin(self, pin: Pin) -> None:
        """Replace the target's pin."""
        with self.writing() as connection:
            _put_pin(connection, pin)

    def record_run(self, run: Run) -> None:
        """Keep how a run went."""
        with self.writing() as connection:
            connection.execute(insert(tables.runs).values(run.model_dump()))

    def runs(self, target: str, kind: str | None = None) -> list[Run]:
        """Every recorded run of `target` (of one kind), oldest first."""
        found = tables.runs
        query = select(found).where(found.c.target == target)
        if kind is not None:
            query = query.where(found.c.kind == kind)
        rows = self._all(query.order_by(found.c.started_at, found.c.number))
        return [Run.model_validate(dict(row._mapping)) for row in rows]

    def targets(self) -> list[str]:
        """Every target that anything is known of, sorted."""
        known = (tables.observations, tables.acceptances, tables.pins, tables.alerts, tables.runs)
        rows = self._all(union(*(select(each.c.target) for each in known)))
        return sorted(row.target for row in rows if "/" not in row.target)

    def others(self, target: str) -> list[str]:
        """The other databases of the target's cluster that anything is known of."""
        mark = other(target, "")
        rows = self._all(select(tables.observations.c.target).distinct())
        return sorted(row.target.removeprefix(mark) for row in rows if row.target.startswith(mark))

    def rebuild(self, target: str, manifests: Sequence[Manifest]) -> int:
        """Make observations of the target's good manifests, accepted as they were then, and the pin of the newest.

        What is already known stays, and a pin newer than the manifest too, so doing it again changes nothing.
        Quarantined manifests teach nothing. Return how many observations were added.
        """
        mine = (each for each in manifests if each.target == target and not each.quarantined)
        good = sorted(mine, key=lambda each: each.created_at)
        if not good:
            return 0
        with self.writing() as connection:
            taught = [each for manifest in good for each in observations_of(manifest)]
            added = sum([_add(connection, each) for each in taught])
            newest = good[-1]
            reason = f"rebuilt from the manifest of backup {newest.id}"
            pin = _pin_of(target, newest.identity, newest.created_at, reason)
            query = select(tables.pins.c.pinned_at).where(tables.pins.c.target == target)
            pinned_at = connection.execute(query).scalar()
            if pinned_at is None or pinned_at < pin.pinned_at:
                _put_pin(connection, pin)
        return added

    def rows_over_time(self, target: str, since: datetime | None = None) -> records.RowsOverTime:
        """The rows of every table at every observation from `since` on, by date."""
        found = tables.observations.c
        query = select(found.checked_at, found.counts).where(found.target == target)
        if since is not None:
            query = query.where(found.checked_at >= since)
        rows = self._all(query.order_by(*_BY_DATE))
        names = sorted({table for row in rows for table in row.counts})
        return records.RowsOverTime(
            [row.checked_at for row in rows], {name: [row.counts.get(name) for row in rows] for name in names}
        )

    def frame(self, target: str, since: datetime | None = None) -> pd.DataFrame:
        """The same to reckon with: a column of integers for each table, <NA> where it was not there, by the index
        `checked_at`, UTC. Pandas takes half a second to load."""
        import pandas as pd

        rows = self.rows_over_time(target, since)
        index = pd.DatetimeIndex(rows.moments, name="checked_at", tz="UTC")
        data = {table: pd.array(counts, dtype="Int64") for table, counts in rows.tables.items()}
        return pd.DataFrame(data, index=index, columns=pd.Index(list(rows.tables)))

    def _known_table(self, target: str, table: str, counts: Mapping[str, int], at: datetime) -> str:
        expected = self.baseline(target, at, window_days=1).last
        known = resolve_table(table, {**expected, **counts})
        if known is None:
            raise HistoryError(f"There is no table {table} in {target}, and there was none; check the name.")
        return known

    def _last_accepted(self, target: str, *more: Any) -> Row[Any] | None:
        accepted = _observations(target).where(tables.observations.c.accepted, *more)
        return self._first(accepted.order_by(_NEWEST_FIRST))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with speaking_plainly(self._engine.url), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; others wait for its end."""
        engine = self._engine.execution_options(writes=True)
        with speaking_plainly(self._engine.url), engine.begin() as connection:
            yield connection

    def _all(self, query: Any) -> Sequence[Row[Any]]:
        with self.reading() as connection:
            return connection.execute(query).all()

    def _first(self, query: Select[Any]) -> Row[Any] | None:
        with self.reading() as connection:
            return connection.execute(query.limit(1)).first()


_BY_DATE = (tables.observations.c.checked_at, tables.observations.c.number)
# Not by date: what was made while the clock was ahead would be the newest until then.
_NEWEST_FIRST = tables.observations.c.number.desc()


def _observations(target: str) -> Select[Any]:
    """Every column, with the schema's objects from where they are kept once."""
    joined = tables.observations.join(tables.schemas)
    columns = [each for each in tables.observations.c if each.name != "schema_hash"]
    query = select(*columns, tables.schemas.c.objects.label("schema_objects")).select_from(joined)
    return query.where(tables.observations.c.target == target)


def _observation(row: Row[Any]) -> Observation:
    return Observation.model_validate({key: value for key, value in row._mapping.items() if key != "number"})


def _is_after(row: Row[Any] | None, acceptance: Acceptance) -> bool:
    return row is not None and comes_after(row.checked_at, row.number, acceptance, datetime.now(UTC))


def _insert_observation(connection: Connection, observation: Observation) -> bool:
    """Insert it and, if new, its schema. False if its id was there."""
    found = tables.observations.c
    if connection.execute(select(found.number).where(found.id == observation.id)).first():
        return False
    # Identity and findings become plain JSON; the time stays a time.
    values = observation.model_dump(exclude={"schema_objects"}, mode="python")
    schema_hash = _keep_schema(connection, observation.schema_objects)
    connection.execute(insert(tables.observations).values(**values, schema_hash=schema_hash))
    return True


def _keep_schema(connection: Connection, objects: Mapping[str, str]) -> str:
    """The hash under which these objects are kept, once."""
    text = json.dumps(objects, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    found = tables.schemas.c
    if not connection.execute(select(found.hash).where(found.hash == digest)).first():
        connection.execute(insert(tables.schemas).values(hash=digest, objects=dict(objects)))
    return digest


def _put_pin(connection: Connection, pin: Pin) -> None:
    connection.execute(delete(tables.pins).where(tables.pins.c.target == pin.target))
    connection.execute(insert(tables.pins).values(pin.model_dump()))


def _pin_of(target: str, identity: Identity, at: datetime, reason: str) -> Pin:
    return Pin(
        target=target,
        system_identifier=identity.system_identifier,
        volume=identity.volume,
        pinned_at=at,
        reason=reason,
    )


def _add(connection: Connection, observation: Observation) -> bool:
    """Record what a manifest taught, unless its backup is known already."""
    found = tables.observations.c
    same = and_(found.target == observation.target, found.backup_id == observation.backup_id)
    if connection.execute(select(found.number).where(same)).first():
        return False
    return _insert_observation(connection, observation)
