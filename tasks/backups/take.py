"""Take a backup's parts out of a running cluster and into every storage at once."""

from __future__ import annotations

import io
import logging
import random
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import quote

import docker
from docker.errors import NotFound

from tasks.alerts import progress
from tasks.backups.expected import dump_bytes
from tasks.checks.look import Seen, login
from tasks.config import Config, Target
from tasks.containers.engine import engine
from tasks.containers.programs import beside, sweep_helpers
from tasks.databases import dump
from tasks.databases.connect import Login
from tasks.databases.lock_watch import lock_watch
from tasks.databases.tally import Frozen, frozen
from tasks.errors import RollcallError, StorageError, TablesLocked
from tasks.models import Model, Role, StoredObject, Tally
from tasks.secrets import reveal
from tasks.storage import Stored, open_all, open_storage
from tasks.storage.catalogue import delete_backup, object_key
from tasks.storage.pipeline import Streamed, stream

log = logging.getLogger("rollcall")

LOCK_PATIENCE = 10.0  # seconds, and three times the target's lock_wait


class Part(Model):
    """What one step stored: one object in each storage that took it, and why the others did not.

    tally is there for a dump only; seconds: how long the step took.
    """

    objects: list[StoredObject]
    failed: dict[str, str] = {}
    tally: Tally | None = None
    database: str | None = None
    seconds: float = 0.0
    missing: list[str] = []

    def joined(self, other: Part) -> Part:
        """Both in one."""
        return self.model_copy(
            update={"objects": [*self.objects, *other.objects], "failed": {**self.failed, **other.failed}}
        )


class Label(Model):
    """Where an object belongs: backup, target, role, name inside the backup."""

    target: str
    backup_id: str
    role: Role
    name: str
    database: str | None = None

    @property
    def key(self) -> str:
        """The object's key in every storage."""
        return object_key(self.target, self.backup_id, self.name)


def take_database(config: Config, target: str, seen: Seen, backup_id: str, database: str, into: Sequence[str]) -> Part:
    """Dump and tally one database in the same snapshot, stored in each of the storages `into`.

    Raise TablesLocked if other sessions kept tables locked for longer than is waited for, and what pg_dump or the
    storages raise; then nothing of it is left in any storage.
    """
    label = Label(
        target=target,
        backup_id=backup_id,
        role="dump",
        name=_file_name(database),
        database=database,
    )
    given_up = time.monotonic() + LOCK_PATIENCE + 3 * config.target(target).lock_wait
    while True:
        try:
            return _take_database(config, label, seen, database, into)
        except TablesLocked as reason:
            if time.monotonic() > given_up:
                raise
            log.info("%s: %s Once more, from a new snapshot.", target, reason)
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - only to get out of step with the other session


def _file_name(database: str) -> str:
    """A dump's name: percent-encoded, a leading dot too, for such files are nobody's to see."""
    return f"{quote(database, safe='')}.dump.zst".replace(".", "%2E", 1 if database.startswith(".") else 0)


def _take_database(config: Config, label: Label, seen: Seen, database: str, into: Sequence[str]) -> Part:
    rules = config.target(label.target)
    started = time.monotonic()
    name = f"rollcall {label.backup_id}"
    line = dump.dump_line(dump.connection_string(rules, seen.container, seen.way, database, name))
    way = login(rules, seen.way, database)
    with (
        engine(rules.docker) as client,
        # The helper waits for its argument before the tables are locked: so the gap between our locks and pg_dump's
        # own, in which a TRUNCATE can queue, is as short as a connection.
        beside(
            client, seen.container, dump.program(rules, line, way.password or ""), owner=config.owner(label.target)
        ) as running,
        frozen(way, lock_wait=rules.lock_wait, deadline=rules.deadline) as instant,
        lock_watch(way, name, instant.backend_pid, running.stop),
    ):
        running.say(instant.snapshot)
        passed = _Passed()
        with _dump_shown(config, label.target, seen, way, passed), _tally_beside(instant, passed) as counting:
            streamed = _store(_unless_failed(running.chunks(), counting), config, label, rules, into, passed)
            tally = counting.result()
    part = _part(label, streamed, started)
    return part.model_copy(update={"tally": tally, "database": database})


class _tally_beside:  # noqa: N801 - reads as a with-statement
    """Count in a thread while the dump streams; a run that ends early takes the count with it."""

    def __init__(self, instant: Frozen, passed: _Passed) -> None:
        self._instant, self._passed = instant, passed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tally")

    def __enter__(self) -> Future[Tally]:
        return self._pool.submit(self._instant.tally, self._passed.count)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._instant.abandon()
        self._pool.shutdown(wait=True)


def _unless_failed(chunks: Iterator[bytes], counting: Future[Tally]) -> Iterator[bytes]:
    """The chunks, until the tally beside them fails: a dump that nothing vouches for need not be finished.

    The last thing waited for is the tally: an object becomes visible only when its count is known.
    """
    for chunk in chunks:
        if counting.done() and counting.exception():
            break
        yield chunk
    counting.result()


class _Passed:
    """How much of a database has passed: bytes of its dump, tables counted. Written by those who work, read by any."""

    def __init__(self) -> None:
        self.raw_bytes = 0
        self._tables = ""

    def store(self, raw: int, _stored: int) -> None:
        """Progress as `stream` tells it."""
        self.raw_bytes = raw

    def count(self, done: int, tables: int, _table: str) -> None:
        """Progress as a tally tells it."""
        self._tables = f"{done:,} of {tables:,} tables counted"

    def counted(self) -> str:
        """How far the count is, in words."""
        return self._tables


