"""Rebuild a cluster in a volume of its own, from a backup or as a copy of another volume, and prove it there."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.alerts.progress import meter
from tasks.config import Config
from tasks.containers.copying import copy_volume
from tasks.containers.engine import engine
from tasks.containers.leashed import ProgramFailed
from tasks.containers.scratch import Place, Scratch, scratch_server
from tasks.containers.scratch_settings import PORT
from tasks.databases import load
from tasks.databases.connect import Login, connect
from tasks.databases.identity import databases
from tasks.databases.tally import frozen
from tasks.errors import DoesNotRestore, LoginRefused, RestoreFailed
from tasks.models import Difference, Manifest, Model, Tally
from tasks.restore.compare import refreshed, require_compared
from tasks.restore.definitions import prove
from tasks.restore.fetch import Fetched, bytes_in, bytes_of, fetch, gave_all, of_role, unpack

log = logging.getLogger("rollcall")

ENGINE_SECONDS = 900.0  # for one call: a container is only gone once all that it wrote is
MOST_JOBS = 4
# What part of the way each stage is, roughly, so that the bar people see moves evenly enough.
FETCH, LOAD, PROVE, ANALYZE, SYNC = 0.1, 0.65, 0.1, 0.05, 0.1
UNPACK = 0.1  # of a database's own part
# A cluster that is loaded from scratch needs no WAL that anybody replays.
FRESH = {"wal_level": "minimal"}


class Rebuilt(Model):
    """A cluster that stands in `volume`, shut down cleanly and on the disk.

    source: a backup's id or a volume's name; tallies: by database; timings: seconds by step; notes: what a person
    should know of it, a sentence each; storages: the one that gave every object of the backup, if one did; differences:
    everything in which it is not what the manifest says.
    """

    volume: str
    system_identifier: str
    tallies: dict[str, Tally]
    timings: dict[str, float]
    source: str
    notes: list[str] = []
    storages: list[str] = []
    differences: list[Difference] = []


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.laps[step], self._since = round(now - self._since, 3), now


class _Load:
    """A backup on its way into a scratch server."""

    def __init__(self, config: Config, target: str, manifest: Manifest, fetched: Sequence[Fetched]) -> None:
        self.target, self.manifest, self.fetched = target, manifest, fetched
        self.deadline = config.target(target).deadline
        self.user = str(manifest.cluster["bootstrap_user"])
        self.major = load.major_of(manifest.server_version)
        self.tallies = {manifest.database: manifest.tally, **manifest.databases}
        self.not_made: list[Difference] = []  # what PostgreSQL refused to make again, each with its reason
        self.files = {each.name: each.file.read_bytes() for each in of_role(fetched, "config")}
        # postgresql.auto.conf comes after postgresql.conf, and wins (PostgreSQL documentation, Setting Parameters).
        texts = [self.files[name].decode(errors="replace") for name in ("postgresql.conf", "postgresql.auto.conf")
                 if name in self.files]  # fmt: skip
        self.settings = load.settings_in(texts)
        self.globals = [
            load.loadable_globals(each.file.read_bytes(), self.user) for each in of_role(fetched, "globals")
        ]

    @property
    def scratch_settings(self) -> dict[str, str]:
        """What the scratch server takes over of the old one's configuration."""
        preloading = load.preloading(self.settings, self.tallies.values())
        return {**load.session_settings(self.settings), **preloading, **FRESH}


def rebuild_from_backup(
    config: Config,
    target: str,
    manifest: Manifest,
    storages: Sequence[str],
    *,
    volume: str,
    image_id: str,
    place: Place,
    owner: str | None = None,
) -> Rebuilt:
    """Make the backup's cluster again in the empty `volume`; compare it with the manifest.

    owner: labels the scratch containers, so that whoever holds its lock may sweep them; None: the target's own.
    Raise ObjectDamaged where no storage gives an object as it was stored, StorageUnreachable, DoesNotRestore where
    PostgreSQL refuses the backup, NotEqual where nothing could be compared, and RestoreFailed for all else.
    Scratch containers and fetched objects are gone then; the volume is the caller's.
    """
    if reasons := load.cannot_be_rebuilt(manifest, place.destination):
        raise DoesNotRestore(" ".join(reasons))
    clock, owner = _Clock(), owner or config.owner(target)
    with engine(config.target(target).docker, ENGINE_SECONDS) as client, _private_folder(config, owner) as folder:
        log.info("%s: fetching backup %s", target, manifest.id)
        with meter().stage(
            f"fetching backup {manifest.id}", FETCH, done=lambda: bytes_in(folder), total=lambda: bytes_of(manifest)
        ):
            backup = _Load(config, target, manifest, fetch(config, manifest, storages, folder))
        clock.lap("fetch")
        archives = folder / "archives"
        archives.mkdir()
        archives.chmod(0o755)  # whatever our umask is; only we get past the folder above
        with scratch_server(
            client,
            image_id=image_id,
            volume=volume,
            place=place,
            owner=owner,
            major=backup.major,
            initdb=load.initdb_arguments(manifest.cluster, manifest.server_version),
            superuser=backup.user,
            settings=backup.scratch_settings,
            archives=archives,
            deadline=backup.deadline,
        ) as server:
            clock.lap("start scratch server")
            return _bring_back(config, backup, server, archives, clock)


