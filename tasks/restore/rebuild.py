"""Rebuild a cluster in a volume of its own, from a backup or as a copy of another volume, and prove it there."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.types import Mount

from tasks.config import Config
from tasks.containers.clusters import clusters_in
from tasks.containers.engine import engine
from tasks.containers.scratch import Place, Scratch, one_off, scratch_server, sync
from tasks.containers.volumes import find_volume
from tasks.databases import load
from tasks.databases.connect import Login, connect, translated
from tasks.databases.identity import databases, read_identity
from tasks.databases.tally import frozen
from tasks.errors import DatabaseError, LoginRefused, RestoreFailed
from tasks.models import Manifest, Model, Tally
from tasks.restore.compare import require_equal
from tasks.restore.fetch import copies, small, unpack

log = logging.getLogger("rollcall")

ARCHIVES = "/rollcall-archives"  # where the scratch server sees our folder

COPY = """
set -e
cd /source
cp -a --sparse=always . "$1"/ 2>/dev/null || cp -a . "$1"/
rm -f "$1/$2/postmaster.pid"
"""


class Rebuilt(Model):
    """A cluster that stands in `volume`, shut down cleanly and on the disk. tallies: by database; timings: seconds."""

    volume: str
    system_identifier: str
    tallies: dict[str, Tally]
    timings: dict[str, float]
    source: str


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
    owner: str = "",
) -> Rebuilt:
    """Make the backup's cluster again in the empty `volume`; prove it exactly equal to the manifest.

    owner: what scratch containers are labelled with, by default the target's own.

    Raise RestoreFailed, ObjectDamaged where no storage gives an object as it was stored, NotEqual where what was
    rebuilt differs in anything. Scratch containers and unpacked archives are gone then; the volume is the caller's.
    """
    if reasons := load.cannot_be_rebuilt(manifest):
        raise RestoreFailed(" ".join(reasons))
    clock, user = _Clock(), str(manifest.cluster["bootstrap_user"])
    owner = owner or config.owner(target)
    settings = _settings_files(config, manifest, storages)
    texts = [settings[name].decode(errors="replace") for name in sorted(settings, reverse=True)]
    with engine(timeout=900) as client, _private_folder(config) as folder:
        with scratch_server(
            client,
            image_id=image_id,
            volume=volume,
            place=place,
            owner=owner,
            initdb=load.initdb_arguments(manifest.cluster, manifest.server_version),
            binds={folder: ARCHIVES},
            ready=lambda socket: _answers(socket, user),
            settings={"shared_preload_libraries": load.preloaded(texts)},
        ) as server:
            clock.lap("start scratch server")
            _load_roles(config, manifest, storages, server, user)
            clock.lap("roles")
            _load_databases(config, target, manifest, storages, server, folder)
            clock.lap("load")
            identifier, found = _tallies(config, target, server, user)
            expected = {manifest.database: manifest.tally, **manifest.databases}
            # initdb made `postgres`, whether or not the backup holds it.
            tallies = {name: tally for name, tally in found.items() if name in expected or tally.counts}
            require_equal(expected, tallies, f"backup {manifest.id}")
            clock.lap("prove")
            server.run(load.analyze_command(user, _jobs()), deadline=config.target(target).deadline)
            server.put(settings)
            server.stop()
        sync(client, image_id, volume, place, owner, config.target(target).deadline)
        clock.lap("analyze, shut down, sync")
    return Rebuilt(volume=volume, system_identifier=identifier, tallies=tallies, timings=clock.laps, source=manifest.id)


def rebuild_from_volume(
    config: Config, target: str, source: str, *, volume: str, image_id: str, place: Place
) -> Rebuilt:
    """Copy the cluster of volume `source`, which is mounted read-only, into the empty `volume`; count what is in it.

    A cluster that was not shut down cleanly recovers in the copy. Raise RestoreFailed, also while a running container
    mounts the source: a copy of what is being written is none.
    """
    clock, owner, rules = _Clock(), config.owner(target), config.target(target)
    with engine(timeout=900) as client:
        path = _path_in(client, source, image_id, owner)
        inside = Place(destination=place.destination, pgdata=str(Path(place.destination) / path))
        mounts = [
            Mount("/source", source, type="volume", read_only=True, no_copy=True),
            Mount(place.destination, volume, type="volume", no_copy=True),
        ]
        one_off(
            client, image_id, COPY, mounts, owner, place,
            capabilities=["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD"],
            arguments=[place.destination, path or "."], deadline=rules.deadline,
        )  # fmt: skip
        clock.lap("copy")
        with scratch_server(
            client,
            image_id=image_id,
            volume=volume,
            place=inside,
            owner=owner,
            ready=lambda socket: _answers(socket, rules.user),
        ) as server:
            clock.lap("start scratch server")
            identifier, tallies = _tallies(config, target, server, rules.user)
            clock.lap("count")
            server.stop()
        sync(client, image_id, volume, inside, owner, rules.deadline)
        clock.lap("shut down, sync")
    return Rebuilt(volume=volume, system_identifier=identifier, tallies=tallies, timings=clock.laps, source=source)


def _path_in(client: docker.DockerClient, source: str, image_id: str, owner: str) -> str:
    """Where PGDATA is below the source volume's root. Raise RestoreFailed: no such volume, in use, or no cluster."""
    volume = find_volume(client, source)
    if volume is None:
        raise RestoreFailed(f"There is no volume {source} on this engine.")
    if users := [each.container for each in volume.users if each.running]:
        raise RestoreFailed(f"The volume {source} is in use by {', '.join(users)}; stop that first.")
    found = clusters_in(client, image_id, [source], owner)
    if not found:
        raise RestoreFailed(f"The volume {source} holds no PostgreSQL cluster.")
    return found[0].path


