"""The end of a cut-over: is the right data under the right name, and is that what is expected from now on?"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from tasks.checks.judgement import judge_cluster, judge_tally
from tasks.checks.look import Seen, look_at_cluster, look_at_container, take_tally
from tasks.config import Config, Target
from tasks.containers.engine import engine, inspect_container
from tasks.containers.programs import sweep_helpers
from tasks.containers.recreate import said_last, wait_healthy
from tasks.containers.scratch_place import Place
from tasks.errors import ContainerStopped, DatabaseUnreachable, RestoreError
from tasks.history.manifests import other
from tasks.history.records import Observation
from tasks.history.store import open_history
from tasks.models import Identity, Tally
from tasks.restore.hands import Facts, Hands
from tasks.restore.plan import Plan

log = logging.getLogger("rollcall")

ASK_EVERY = 0.1  # seconds between two attempts to reach a server that starts


def place_of(plan: Plan) -> Place:
    """Where the volume is mounted and where PGDATA lies, as in the container that will have it."""
    return Place(destination=plan.destination, pgdata=plan.pgdata)


def sweep(config: Config, target: str) -> None:
    """Remove scratch and helper containers of this target; the caller holds its lock."""
    with engine(config.target(target).docker) as client:
        sweep_helpers(client, config.owner(target))


def verify(hands: Hands) -> Facts:
    """Wait until the server answers and is healthy; hold volume, cluster and rows against what must be there.

    Raise RestoreError that names the first thing which is not as it must be.
    """
    rules = hands.config.target(hands.plan.target)
    seen = first_answer(hands.config, hands.plan.target, rules)
    answered_at = datetime.now(UTC).isoformat()
    with engine(hands.docker) as client:
        wait_healthy(client, hands.live, rules.start_wait)
    _check_identity(hands, seen)
    expected: dict[str, dict[str, int]] = hands.journal.facts.get("rebuilt", {}).get("counts", {})
    tallies = {name: take_tally(rules, seen, database=name) for name in dict.fromkeys([*seen.databases, *expected])}
    counts = {name: tally.counts for name, tally in tallies.items()}
    _check_rows(expected, counts)
    if not expected:
        _check_history(hands, seen, tallies[rules.database])
    return {
        "answered_at": answered_at,
        "identity": seen.identity.model_dump(mode="json"),
        "counts_found": counts,
        "tally": tallies[rules.database].model_dump(mode="json"),
    }


def first_answer(config: Config, target: str, rules: Target) -> Seen:
    """The cluster as it answers first; asked again until `start_wait` is over.

    Raise ContainerStopped and RestoreError with the end of the container's own log.
    """
    given_up = time.monotonic() + rules.start_wait
    while True:
        try:
            return look_at_cluster(rules, look_at_container(rules))
        except ContainerStopped as error:
            raise ContainerStopped(
                f"The container {rules.container} does not go on running. {_said(rules)}".rstrip()
            ) from error
        except DatabaseUnreachable as error:
            if time.monotonic() > given_up:
                late = f"{target} does not answer {rules.start_wait:g} s after its start: {error}"
                raise RestoreError(f"{late} {_said(rules)}".rstrip()) from error
            time.sleep(ASK_EVERY)


def _said(rules: Target) -> str:
    """With which code the target's container ended, if it did, and the end of its log."""
    with engine(rules.docker) as client:
        found = inspect_container(client, rules.container)
        ended = "" if found["State"]["Running"] else f"It ended with exit code {found['State']['ExitCode']}. "
        return ended + said_last(client, found)


def _check_identity(hands: Hands, seen: Seen) -> None:
    plan, rebuilt = hands.plan, hands.journal.facts.get("rebuilt")
    source = plan.source.system_identifier if plan.source else ""
    cluster = rebuilt["system_identifier"] if rebuilt else source
    if seen.container.volume != plan.pinned:
        raise RestoreError(f"The container {plan.container} mounts {seen.container.volume} instead of {plan.pinned}.")
    if seen.identity.system_identifier != cluster:
        raise RestoreError(
            f"The cluster that answers is {seen.identity.system_identifier}; {cluster} was to be on {plan.pinned}."
        )


def _check_history(hands: Hands, seen: Seen, tally: Tally) -> None:
    """A volume that was only mounted again has proven nothing: it must hold what history expects, and not less.

    Raise RestoreError with the first two findings.
    """
    config, target = hands.config, hands.plan.target
    judged = judge_tally(config, target, tally, datetime.now(UTC)).findings
    found = [*judge_cluster(config, target, seen.identity), *judged]
    critical = [each.message for each in found if each.severity == "critical"]
    if critical:
        raise RestoreError(
            f"The volume {hands.plan.pinned} does not hold what is expected: {' '.join(critical[:2])} Restore a backup "
            "instead: --backup latest."
        )


def _check_rows(expected: Mapping[str, Mapping[str, int]], found: Mapping[str, Mapping[str, int]]) -> None:
    """Nothing that was proven may be missing; clients that are faster than this check may have added rows."""
    lacking = [
        f"{database}: {table} has {found.get(database, {}).get(table, 0):,} rows instead of {rows:,}"
        for database, tables in expected.items()
        for table, rows in tables.items()
        if found.get(database, {}).get(table, -1) < rows
    ]
    if lacking:
        raise RestoreError(f"After the start fewer rows are there than were proven: {'; '.join(lacking[:5])}.")


def commit(hands: Hands) -> None:
    """From here on the restore counts. What is there now becomes what is expected: pin, cluster, rows, schema.

    Done twice it changes nothing more: acceptances and observation carry the run's own id.
    """
    if not hands.journal.committed:
        hands.journal.write("committed", "commit")
    facts, plan, header = hands.journal.facts, hands.plan, hands.journal.header
    identity, tally = Identity.model_validate(facts["identity"]), Tally.model_validate(facts["tally"])
    reason = f"restored from {plan.source.name if plan.source else '?'} by run {header.run}"
    now, own = datetime.now(UTC), hands.config.target(plan.target).database
    with open_history(hands.config.history) as history:
        if any(each.reason == reason for each in history.acceptances(plan.target)):
            return
        # A database that history knows and that is not there stays a finding: nobody has said that it may be gone.
        for name in facts["counts_found"].keys() - {own}:
            counts = facts["counts_found"][name]
            history.accept(other(plan.target, name), counts, None, reason, header.approved_by, now)
        history.record(_observation(plan.target, header.run, now, identity, tally))
        history.accept(plan.target, tally.counts, identity, reason, header.approved_by, now)


def _observation(target: str, run: str, now: datetime, identity: Identity, tally: Tally) -> Observation:
    return Observation(
        id=f"restore/{run}",
        target=target,
        checked_at=now,
        kind="restore",
        verdict="healthy",
        counts=tally.counts,
        schema_objects=tally.schema_objects,
        schema_fingerprint=tally.schema_fingerprint,
        identity=identity,
        accepted=True,
    )