def _bring_back(config: Config, backup: _Load, server: Scratch, archives: Path, clock: _Clock) -> Rebuilt:
    """Everything of the backup into a server that is new; proven, shut down, on the disk."""
    _load_roles(backup, server)
    clock.lap("roles")
    with meter().stage(share=LOAD):
        _load_databases(backup, server, archives)
    clock.lap("load")
    with meter().stage("counting, to prove it equal", PROVE):
        tallies = _tallies(config, backup.target, server, list(backup.tallies))
        require_compared(backup.tallies, f"backup {backup.manifest.id}")
        differences = prove(backup.tallies, tallies, backup.not_made, lambda name: _login(server, name))
    clock.lap("prove")
    with meter().stage("gathering statistics", ANALYZE):
        notes = _analyze(backup, server)
    clock.lap("analyze")
    with meter().stage("shutting down, bringing all of it onto the disk", SYNC):
        control = _finish(backup, server)
    clock.lap("shut down and sync")
    notes += _notes(backup, tallies)
    for note in notes:
        log.warning("%s: %s", backup.target, note)
    return Rebuilt(
        volume=server.volume,
        system_identifier=control["Database system identifier"],
        tallies=tallies,
        timings=clock.laps,
        source=backup.manifest.id,
        notes=notes,
        storages=gave_all(backup.fetched),
        differences=differences,
    )


def _load_roles(backup: _Load, server: Scratch) -> None:
    """Roles first, with their password verifiers: owners and grants need them."""
    for script in backup.globals:
        for folder in script.tablespaces:
            server.run(["mkdir", "-p", "-m", "0700", folder])
        _psql(backup, server, script.script)


def _psql(backup: _Load, server: Scratch, script: bytes) -> None:
    if not script:
        return
    try:
        server.run(load.psql_command(backup.user), [script], backup.deadline, load.session_environment(backup.major))
    except ProgramFailed as error:
        raise DoesNotRestore(f"The roles of backup {backup.manifest.id} cannot be restored: {error.words}.") from error


def _load_databases(backup: _Load, server: Scratch, archives: Path) -> None:
    """Every database, one after the other: only one unpacked archive needs room at a time."""
    dumps = of_role(backup.fetched, "dump")
    raw = [each.object.raw_bytes or each.object.bytes for each in dumps]
    for number, each in enumerate(dumps, 1):
        archive = archives / "archive"
        place = f"{each.object.database}, {number} of {len(dumps)}" if len(dumps) > 1 else str(each.object.database)
        with meter().stage(share=raw[number - 1] / max(1, sum(raw))):
            log.info("%s: unpacking %s", backup.target, place)
            with _unpacking(place, archives, raw[number - 1]):
                unpack(each, archive)
            archive.chmod(0o644)  # The server's user reads it; nobody else passes through the folder above.
            each.file.unlink()
            log.info("%s: loading %s (%.0f MB)", backup.target, place, archive.stat().st_size / 1e6)
            _load_database(backup, server, str(each.object.database), place, archive.stat().st_size)
            archive.unlink()


def _unpacking(place: str, archives: Path, raw_bytes: int) -> contextlib.AbstractContextManager[None]:
    return meter().stage(f"unpacking {place}", UNPACK, done=lambda: bytes_in(archives), total=lambda: raw_bytes)


def _load_database(backup: _Load, server: Scratch, name: str, place: str, raw_bytes: int) -> None:
    command = load.restore_command(name, "/archives/archive", backup.user, _jobs())
    # On the disk, indexes make up for the text that numbers are in an archive, more or less.
    with meter().stage(f"loading {place}", 1 - UNPACK, done=server.newest_bytes, total=lambda: raw_bytes):
        try:
            server.run(command, None, backup.deadline, load.session_environment(backup.major))
        except ProgramFailed as error:
            raise DoesNotRestore(
                f"The database {name} of backup {backup.manifest.id} cannot be restored: {error.words}."
            ) from error