@contextmanager
def _dump_shown(config: Config, target: str, seen: Seen, way: Login, passed: _Passed) -> Iterator[None]:
    """Show how far the dump of one database is."""
    names = seen.databases
    number = f", {names.index(way.database) + 1} of {len(names)}" if len(names) > 1 else ""
    with (
        progress.shown("backup", target) as meter,
        meter.stage(
            f"dumping {way.database}{number}",
            done=lambda: passed.raw_bytes,
            total=lambda: dump_bytes(config, target, way, names),
            note=passed.counted,
        ),
    ):
        yield


def _store(
    chunks: Iterable[bytes],
    config: Config,
    label: Label,
    rules: Target,
    into: Sequence[str],
    passed: _Passed | None = None,
) -> Streamed:
    level = rules.compression_level if label.role == "dump" else None
    storages, closed = open_all(config.storages, into)
    if not storages and closed:
        raise next(iter(closed.values()))
    streamed = stream(chunks, storages, label.key, level=level, progress=passed.store if passed else None)
    return replace(streamed, failed={**closed, **streamed.failed})


def _part(label: Label, streamed: Streamed, started: float) -> Part:
    objects = [_object(label, name, stored, streamed.raw_bytes) for name, stored in streamed.stored.items()]
    failed = {name: str(error) for name, error in streamed.failed.items()}
    return Part(objects=objects, failed=failed, seconds=round(time.monotonic() - started, 3))


def _object(label: Label, storage: str, stored: Stored, raw_bytes: int) -> StoredObject:
    return StoredObject(
        storage=storage,
        key=label.key,
        role=label.role,
        bytes=stored.bytes,
        sha256=stored.sha256,
        database=label.database,
        raw_bytes=raw_bytes,
    )


def take_globals(config: Config, target: str, seen: Seen, backup_id: str, into: Sequence[str]) -> Part:
    """Roles with their password verifiers, and tablespaces, as SQL. Raise DumpFailed: a superuser is needed."""
    rules = config.target(target)
    started = time.monotonic()
    line = dump.globals_line(dump.connection_string(rules, seen.container, seen.way, rules.database))
    password = reveal(rules.password) if rules.password else ""
    label = Label(target=target, backup_id=backup_id, role="globals", name="globals.sql")
    with (
        engine(rules.docker) as client,
        beside(client, seen.container, dump.program(rules, line, password), owner=config.owner(target)) as running,
    ):
        running.say("")
        return _part(label, _store(running.chunks(), config, label, rules, into), started)


def take_settings(config: Config, target: str, seen: Seen, backup_id: str, into: Sequence[str]) -> Part:
    """The server's own configuration files, as they are. One that cannot be read is named in `missing`.

    All are read before the first is stored, and what was stored is removed if a later one fails: so the whole can be
    tried again.
    """
    started = time.monotonic()
    with engine(config.target(target).docker) as client:
        contents = {name: _file_of(client, seen, path) for name, path in seen.files.items()}
    missing = [seen.files[name] for name, content in contents.items() if content is None]
    part = Part(objects=[], missing=missing)
    try:
        for name, content in contents.items():
            if content is not None:
                part = part.joined(_take_setting(config, target, backup_id, name, content, into, part))
    except RollcallError:
        discard(config, [(each.storage, each.key) for each in part.objects])
        raise
    return part.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _take_setting(
    config: Config, target: str, backup_id: str, name: str, content: bytes, into: Sequence[str], before: Part
) -> Part:
    label = Label(target=target, backup_id=backup_id, role="config", name=f"config/{name}")
    still = [storage for storage in into if storage not in before.failed]
    return _part(label, _store([content], config, label, config.target(target), still), time.monotonic())


def _file_of(client: docker.DockerClient, seen: Seen, path: str, links: int = 5) -> bytes | None:
    """The content of a file of the container; None if it does not exist. Links are followed."""
    try:
        archive, _ = client.api.get_archive(seen.container.id, path)
    except NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
        for member in tar:
            if member.issym() and links:
                return _file_of(client, seen, str(PurePosixPath(path).parent / member.linkname), links - 1)
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                return content.read()
    return None


def sweep(config: Config, target: str) -> None:
    """Remove helpers that a killed run of this target left behind; the caller holds the target's lock."""
    with engine(config.target(target).docker) as client:
        for each in sweep_helpers(client, config.owner(target)):
            log.warning("A helper container that an earlier run left (%s) is removed.", each[:12])


def discard(config: Config, objects: Sequence[tuple[str, str]]) -> None:
    """Remove (storage, key) pairs that no manifest lists; a storage that does not answer keeps its part."""
    for name, key in objects:
        try:
            open_storage(name, config.storages[name]).delete(key)
        except StorageError as error:
            log.warning("What was stored of an unfinished backup could not be removed: %s", error)


def discard_backup(config: Config, target: str, backup_id: str, storages: Sequence[str]) -> None:
    """Remove what `storages` hold of a backup that is none there, first a manifest that did not read back; a storage
    that does not answer keeps its part."""
    for name in storages:
        try:
            delete_backup(open_storage(name, config.storages[name]), target, backup_id)
        except StorageError as error:
            log.warning("What was stored of an unfinished backup could not be removed: %s", error)