def _answers(socket: Path, user: str) -> bool:
    """Whether the server takes connections; one that knows no such role does, and a later query says so."""
    try:
        connect(_login(socket, user, "template1"), timeout=5).close()
    except LoginRefused:
        return True
    except DatabaseError:
        return False
    return True


def _login(socket: Path, user: str, database: str) -> Login:
    return Login(str(socket), 5432, user, None, database)


def _tallies(config: Config, target: str, server: Scratch, user: str) -> tuple[str, dict[str, Tally]]:
    """The cluster's system identifier, and the tally of every database that a backup of it would hold."""
    rules = config.target(target)
    login = _login(server.socket, user, rules.database)
    with connect(login) as connection, translated("the rebuilt cluster", login=login):
        identifier = read_identity(connection).system_identifier
        names = databases(connection)
    tallies = {}
    for name in names:
        log.info("%s: counting %s in the scratch server", target, name)
        with frozen(login.to(name), lock_wait=rules.lock_wait, deadline=rules.deadline) as instant:
            tallies[name] = instant.tally()
    return identifier, tallies


def _settings_files(config: Config, manifest: Manifest, storages: Sequence[str]) -> dict[str, bytes]:
    """The server's own configuration files by name."""
    held = copies(manifest, "config", storages)
    return {key.rpartition("/")[2]: small(config, each) for key, each in held.items()}


def _load_roles(config: Config, manifest: Manifest, storages: Sequence[str], server: Scratch, user: str) -> None:
    """Roles first, with their password verifiers: owners and grants need them."""
    for held in copies(manifest, "globals", storages).values():
        script = small(config, held).decode("utf-8")
        server.run(load.psql_command(user), [load.loadable_globals(script, user).encode("utf-8")])


def _load_databases(
    config: Config, target: str, manifest: Manifest, storages: Sequence[str], server: Scratch, folder: Path
) -> None:
    """Every database, one after the other: only one unpacked archive needs room at a time."""
    user = str(manifest.cluster["bootstrap_user"])
    archive = folder / "archive"
    for held in copies(manifest, "dump", storages).values():
        database = str(held[0].database)
        log.info("%s: unpacking %s (%.0f MB stored)", target, database, held[0].bytes / 1e6)
        unpack(config, held, archive)
        archive.chmod(0o644)  # The server's user reads it; nobody else passes through the folder above.
        log.info("%s: loading %s (%.0f MB)", target, database, archive.stat().st_size / 1e6)
        command = load.restore_command(database, f"{ARCHIVES}/{archive.name}", user, _jobs())
        server.run(command, deadline=config.target(target).deadline)
        archive.unlink()


def _jobs() -> int:
    return max(1, os.cpu_count() or 1)


@contextmanager
def _private_folder(config: Config) -> Iterator[Path]:
    """A folder on the disk of `state` that only we reach from outside, gone after the block."""
    try:
        config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        outer = Path(tempfile.mkdtemp(prefix="rebuild-", dir=config.state))
    except OSError as error:
        raise RestoreFailed(f"The state folder {config.state} cannot be used: {error.strerror}.") from error
    try:
        inner = outer / "archives"
        inner.mkdir(mode=0o755)
        inner.chmod(0o755)
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)
