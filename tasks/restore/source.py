"""Choose where a restore takes the data from."""

from __future__ import annotations

import logging

from tasks.backups.omitted import omitted
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.containers.clusters import look_into
from tasks.containers.engine import engine
from tasks.containers.volumes import find_volume
from tasks.databases.load import cannot_be_rebuilt, configuration_in_pgdata, needed_in_pgdata, settings_in
from tasks.databases.roles import roles_in
from tasks.errors import Refused, StorageError
from tasks.models import Manifest
from tasks.restore.facts import Passed, Request, Source, World
from tasks.storage import open_storage
from tasks.storage.catalogue import Catalogue, Entry, read_manifest
from tasks.storage.contract import get_bytes
from tasks.storage.readback import read_back

log = logging.getLogger("rollcall")


def choose_source(config: Config, world: World, request: Request, expected: dict[str, int]) -> Source | None:
    """The source that was asked for; else the pinned volume where it lies idle with the right cluster; else the newest
    proven backup, or the newest good one. None where all is well and nothing was asked for.

    `expected`: rows by table as last accepted, shown for a volume that nothing has counted. Raise Refused: no such
    backup or volume, or none to choose from.
    """
    if request.backup and request.from_volume:
        raise Refused("--backup and --from-volume exclude each other: name one source.")
    if request.from_volume:
        return _volume(config, world, request.from_volume)
    if request.backup:
        return _backup(config, world, request.backup)
    if world.mounted != world.pinned and _pinned_is_right(world):
        cluster = world.pinned_cluster or ""
        return Source(kind="pinned", name=world.pinned, system_identifier=cluster, counts=expected)
    if world.mounted == world.pinned and world.answers and not world.unwell:
        return None
    return _backup(config, world, None)


def _pinned_is_right(world: World) -> bool:
    """Whether the pinned volume, not mounted now, holds the cluster that history knows, or any if it knows none."""
    return world.pinned_cluster is not None and world.known_cluster in (None, world.pinned_cluster)


def _volume(config: Config, world: World, name: str) -> Source:
    if name == world.pinned:
        raise Refused(f"{name} is the pinned volume itself; leave out --from-volume to have it mounted again.")
    with engine(config.target(world.target).docker) as client:
        if find_volume(client, name) is None:
            raise Refused(f"There is no volume {name} on this engine. See: rollcall census {world.target}")
        looked = look_into(client, world.image_id, [name], config.owner(world.target))
    found = looked.clusters
    if not found:
        raise Refused(f"The volume {name} holds no PostgreSQL cluster. See: rollcall census {world.target}")
    cluster = found[0]
    users = [each.container for each in cluster.volume.users if each.running and not each.read_only]
    if users:
        raise Refused(f"The volume {name} is in use by {', '.join(users)}; stop that first, then ask again.")
    return Source(
        kind="volume",
        name=name,
        system_identifier=cluster.control.system_identifier,
        server_version=cluster.major,
        bytes=cluster.bytes or 0,
        linked=name in looked.linked,
        others=looked.others.get(name, []),
    )


def _backup(config: Config, world: World, wanted: str | None) -> Source:
    """The backup called `wanted`, as for `backup_called`, and what says against loading it into the target's volume."""
    found = shelves(config, world.target)
    entry = entry_called(found, world.target, wanted)
    reasons = cannot_be_rebuilt(entry.manifest, world.destination)
    passed = passed_over(found, entry) if wanted is None else None
    more = {"cannot_be_rebuilt": reasons, "passed": passed, "needs": _needs(config, entry)}
    return source_of(config, entry).model_copy(update=more)


def _needs(config: Config, entry: Entry) -> list[str]:
    """What the configuration that comes back to PGDATA reads there besides; nothing where it cannot be read now."""
    manifest = entry.manifest
    names = configuration_in_pgdata(manifest, ["postgresql.conf", "postgresql.auto.conf"])
    texts = [text for name in names if (text := _content(config, entry, f"config/{name}")) is not None]
    return needed_in_pgdata(settings_in(texts), manifest.identity.pgdata) if manifest.identity.pgdata else []


