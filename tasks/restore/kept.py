"""Kept volumes: what restores put aside, listed with its story, and removed only when nothing can be lost by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import docker

from tasks.backups.omitted import lacks_rows
from tasks.checks.lock import only_run, sharing
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.containers.clusters import ClusterVolume, Looked, look_into
from tasks.containers.contents import is_empty
from tasks.containers.engine import engine
from tasks.containers.images import LocalImages
from tasks.containers.other_files import OtherFiles
from tasks.containers.volumes import (
    KEEP_UNTIL_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    Volume,
    list_volumes,
    remove_ours,
)
from tasks.errors import EngineError, Refused
from tasks.models import Model
from tasks.restore.counting import is_copy
from tasks.restore.fetch import none_is_whole
from tasks.restore.journal import active_path, beside, interrupted
from tasks.restore.only_copy import Facts, Stored, holders, not_read_back, only_copy, unheld
from tasks.restore.records import records_of_all
from tasks.restore.steps import BACKUP_LABEL
from tasks.storage.catalogue import Catalogue, Entry


class Kept(Model):
    """A volume that a restore of a target made and that was not removed since.

    created_at: when its run began; keep_until: None where its label does not say. bytes, system_identifier: None where
    they could not be read; of several clusters in one volume, of the first. in_use_by: containers, stopped ones too.
    ours: made with the present state folder, wherever that was then. others: files in it that no backup holds.
    """

    name: str
    run: str
    story: str
    created_at: datetime | None
    keep_until: datetime | None
    bytes: int | None = None
    system_identifier: str | None = None
    in_use_by: list[str] = []
    ours: bool = True
    others: list[OtherFiles] = []


def kept_volumes(config: Config, target: str) -> list[Kept]:
    """The target's kept volumes, the oldest first. Raise ConfigError, EngineUnreachable, EngineError."""
    config.target(target)
    with engine(config.target(target).docker) as client:
        volumes = _kept(config, target, list_volumes(client))
        looked = _look(client, config, target, [each.name for each in volumes])
    first = {each.volume.name: each for each in reversed(looked.clusters)}
    kept = [describe(each, first.get(each.name), config.owner(target)) for each in volumes]
    kept = [with_its_record(each, config.state, target) for each in kept]
    records = records_of_all(config.state, sharing(config, target))
    kept = [
        each.model_copy(update={"others": unheld(looked.others.get(each.name, []), each.run, records)}) for each in kept
    ]
    return sorted(kept, key=lambda each: (each.created_at or datetime.min.replace(tzinfo=UTC), each.name))


def describe(volume: Volume, cluster: ClusterVolume | None, owner: str) -> Kept:
    """A kept volume from its labels and what lies in it: pure."""
    run = volume.labels[RUN_LABEL]
    return Kept(
        name=volume.name,
        run=run,
        story=volume.labels.get(STORY_LABEL, ""),
        created_at=_begun(run),
        keep_until=_moment(volume.labels.get(KEEP_UNTIL_LABEL, "")),
        bytes=cluster.bytes if cluster else None,
        system_identifier=cluster.control.system_identifier if cluster else None,
        in_use_by=[each.container for each in volume.users],
        ours=volume.labels.get(OWNER_LABEL) == owner,
    )


def with_its_record(kept: Kept, state: Path, target: str) -> Kept:
    """Ours, too, where the state folder has the record of the restore that made it: the label of the owner is of the
    folder's path, and it may have been moved since."""
    records = active_path(state, target).with_suffix("").glob("*.journal")
    return kept.model_copy(update={"ours": kept.ours or kept.run in {each.stem for each in records}})


def remove_kept(config: Config, target: str, name: str, now: datetime, *, even_if_only_copy: bool = False) -> None:
    """Remove a kept volume for good. Raise Refused, with the reason and what to do, where that could lose anything.

    The backups that hold its rows are read from their storages first, to the last byte.
    even_if_only_copy: a person has named this volume as one whose rows may be lost. Raise also Busy, StorageError,
    EngineError.
    """
    with only_run(config.state, target), engine(config.target(target).docker) as client:
        found = {each.name: each for each in _kept(config, target, list_volumes(client))}
        if name not in found:
            raise Refused(f"{target} has no kept volume {name!r}. See: rollcall kept {target}")
        kept = with_its_record(describe(found[name], None, config.owner(target)), config.state, target)
        reason = not_yet(kept, target, now, at_work=active_path(config.state, target).exists())
        reason = reason or beside(config.state, target, sharing(config, target))
        if reason is None and not even_if_only_copy:
            reason = _would_be_lost(client, config, target, found[name])
        if reason is not None:
            raise Refused(reason)
        remove_ours(client, name)


