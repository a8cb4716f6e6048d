"""A drill: rebuild a backup where nobody reaches it, prove it, note that it is proven, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from tasks.alerts import progress
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.containers import at_rest
from tasks.containers.engine import engine, inspect_container
from tasks.containers.images import LocalImages, PostgresImage, read_image
from tasks.containers.observe import Container, read
from tasks.containers.programs import sweep_helpers
from tasks.containers.scratch import why_not_here
from tasks.containers.scratch_place import Place
from tasks.containers.volumes import (
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    create_volume,
    list_volumes,
    remove_ours,
)
from tasks.databases.load import major_of
from tasks.errors import ContainerMissing, DoesNotRestore, EngineError, NotEqual, ObjectDamaged
from tasks.history.backups import remember_proof
from tasks.history.records import Run
from tasks.history.store import open_history
from tasks.models import Difference, Manifest, Model
from tasks.restore.accepting import named, options, unaccepted
from tasks.restore.compare import in_words, not_equal
from tasks.restore.proven import note_proof, whole_copies
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup
from tasks.restore.source import backup_called, manifest_of
from tasks.storage.catalogue import Catalogue, Proof

log = logging.getLogger("rollcall")

STORY = "Made by a drill of {target}, which removes it; a drill that was killed leaves it to the next one."


class DrillResult(Model):
    """Whether a backup came back exactly as it was taken, or but for differences that a person accepted by name.

    rows_proven: whether all that is data came back; reason: why it is not proven, in a sentence; differences:
    everything in which it is not what its manifest says, in words; named: the same, as data; unaccepted: those of them
    that nobody has accepted.
    rto_seconds: until the rebuilt cluster was proven and on the disk, or until that failed. rows: by database. notes:
    what a person should know of it. storages: those that hold the proof.
    """

    target: str
    backup: str
    proven: bool
    proven_at: datetime | None = None
    reason: str | None = None
    rows_proven: bool = False
    differences: list[str] = []
    named: list[Difference] = []
    unaccepted: list[Difference] = []
    rto_seconds: float
    timings: dict[str, float] = {}
    rows: dict[str, int] = {}
    tables: int = 0
    notes: list[str] = []
    storages: list[str] = []


def owner_of(config: Config, target: str) -> str:
    """What a drill's containers are labelled with: not the target's own label, by which backups and restores sweep."""
    return f"{config.owner(target)}-drill"


def sweep_drill(config: Config, target: str) -> None:
    """Remove what a killed drill left; the caller holds the drill's lock."""
    owner = owner_of(config, target)
    with engine(config.target(target).docker) as client:
        sweep_helpers(client, owner)
        for each in list_volumes(client):
            if each.labels.get(OWNER_LABEL) == owner:
                log.warning("The volume %s that an earlier drill left is removed.", each.name)
                at_rest.remove_volume_for_good(client, each.name, owner)


def drill_backup(config: Config, target: str, wanted: str, accept: Sequence[str] = ()) -> DrillResult:
    """Prove one backup: `latest`, the newest good one, or an id. A backup that does not come back is a result, too.
    accept: differences of definitions that are accepted, by name; the target's earlier proofs name others.

    Raise Refused where there is none of that name. What says nothing about the backup (a full disk, an engine or a
    storage that does not answer) is raised as it is: EngineError, RestoreFailed, StorageUnreachable.
    """
    source = backup_called(config, target, wanted)
    manifest = manifest_of(config, target, source)
    image_id, place = _like_the_container(config, target, manifest)
    started = time.monotonic()
    try:
        with progress.shown("drill", target), _volume(config, target) as volume:
            built = rebuild_from_backup(
                config, target, manifest, source.storages,
                volume=volume, image_id=image_id, place=place, owner=owner_of(config, target),
            )  # fmt: skip
            seconds = round(time.monotonic() - started, 3)
            if any(each.blocking for each in built.differences):
                raise not_equal(built.differences, f"backup {manifest.id}")
    except (NotEqual, ObjectDamaged, DoesNotRestore) as error:
        return DrillResult(
            target=target,
            backup=manifest.id,
            proven=False,
            reason=str(error),
            differences=error.differences if isinstance(error, NotEqual) else [],
            rto_seconds=round(time.monotonic() - started, 3),
        )
    return _proven(config, target, manifest, source.storages, built, accept, seconds)


