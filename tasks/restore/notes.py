"""What a person should know before saying yes to a restore, though it is no reason not to begin: pure."""

from __future__ import annotations

from datetime import timedelta

from tasks.models import Difference
from tasks.restore.accepting import unaccepted
from tasks.restore.compare import in_words
from tasks.restore.facts import Passed, Situation, Source, World
from tasks.restore.moving import notes_of_other_files


def notes(world: World, source: Source | None, situation: Situation) -> list[str]:
    """A sentence each."""
    rebuilds = situation in ("restore", "both")
    return [
        *world.notes,
        *(_of_standby(world) if rebuilds else []),
        *_of_dependants(world),
        *_of_source(source),
        *_of_closed(world, source, situation),
        *notes_of_other_files(world, source, situation),
    ]


def _of_standby(world: World) -> list[str]:
    if not world.standby:
        return []
    return [
        f"{world.container} is a standby now. What is restored is a primary of its own: it follows no other server "
        "and takes writes. To have a standby again, make it anew from its primary (pg_basebackup)."
    ]


def _of_dependants(world: World) -> list[str]:
    found = [
        f"The dependant {each.name} does not exist on this engine." for each in world.dependants if not each.exists
    ]
    idle = [each.name for each in world.dependants if each.exists and not each.running]
    return found + [f"The dependant {name} does not run now, and is not started." for name in idle]


def _of_source(source: Source | None) -> list[str]:
    if source is None or source.kind != "backup":
        return []
    found = []
    if source.quarantined:
        found.append(f"Backup {source.name} is QUARANTINED: it was taken while the verdict was critical.")
    elif source.rows_proven_at is not None and source.proven_at is None:
        found.append(f"A drill has proven the rows of backup {source.name}; its definitions differ as follows.")
    elif source.proven_at is None:
        found.append(f"No drill has proven backup {source.name}; it is proven now, before anything is stopped.")
    if source.passed is not None:
        found.append(_of_passed(source, source.passed))
    found += [f"Comes back in another way: {in_words(each)}. {_accepted(source, each)}" for each in source.differences]
    return found + [f"Not in backup {source.name}: {each}." for each in source.omitted]


def _accepted(source: Source, difference: Difference) -> str:
    if unaccepted([difference], [], source.accepted):
        return "To approve this plan accepts it; --yes does not."
    return "It was accepted by a drill."


def _of_passed(source: Source, passed: Passed) -> str:
    """What is written since the chosen backup does not come back with it."""
    several = f"{passed.number} good backups are newer" if passed.number > 1 else "1 good backup is newer"
    newer = f", {_age(passed.created_at - source.created_at)} later" if source.created_at else ""
    return (
        f"{several} than {source.name}, which was chosen because a drill has proven it. The newest is {passed.newest} "
        f"of {passed.created_at:%Y-%m-%d %H:%M} UTC{newer}: --backup latest takes that, and proves it first, too."
    )


def _age(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:,.1f} days" if hours >= 48 else f"{hours:,.1f} hours"


def _of_closed(world: World, source: Source | None, situation: Situation) -> list[str]:
    """A copy of a volume brings them if it has them; only nobody can ask."""
    if situation != "restore" or source is None or source.kind != "volume":
        return []
    return [
        f"Nobody can see whether {source.name} holds the database {name}, for it allows no connections; what is there "
        "now stays in the kept volume."
        for name in world.closed
    ]
