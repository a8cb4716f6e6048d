"""Prove that what was stored is what was taken, by reading it back, before a manifest says so."""

from __future__ import annotations

from collections.abc import Sequence

import docker

from tasks.backups.take import Part
from tasks.checks.look import Seen
from tasks.config import Config
from tasks.containers.engine import engine
from tasks.containers.programs import beside
from tasks.databases import dump
from tasks.errors import DumpFailed, DumpInterrupted, ObjectDamaged
from tasks.models import SequencePosition, StoredObject
from tasks.storage import open_storage
from tasks.storage.readback import decompressed, read_back


def read_objects(config: Config, storage: str, objects: Sequence[StoredObject]) -> None:
    """Recompute size and SHA-256 of every object in `storage` from what it holds. Raise ObjectDamaged, StorageError."""
    opened = open_storage(storage, config.storages[storage])
    for each in objects:
        if each.storage == storage:
            read_back(opened, each.key, size=each.bytes, sha256=each.sha256)


def read_contents(config: Config, target: str, seen: Seen, part: Part, storages: Sequence[str]) -> Part:
    """Let pg_restore list a stored dump: it must hold every table that was tallied. The part comes back with the
    sequence positions that the dump will set. Raise ObjectDamaged naming the tables that are not in it."""
    if part.tally is None:
        return part
    stored = next(each for each in part.objects if each.storage in storages)
    with engine(config.target(target).docker) as client:
        contents = _ask(client, config, target, seen, stored, dump.LIST_LINE, "")
        lacking = dump.unlisted(contents, part.tally.counts)
        if lacking:
            names = ", ".join(lacking[:5])
            raise ObjectDamaged(
                f"The dump of {part.database} lacks {len(lacking)} tallied tables ({names}); it is not kept."
            )
        positions = _positions(client, config, target, seen, stored, contents)
    # Sequences that the dump leaves out (an extension's own) keep the position that was read beside it.
    sequences = {**part.tally.sequences, **positions}
    return part.model_copy(update={"tally": part.tally.model_copy(update={"sequences": sequences})})


def _positions(
    client: docker.DockerClient, config: Config, target: str, seen: Seen, stored: StoredObject, contents: str
) -> dict[str, SequencePosition]:
    entries = dump.sequence_entries(contents)
    return dump.positions(_ask(client, config, target, seen, stored, dump.POSITIONS_LINE, entries)) if entries else {}


def _ask(
    client: docker.DockerClient,
    config: Config,
    target: str,
    seen: Seen,
    stored: StoredObject,
    line: str,
    argument: str,
) -> str:
    """What pg_restore, of the server's own version, says of a stored archive that is streamed to it."""
    facts = seen.cluster.get("databases", {}).get(stored.database, {})
    codec = dump.codec_of(str(facts.get("encoding", "UTF8")))
    storage = open_storage(stored.storage, config.storages[stored.storage])
    program = dump.program(config.target(target), line, "", fed=True)
    with beside(client, seen.container, program, owner=config.owner(target)) as running:
        running.say(argument)
        running.feed(decompressed(storage, stored.key))
        try:
            return b"".join(running.chunks()).decode(codec, errors="replace")
        except DumpInterrupted:
            raise  # The program was ended, or lost its server: that says nothing about the archive.
        except DumpFailed as error:
            raise ObjectDamaged(
                f"pg_restore cannot read what {stored.storage} holds as {stored.key}: {error}"
            ) from error