def _proven(
    config: Config, target: str, manifest: Manifest, storages: list[str], built: Rebuilt, accept: Sequence[str],
    seconds: float,
) -> DrillResult:  # fmt: skip
    now, found = datetime.now(UTC), built.differences
    known = accepted_before(shelves(config, target)) if found else []
    left = unaccepted(found, accept, known)
    # What came back proves the copy that it came from. The others are as good only if they are the same, byte for byte.
    whole, damaged = whole_copies(config, manifest, [each for each in storages if each not in built.storages])
    for name, reason in damaged.items():
        log.warning("%s: the copy of %s in %s is damaged: %s", target, manifest.id, name, reason)
    return DrillResult(
        target=target,
        backup=manifest.id,
        proven=not left,
        proven_at=None if left else now,
        reason=_rows_only(target, manifest.id, left) if left else None,
        rows_proven=True,
        differences=[in_words(each) for each in found],
        named=found,
        unaccepted=left,
        rto_seconds=seconds,
        timings=built.timings,
        rows={name: sum(tally.counts.values()) for name, tally in built.tallies.items()},
        tables=sum(len(tally.counts) for tally in built.tallies.values()),
        notes=[*built.notes, *(f"The copy in {name} is damaged: {reason}" for name, reason in damaged.items())],
        storages=note_proof(
            config, target, manifest.id, [*built.storages, *whole],
            Proof(proven_at=now, differences=found, accepted=not left),
        ),
    )  # fmt: skip


def _rows_only(target: str, backup: str, left: list[Difference]) -> str:
    return (
        f"The rows of {backup} are proven, and {named(left)}. A restore of it asks about that. If it is well so: "
        f"rollcall drill {target} --backup {backup} {options(left)}"
    )


def accepted_before(found: Catalogue) -> list[Difference]:
    """The differences that a person has accepted in drills or restores of the target's backups (pure)."""
    return [each for entry in found.backups for each in entry.accepted]


def remember_drill(config: Config, result: DrillResult, started_at: datetime) -> None:
    """Keep in the history what was proven and how long it took. Raise HistoryError."""
    outcome = "proven" if result.proven else "rows proven" if result.rows_proven else "not proven"
    message = f"{result.backup} in {result.rto_seconds:.1f} s"
    run = Run(
        target=result.target,
        kind="drill",
        started_at=started_at,
        ended_at=datetime.now(UTC),
        outcome=outcome,
        message=message if result.proven else f"{message}: {result.reason}",
    )
    with open_history(config.history) as history:
        history.record_run(run)
        if result.proven_at is not None:
            remember_proof(history, result.target, result.backup, result.proven_at)


@contextlib.contextmanager
def _volume(config: Config, target: str) -> Iterator[str]:
    """A volume of the drill's own, removed after the block whatever happens."""
    run = secrets.token_hex(4)
    name = f"rollcall-drill-{target}-{run}"
    labels = {
        RUN_LABEL: run, TARGET_LABEL: f"{target}/drill", OWNER_LABEL: owner_of(config, target),
        STORY_LABEL: STORY.format(target=target),
    }  # fmt: skip
    with engine(config.target(target).docker) as client:
        create_volume(client, name, labels)
    try:
        yield name
    finally:
        with engine(config.target(target).docker) as client:
            remove_ours(client, name)


def _like_the_container(config: Config, target: str, manifest: Manifest) -> tuple[str, Place]:
    """The image and the place of PGDATA as in the target's container; where there is none, or it runs another major
    version than the backup is of, those of an image of that version. Raise EngineError where there is none."""
    rules, major = config.target(target), major_of(manifest.server_version)
    with engine(rules.docker) as client:
        if reason := why_not_here(client):
            raise EngineError(reason)
        images = LocalImages(client, rules.container)
        try:
            container: Container | None = read(inspect_container(client, rules.container))
        except ContainerMissing:
            container = None
        own = read_image(client.api.inspect_image(container.image_id)) if container else None  # type: ignore[no-untyped-call]
        if container and (own is None or own.major in ("", str(major))):
            return container.image_id, _place_in(container, manifest)
        image = images.of_major(str(major))
    if image is None:
        raise EngineError(f"No image of PostgreSQL {major} is on this Docker engine: pull one, then drill again.")
    return image.id, _place_of(image)


def _place_in(container: Container, manifest: Manifest) -> Place:
    """Where the server itself said that its data is counts more than what the image's environment promises."""
    mount = container.data_mount
    destination, told = mount.destination if mount else container.pgdata, manifest.identity.pgdata
    below = bool(told) and PurePosixPath(told).is_relative_to(destination)
    return Place(destination=destination, pgdata=told if below else container.pgdata)


def _place_of(image: PostgresImage) -> Place:
    inside = [each for each in image.volumes if PurePosixPath(image.pgdata).is_relative_to(each)]
    return Place(destination=max(inside, key=len, default=image.pgdata), pgdata=image.pgdata)
