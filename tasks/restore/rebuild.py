"""Rebuild a cluster in a volume of its own, from a backup or as a copy of another volume, and prove it there."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tasks.alerts.progress import meter
from tasks.config import Config
from tasks.containers.copying import copy_volume
from tasks.containers.engine import engine
from tasks.containers.leashed import ProgramFailed
from tasks.containers.scratch import Scratch, scratch_server
from tasks.containers.scratch_place import Place
from tasks.databases import load
from tasks.databases.cluster_state import not_carried
from tasks.databases.connect import connect
from tasks.databases.identity import databases
from tasks.databases.set_again import set_for_all_roles, set_positions
from tasks.databases.tally import frozen
from tasks.errors import DoesNotRestore, LoginRefused, RestoreFailed
from tasks.models import Difference, Manifest, Model, Tally
from tasks.restore.compare import other_rows, refreshed, require_compared
from tasks.restore.definitions import prove
from tasks.restore.fetch import bytes_in, bytes_of, fetch, gave_all
from tasks.restore.loading import Backup, jobs, load_databases, login_to
from tasks.restore.preload import preload

log = logging.getLogger("rollcall")

ENGINE_SECONDS = 900.0  # for one call: a container is only gone once all that it wrote is
# What part of the way each stage is, roughly, so that the bar people see moves evenly enough.
FETCH, LOAD, PROVE, ANALYZE, SYNC = 0.1, 0.65, 0.1, 0.05, 0.1
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
            backup = Backup(config, target, manifest, fetch(config, manifest, storages, folder))
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
            settings=_scratch_settings(backup),
            archives=archives,
            deadline=backup.deadline,
        ) as server:
            notes = preload(backup, server, _scratch_settings(backup))
            clock.lap("start scratch server")
            return _bring_back(config, backup, server, archives, clock, notes)


def _scratch_settings(backup: Backup) -> dict[str, str]:
    """What the scratch server takes over of the old one's configuration."""
    tablespaces = (backup.manifest.cluster.get("tablespaces") or {}).values()
    needed = {"allow_in_place_tablespaces": "on"} if any(load.is_in_place(each) for each in tablespaces) else {}
    return {**load.session_settings(backup.server_settings), **needed, **FRESH}


def _bring_back(
    config: Config, backup: Backup, server: Scratch, archives: Path, clock: _Clock, notes: list[str]
) -> Rebuilt:
    """Everything of the backup into a server that is new; compared, shut down, on the disk."""
    not_made = _load_roles(backup, server)
    clock.lap("roles")
    with meter().stage(share=LOAD):
        loaded = load_databases(backup, server, archives)
        not_made += set_positions(partial(login_to, server), backup.tallies)
    clock.lap("load")
    with meter().stage("counting, to prove it equal", PROVE):
        tallies = _tallies(config, backup.target, server, list(backup.tallies))
        require_compared(backup.tallies, f"backup {backup.manifest.id}")
        differences = prove(backup.tallies, tallies, not_made + loaded.not_made, lambda name: login_to(server, name))
    clock.lap("prove")
    with meter().stage("gathering statistics", ANALYZE):
        notes += loaded.notes + _analyze(backup, server)
    clock.lap("analyze")
    with meter().stage("shutting down, bringing all of it onto the disk", SYNC):
        differences += set_for_all_roles(partial(login_to, server), backup.manifest)
        refused, control = _finish(backup, server)
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
        differences=differences + refused,
    )


def _load_roles(backup: Backup, server: Scratch) -> list[Difference]:
    """Roles first, with their password verifiers: owners and grants need them. What was refused."""
    refused = []
    for script in backup.globals:
        for folder in script.tablespaces:
            server.run(["mkdir", "-p", "-m", "0700", folder])
        refused += _psql(backup, server, script.script)
    return refused


def _psql(backup: Backup, server: Scratch, script: bytes) -> list[Difference]:
    """Run a script of roles to its end: one statement that is refused takes nothing else with it."""
    if not script:
        return []
    try:
        said = server.run(
            load.psql_command(backup.user), [script], backup.deadline, load.session_environment(backup.major)
        )
    except ProgramFailed as error:
        raise DoesNotRestore(f"The roles of backup {backup.manifest.id} cannot be restored: {error.words}.") from error
    database = backup.manifest.database
    return [
        Difference(kind="missing", database=database, object=statement, why=why)
        for statement, why in load.refused(said, script)
    ]


def _analyze(backup: Backup, server: Scratch) -> list[str]:
    """Statistics for the planner. Without them queries are slow and right, so a failure is only told."""
    environment = load.session_environment(backup.major)
    try:
        server.run(load.analyze_command(backup.user, jobs()), None, backup.deadline, environment)
    except ProgramFailed as error:
        return [f"Statistics could not be gathered, so queries may be slow until ANALYZE has run: {error.words}."]
    return []


def _finish(backup: Backup, server: Scratch) -> tuple[list[Difference], dict[str, str]]:
    """Last words, a clean end, the configuration, and all of it onto the disk."""
    refused = [each for script in backup.globals for each in _psql(backup, server, script.afterwards)]
    control = server.stop()
    for name in load.configuration_in_pgdata(backup.manifest, list(backup.files)):
        server.put_file(name, backup.files[name])
    server.sync()
    return refused, control


def _notes(backup: Backup, tallies: dict[str, Tally]) -> list[str]:
    notes = load.settings_notes(backup.settings, backup.manifest.identity.pgdata)
    for name, expected in backup.tallies.items():
        notes += [f"In {name} the materialised view {each}." for each in refreshed(expected, tallies[name])]
        notes += [f"In {name} the table {each}." for each in other_rows(expected, tallies[name])]
    return notes + [f"{each[0].upper()}{each[1:]}." for each in not_carried(backup.manifest.cluster)]


def rebuild_from_volume(
    config: Config,
    target: str,
    source: str,
    *,
    volume: str,
    image_id: str,
    place: Place,
    owner: str | None = None,
    below: str = "",
) -> Rebuilt:
    """Copy the volume `source`, which is mounted read-only, or the folder `below` in it, into the empty `volume`; count
    what the cluster at `place` holds, on a scratch server. One that was not shut down cleanly recovers in the copy.

    Raise RestoreFailed, also while a running container may write to the source: a copy of what is being written is
    none; LoginRefused where it does not hold the target's database.
    """
    clock, owner, rules = _Clock(), owner or config.owner(target), config.target(target)
    with engine(config.target(target).docker, ENGINE_SECONDS) as client:
        log.info("%s: copying the volume %s", target, source)
        with meter().stage(f"copying the volume {source}", FETCH + LOAD):
            major = copy_volume(
                client, source=source, volume=volume, place=place,
                image_id=image_id, owner=owner, deadline=rules.deadline, below=below,
            )  # fmt: skip
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
            with connect(login_to(server, "template1")) as connection:
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


def _tallies(config: Config, target: str, server: Scratch, names: Sequence[str]) -> dict[str, Tally]:
    """The tally of each of these databases. Raise DatabaseError."""
    rules = config.target(target)
    tallies = {}
    for name in names:
        log.info("%s: counting %s in the scratch server", target, name)
        with frozen(login_to(server, name), lock_wait=rules.lock_wait, deadline=rules.deadline) as instant:
            tallies[name] = instant.tally()
    return tallies


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