def _analyze(backup: _Load, server: Scratch) -> list[str]:
    """Statistics for the planner. Without them queries are slow and right, so a failure is only told."""
    environment = load.session_environment(backup.major)
    try:
        server.run(load.analyze_command(backup.user, _jobs()), None, backup.deadline, environment)
    except ProgramFailed as error:
        return [f"Statistics could not be gathered, so queries may be slow until ANALYZE has run: {error.words}."]
    return []


def _finish(backup: _Load, server: Scratch) -> dict[str, str]:
    """Last words, a clean end, the configuration, and all of it onto the disk."""
    for script in backup.globals:
        _psql(backup, server, script.afterwards)
    control = server.stop()
    for name in load.configuration_in_pgdata(backup.manifest, list(backup.files)):
        server.put_file(name, backup.files[name])
    server.sync()
    return control


def _notes(backup: _Load, tallies: dict[str, Tally]) -> list[str]:
    notes = load.settings_notes(backup.settings, backup.manifest.identity.pgdata)
    for name, expected in backup.tallies.items():
        notes += [f"In {name} the materialised view {each}." for each in refreshed(expected, tallies[name])]
    return notes


def rebuild_from_volume(
    config: Config,
    target: str,
    source: str,
    *,
    volume: str,
    image_id: str,
    place: Place,
    owner: str | None = None,
) -> Rebuilt:
    """Copy the volume `source`, which is mounted read-only, into the empty `volume`; count what the cluster at `place`
    in it holds, on a scratch server. One that was not shut down cleanly recovers in the copy.

    Raise RestoreFailed, also while a running container may write to the source: a copy of what is being written is
    none; LoginRefused where it does not hold the target's database.
    """
    clock, owner, rules = _Clock(), owner or config.owner(target), config.target(target)
    with engine(config.target(target).docker, ENGINE_SECONDS) as client:
        log.info("%s: copying the volume %s", target, source)
        with meter().stage(f"copying the volume {source}", FETCH + LOAD):
            major = copy_volume(
                client,
                source=source,
                volume=volume,
                place=place,
                image_id=image_id,
                owner=owner,
                deadline=rules.deadline,
            )
        clock.lap("copy")
        with scratch_server(
            client,
            image_id=image_id,
            volume=volume,
            place=place,
            owner=owner,
            major=major,
            initdb=None,
            deadline=rules.deadline,
        ) as server:
            clock.lap("start scratch server")
            with connect(_login(server, "template1")) as connection:
                names = databases(connection)
            if rules.database not in names:
                raise LoginRefused(f"In the volume {source} the database {rules.database!r} does not exist.")
            with meter().stage("counting", PROVE):
                tallies = _tallies(config, target, server, names)
            clock.lap("count")
            with meter().stage("shutting down, bringing all of it onto the disk", ANALYZE + SYNC):
                control = server.stop()
                server.sync()
            clock.lap("shut down and sync")
    identifier = control["Database system identifier"]
    return Rebuilt(volume=volume, system_identifier=identifier, tallies=tallies, timings=clock.laps, source=source)


def _login(server: Scratch, database: str) -> Login:
    return Login(str(server.socket), PORT, server.user, None, database)


def _tallies(config: Config, target: str, server: Scratch, names: Sequence[str]) -> dict[str, Tally]:
    """The tally of each of these databases. Raise DatabaseError."""
    rules = config.target(target)
    tallies = {}
    for name in names:
        log.info("%s: counting %s in the scratch server", target, name)
        with frozen(_login(server, name), lock_wait=rules.lock_wait, deadline=rules.deadline) as instant:
            tallies[name] = instant.tally()
    return tallies


def _jobs() -> int:
    return max(1, min(MOST_JOBS, os.cpu_count() or 1))


@contextmanager
def _private_folder(config: Config, owner: str) -> Iterator[Path]:
    """An empty folder on the disk of `state` that only we can enter, gone after the block.

    It is named after `owner`, whose lock the caller holds: so what a killed run left is found, and removed.
    """
    folder = config.state / "rebuild" / owner
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise RestoreFailed(f"The folder {folder} cannot be made: {error.strerror}. Check `state`.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