def not_yet(kept: Kept, target: str, now: datetime, *, at_work: bool) -> str | None:
    """Why the volume may not be removed now, whatever it holds, in one sentence: pure. None if it may."""
    if not kept.ours:
        return (
            f"The volume {kept.name} was made by a Rollcall with another state folder, whose journal may need it; "
            "remove it from there."
        )
    if at_work:
        return interrupted(target)
    if kept.in_use_by:
        users = ", ".join(kept.in_use_by)
        return f"The volume {kept.name} is mounted by {users}, running or not; remove that container first."
    if kept.keep_until is None:
        return f"The volume {kept.name} does not say until when it is kept; if it is of no use, remove it with docker."
    if now < kept.keep_until:
        return f"The volume {kept.name} is kept until {kept.keep_until:%Y-%m-%d %H:%M} UTC; ask again then."
    return None


def _kept(config: Config, target: str, volumes: Sequence[Volume]) -> list[Volume]:
    """Those that restores of the target made. A pinned volume is none, even where a restore had to make it anew."""
    pinned = {each.volume for each in config.targets.values()}
    return [
        each
        for each in volumes
        if RUN_LABEL in each.labels
        and each.labels.get(TARGET_LABEL) == target
        and each.name not in pinned
        and not is_copy(each)
    ]


def _look(client: docker.DockerClient, config: Config, target: str, names: Sequence[str]) -> Looked:
    """The clusters in these volumes; all volumes are unclear where no image is here to look with."""
    if not names:
        return Looked([], set(), {}, set())
    try:
        image = LocalImages(client, config.target(target).container).to_look_with()
        return look_into(client, image, names, config.owner(target))
    except EngineError:
        return Looked([], set(names), {}, set())


def _would_be_lost(client: docker.DockerClient, config: Config, target: str, volume: Volume) -> str | None:
    """What would be lost with the volume, in a sentence or two; None if all its rows are in backups that are whole."""
    found = shelves(config, target)
    facts = _facts(client, config, target, volume, found)
    if (reason := only_copy(facts)) is not None:
        return reason
    entries = {each.manifest.id: each for each in found.backups}
    for cluster in facts.clusters or []:
        reason = none_is_whole(config, [entries[each] for each in holders(cluster, facts)])
        if reason is not None:
            return not_read_back(facts, cluster, reason)
    return None


def _facts(client: docker.DockerClient, config: Config, target: str, volume: Volume, found: Catalogue) -> Facts:
    looked = _look(client, config, target, [volume.name])
    clusters = None if looked.unclear else looked.clusters
    return Facts(
        name=volume.name,
        target=target,
        run=volume.labels[RUN_LABEL],
        backup=volume.labels.get(BACKUP_LABEL, ""),
        clusters=None if clusters is None else [each.control for each in clusters],
        others=looked.others.get(volume.name, []),
        empty=clusters == [] and _is_empty(client, config, target, volume.name),
        stored=_stored(found),
        unreachable=list(found.unreachable),
        records=records_of_all(config.state, sharing(config, target)),
    )


def _is_empty(client: docker.DockerClient, config: Config, target: str, name: str) -> bool:
    image = LocalImages(client, config.target(target).container).to_look_with()
    return is_empty(client, name, image, config.owner(target))


def _stored(found: Catalogue) -> list[Stored]:
    return [_of(entry) for entry in found.backups]


def _of(entry: Entry) -> Stored:
    manifest, identity = entry.manifest, entry.manifest.identity
    return Stored(
        id=manifest.id,
        created_at=manifest.created_at,
        quarantined=manifest.quarantined,
        narrowed=lacks_rows(manifest),
        system_identifier=identity.system_identifier,
        timeline=identity.timeline,
        checkpoint_lsn=identity.checkpoint_lsn,
    )


def _begun(run: str) -> datetime | None:
    """When a run began, as its id tells: the engine's own time of a volume is that of the folder in it, which moves."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
