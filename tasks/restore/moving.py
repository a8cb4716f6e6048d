"""Which folder a restore exchanges, what lies beside it, and what it takes over: pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from tasks.containers.other_files import OtherFiles, in_words
from tasks.restore.facts import Situation, Source, World


def below(world: World) -> str:
    """PGDATA below the root of its volume; empty where it is the root, or on no volume."""
    path = posixpath.relpath(world.pgdata, world.destination) if world.destination else "."
    return "" if path == "." or path.startswith("..") else path


def exchanged(world: World, source: Source | None) -> str:
    """The folder that is exchanged, below the root of its volume: PGDATA. Empty for all that is in the volume: where
    PGDATA is its root, nothing is in it yet, or the cluster has parts beside PGDATA, which go with it."""
    linked = world.pinned in world.linked or (source is not None and source.linked)
    empty = world.pinned in world.bare or not world.pinned_exists
    return "" if linked or empty else below(world)


def taken_over_from(world: World) -> str | None:
    """The volume whose PGDATA has the keys and files that the server may need and no backup holds: the pinned one, or
    where no cluster is in that, the one that is mounted. None where it has none."""
    volume = world.pinned if world.pinned_cluster else world.mounted
    return volume if volume and _inside(world, volume) else None


def size_taken_over(world: World) -> int:
    """Bytes of what is taken over, as far as its size is known."""
    volume = taken_over_from(world)
    return sum(each.bytes or 0 for each in _inside(world, volume)) if volume else 0


def missing(world: World, source: Source) -> Iterator[str]:
    """What the backup's configuration reads in PGDATA and is not there to be taken over. The container's command may
    say otherwise, so this is no reason not to begin: the rebuilt configuration is tried before anything is stopped."""
    volume = world.pinned if world.pinned_cluster else world.mounted
    inside = _inside(world, volume or "")
    found = {each.path.removeprefix(f"{below(world)}/").partition("/")[0] for each in inside}
    lacking = [each for each in source.needs if each.partition("/")[0] not in found]
    if lacking and not any(each.more for each in inside):
        yield (
            f"The configuration of {source.name} reads {', '.join(lacking)} in PGDATA, which no backup holds and the "
            f"volume {volume} does not hold either: put it there, or the restore ends before the "
            "database is stopped."
        )


def _inside(world: World, volume: str) -> list[OtherFiles]:
    before = f"{folder}/" if (folder := below(world)) else ""
    return [each for each in world.others.get(volume, []) if each.path.startswith(before)]


def _beside(world: World, volume: str) -> list[OtherFiles]:
    inside = _inside(world, volume)
    return [each for each in world.others.get(volume, []) if each not in inside]


def notes_of_other_files(world: World, source: Source | None, situation: Situation) -> Iterator[str]:
    """What becomes of files that are no part of a cluster, a sentence each."""
    rebuilds = situation in ("restore", "both")
    if rebuilds and (beside := _beside(world, world.pinned)):
        if exchanged(world, source):
            yield f"The volume {world.pinned} also holds {in_words(beside)}: that stays where it is."
        else:
            yield (
                f"The volume {world.pinned} also holds {in_words(beside)}, and its cluster has parts beside PGDATA: "
                "all of it goes together into the kept volume; copy back from there what is to stay."
            )
    if rebuilds and (taken := taken_over_from(world)):
        yield (
            f"PGDATA of {taken} also holds {in_words(_inside(world, taken))}, which no backup of a database holds: it "
            "is taken over as it is there now, and once more, but only what changed, while the server is stopped."
        )
    if rebuilds and source is not None:
        yield from missing(world, source)
    if situation in ("reattach", "both") and world.mounted and (found := world.others.get(world.mounted)):
        yield (
            f"The volume {world.mounted} also holds {in_words(found)}: that stays there, and is not in {world.pinned}."
        )
    if source is not None and source.kind == "volume" and source.others and exchanged(world, source):
        yield f"The volume {source.name} also holds {in_words(source.others)}: what is not in PGDATA is not copied."