def _content(config: Config, entry: Entry, name: str) -> str | None:
    """An object of the backup, from the first storage that gives it."""
    for each in entry.manifest.objects:
        if each.role == "config" and each.storage in entry.storages and each.key.endswith(f"/{name}"):
            try:
                storage = open_storage(each.storage, config.storages[each.storage])
                return get_bytes(storage, each.key).decode(errors="replace")
            except StorageError as error:
                log.warning("%s", error)
    return None


def passed_over(found: Catalogue, chosen: Entry) -> Passed | None:
    """The good backups that are newer than the chosen one; None where there are none (pure)."""
    good = _good(found)
    newer = good[: good.index(chosen)] if chosen in good else []
    if not newer:
        return None
    newest = newer[0].manifest
    return Passed(number=len(newer), newest=newest.id, created_at=newest.created_at)


def _good(found: Catalogue) -> list[Entry]:
    """Those that may be restored without being named, the newest first."""
    return [each for each in found.backups if each.is_default]


def backup_called(config: Config, target: str, wanted: str | None) -> Source:
    """The backup called `wanted`; `latest`: the newest good one; None: the newest proven one, else the newest good.

    Raise Refused where there is none.
    """
    found = shelves(config, target)
    return source_of(config, entry_called(found, target, wanted))


def entry_called(found: Catalogue, target: str, wanted: str | None) -> Entry:
    """The backup called `wanted`, as for `backup_called`. Raise Refused."""
    good = _good(found)
    if wanted not in (None, "latest"):
        for each in found.backups:
            if each.manifest.id == wanted:
                return each
        damaged = next((each.reason for each in found.damaged if each.id == wanted), None)
        raise Refused(damaged or f"There is no backup {wanted} of {target}. See: rollcall backups {target}")
    proven = [each for each in good if each.proven_at is not None] if wanted is None else []
    if proven or good:
        return (proven or good)[0]
    unread = "".join(f" {name}: {why}" for name, why in found.unreachable.items())
    raise Refused(f"{target} has no good backup to restore.{unread} A quarantined one must be named: --backup ID.")


def source_of(config: Config, entry: Entry) -> Source:
    """A stored backup as a source, with the databases and roles it brings."""
    manifest = entry.manifest
    dumps = {each.key: each.raw_bytes for each in manifest.objects if each.role == "dump"}
    return Source(
        kind="backup",
        name=manifest.id,
        system_identifier=manifest.identity.system_identifier,
        storages=entry.storages,
        created_at=manifest.created_at,
        quarantined=manifest.quarantined,
        proven_at=entry.proven_at,
        rows_proven_at=entry.rows_proven_at,
        counts=manifest.tally.counts,
        databases=sorted({each.database for each in manifest.objects if each.role == "dump" and each.database}),
        roles=_roles(config, manifest, entry.storages),
        server_version=manifest.server_version,
        omitted=omitted(manifest),
        bytes=sum(dumps.values()),
        linked=any((manifest.cluster.get("tablespaces") or {}).values()),
        differences=entry.differences,
        accepted=entry.accepted,
    )


def _roles(config: Config, manifest: Manifest, storages: list[str]) -> list[str] | None:
    """The roles that the backup brings; only the superuser of initdb where it holds no globals; None if unreadable."""
    own = [each for each in manifest.objects if each.role == "globals" and each.storage in storages]
    if not own:
        return [str(manifest.cluster.get("bootstrap_user", ""))]
    for each in own:
        try:
            storage = open_storage(each.storage, config.storages[each.storage])
            read_back(storage, each.key, size=each.bytes, sha256=each.sha256)
            return roles_in(get_bytes(storage, each.key).decode("utf-8", errors="replace"))
        except StorageError as error:
            log.warning("%s", error)
    return None


def manifest_of(config: Config, target: str, source: Source) -> Manifest:
    """The manifest of a chosen backup, from the first storage that gives it. Raise StorageError of the last one."""
    met: StorageError | None = None
    for name in source.storages:
        try:
            return read_manifest(open_storage(name, config.storages[name]), target, source.name)
        except StorageError as error:
            met = error
    raise met or StorageError(f"No storage holds backup {source.name} of {target}.")
