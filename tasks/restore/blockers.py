"""Every reason not to begin a restore: pure."""

from __future__ import annotations

from tasks.restore.facts import Request, Situation, Source, World
from tasks.restore.moving import size_taken_over

# A dump's size is that of its rows as text; on disk they come with indexes, and the unpacked archive lies beside them.
ROOM_FOR_A_DUMP = 3


def blockers(world: World, source: Source | None, request: Request, situation: Situation) -> list[str]:
    """Every reason not to begin, one sentence each, with what to do about it."""
    if situation == "nothing":
        return []
    found = [*world.obstacles, *_safety(world, request)]
    if source is None or source.kind == "pinned":
        return found
    found += [world.no_scratch] if world.no_scratch else []
    if source.cannot_be_rebuilt:
        return [*found, *source.cannot_be_rebuilt]
    found += _made_anew(world, situation)
    found += _left_behind(world, source, request)
    return found + _room(world, source) + _version(world, source)


def _safety(world: World, request: Request) -> list[str]:
    if world.answers and request.without_safety_backup:
        return ["The server answers, so the backup of what is there now cannot be left out; ask again without that."]
    if not world.answers and not request.without_safety_backup:
        return [
            f"What is there now cannot be backed up first: {world.why_silent} Mend that, or, if the data is beyond it, "
            "say --without-safety-backup: the volume itself is kept as it is."
        ]
    return []


def _left_behind(world: World, source: Source, request: Request) -> list[str]:
    """What lives in the cluster now and would not come back."""
    if not is_right(world):
        return []
    lacking: list[str] = []
    for kind, there, brought in (
        ("database", world.databases, source.databases),
        ("role", world.roles, source.roles),
    ):
        for name in there or [] if brought is not None else []:
            if name not in (brought or []) and name not in request.leave_behind:
                lacking.append(
                    f"The {kind} {name} is there now and {source.name} does not hold it; choose another backup, or say "
                    f"--leave-behind {name}: it stays in the kept volume."
                )
    return lacking


def _made_anew(world: World, situation: Situation) -> list[str]:
    """A pinned volume that is gone and was no plain one. Made with its options it may show what the old one held, which
    is not to be overwritten; nor does a plain one take its place unasked."""
    if situation != "both" or world.pinned_exists or world.mending is None or not world.mending.special:
        return []
    options = " and ".join(world.mending.special)
    return [
        f"The volume {world.pinned} does not exist, and {world.mending.path} gives it {options}: made anew here it "
        "would be a plain one on the engine's own disk. If that is right, make it (docker volume create "
        f"{world.pinned}) and ask again; else see whether the old data is still where they lead, and restore by "
        "hand into a volume of another name (docs/restore-by-hand.md)."
    ]


def is_right(world: World) -> bool:
    """Whether the pinned volume is mounted. A wrong cluster's own things need not come back."""
    return world.mounted == world.pinned


def _room(world: World, source: Source) -> list[str]:
    needed = source.bytes * (ROOM_FOR_A_DUMP if source.kind == "backup" else 1) + size_taken_over(world)
    if world.free_bytes is None or needed <= world.free_bytes:
        return []
    return [
        f"The engine's disk has {world.free_bytes / 1e9:,.1f} GB free and about {needed / 1e9:,.1f} GB are needed to "
        "rebuild the data beside what is there; make room."
    ]


def _version(world: World, source: Source) -> list[str]:
    major = source.server_version.partition(".")[0]
    if not major or not world.major or major == world.major:
        return []
    return [
        f"{source.name} is of PostgreSQL {major}, and the container's image runs {world.major}; restore it into a "
        f"container with an image of PostgreSQL {major}."
    ]
