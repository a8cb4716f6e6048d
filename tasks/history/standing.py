"""How every target stands now, by what the history knows: no target, storage or engine is asked.

A check that is too old says nothing about today, so its verdict is not passed on as it was: its age is a finding of its
own (`check.stale`), and so is a target that was never checked (`check.missing`) or could not be (`check.failed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, func, select

from tasks.errors import HistoryError
from tasks.history import tables
from tasks.history.backups import last_proofs, newest_good
from tasks.history.records import CLOCK_TOLERANCE, Run, StoredBackup
from tasks.history.store import History
from tasks.models import Finding, Model, Verdict, verdict_of

_BEST_FIRST: tuple[Verdict, ...] = ("healthy", "warning", "critical")
_IDENTITY = ("volume.", "cluster.")
_NOTHING_TO_JUDGE_BY = ("history.lost", "history.unknown")


class LastCheck(NamedTuple):
    """The newest look at a target, by a verify, a backup or a restore. seen: whether its server could be asked who it
    is."""

    at: datetime
    verdict: Verdict
    findings: list[Finding]
    counts: Mapping[str, int]
    seen: bool


class Standing(Model):
    """One target now.

    findings: of the last check, and what is wrong with the check itself; verdict: the worst of them. counts: exact rows
    at the last check; empty where it could not count. identity_ok: None where nobody knows which cluster it is now.
    stale: there is no check, or it is too old to be believed. last_backup: the newest good one (not quarantined).
    last_proven_at: when a drill or a restore last proved a good backup that is still there. last_drill: the last one,
    however it ended.
    """

    target: str
    verdict: Verdict
    findings: list[Finding]
    counts: dict[str, int]
    identity_ok: bool | None
    checked_at: datetime | None
    stale: bool
    last_backup: StoredBackup | None
    last_proven_at: datetime | None
    last_drill: Run | None

    @property
    def healthy(self) -> bool:
        """Checked lately, and nothing is wrong: a warning is not healthy."""
        return self.verdict == "healthy"


def standings(
    history: History, targets: Sequence[str], now: datetime, stale_after: Mapping[str, timedelta | None]
) -> dict[str, Standing]:
    """Every target's standing by its name, in the order given; stale_after: by target, None where a check may be of any
    age. Raise HistoryError."""
    try:
        with history.reading() as connection:
            backups, proofs = newest_good(connection, now), last_proofs(connection, now)
            runs = _last_runs(connection)
            checks = {target: _last_check(connection, target, now) for target in targets}
    except ValueError as error:  # Not JSON, or not the JSON that was written.
        raise HistoryError(
            "The history holds a row that cannot be read; move it away, then rebuild it from the backups."
        ) from error
    return {
        target: standing_of(
            target,
            checks[target],
            runs.get(target, {}),
            now,
            stale_after[target],
            last_backup=backups.get(target),
            last_proven_at=proofs.get(target),
        )
        for target in targets
    }


def standing_of(
    target: str,
    check: LastCheck | None,
    runs: Mapping[str, Run],
    now: datetime,
    stale_after: timedelta | None,
    *,
    last_backup: StoredBackup | None = None,
    last_proven_at: datetime | None = None,
) -> Standing:
    """Put together what is known of one target: pure. runs: the last one of each kind that the history has."""
    doubts = _doubts(target, check, runs.get("verify"), now, stale_after)
    stale = any(each.code in ("check.missing", "check.stale") for each in doubts)
    findings = [*(check.findings if check else []), *doubts]
    return Standing(
        target=target,
        verdict=max(check.verdict if check else "healthy", verdict_of(findings), key=_BEST_FIRST.index),
        findings=findings,
        counts=dict(check.counts) if check else {},
        identity_ok=_identity_ok(check, stale),
        checked_at=check.at if check else None,
        stale=stale,
        last_backup=last_backup,
        last_proven_at=last_proven_at,
        last_drill=runs.get("drill"),
    )


def _doubts(
    target: str, check: LastCheck | None, run: Run | None, now: datetime, stale_after: timedelta | None
) -> list[Finding]:
    """Why the last check is not all that can be said."""
    doubts: list[tuple[str, str]] = []
    if run and run.outcome == "failed" and (check is None or run.started_at > check.at):
        when = f"{run.started_at:%Y-%m-%d %H:%M} UTC"
        doubts.append(("check.failed", f"{target} could not be checked at {when}: {run.message}"))
    if check is None:
        doubts.append(("check.missing", f"{target} was never checked; run: rollcall verify {target}"))
    elif stale_after is not None and now - check.at > stale_after:
        hours, most = ((each.total_seconds() / 3600) for each in (now - check.at, stale_after))
        message = (
            f"{target} was last checked {hours:,.1f} hours ago, and {most:,.1f} are the most: nobody knows how it is "
            f"now; see why the schedule does not run, and run: rollcall verify {target}"
        )
        doubts.append(("check.stale", message))
    return [Finding(code=code, severity="warning", message=message) for code, message in doubts]


def _identity_ok(check: LastCheck | None, stale: bool) -> bool | None:
    """False for a wrong volume or cluster, until a check says otherwise; True where the last check saw the right ones
    and can be believed; else None."""
    if check is None:
        return None
    if any(each.severity == "critical" and each.code.startswith(_IDENTITY) for each in check.findings):
        return False
    judged = check.seen and all(each.code not in _NOTHING_TO_JUDGE_BY for each in check.findings)
    return True if judged and not stale else None


def _last_check(connection: Connection, target: str, now: datetime) -> LastCheck | None:
    row = connection.execute(_LAST_CHECK, {"of": target, "until": now + CLOCK_TOLERANCE}).first()
    return _check(row) if row else None


_found = tables.observations.c
# Put together once: for a hundred targets that is most of the work.
_LAST_CHECK = (
    select(
        _found.checked_at, _found.verdict, _found.findings, _found.counts, _found.identity.is_not(None).label("seen")
    )
    .where(_found.target == bindparam("of"), _found.checked_at <= bindparam("until"))
    .order_by(_found.checked_at.desc(), _found.number.desc())
    .limit(1)
)


def _check(row: Row[Any]) -> LastCheck:
    findings = [Finding.model_validate(each) for each in row.findings]
    return LastCheck(row.checked_at, row.verdict, findings, row.counts, row.seen)


def _last_runs(connection: Connection) -> dict[str, dict[str, Run]]:
    """By target and kind, the run that was recorded last."""
    found = tables.runs.c
    newest = (
        select(func.max(found.number)).where(found.kind.in_(("verify", "drill"))).group_by(found.target, found.kind)
    )
    by_target: dict[str, dict[str, Run]] = {}
    for row in connection.execute(select(tables.runs).where(found.number.in_(newest))):
        by_target.setdefault(row.target, {})[row.kind] = Run.model_validate(dict(row._mapping))
    return by_target
