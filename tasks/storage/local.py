"""A folder as a storage: temporary file, fsync, link to the final name, fsync of the folders."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import ObjectMissing, StorageError, StorageFull, StorageUnreachable
from tasks.storage import contract
from tasks.storage.contract import ABANDONED_SECONDS, CHUNK, MIB, Counted, Source, Stored, checked_key

PARTIAL = ".partial-"

# Bytes left for the disk to take at any time: all of them at the end would be a long wait, and would push the
# database's pages out of this machine's memory.
SYNC_EVERY = 32 * MIB

# File systems without hard links: FAT, some network and FUSE mounts.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {errno.ETIMEDOUT, errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}


class LocalStorage:
    """Objects as files below `path`. Files are made for their owner alone (0600), folders too (0700).

    `path` itself is made by the first `put` where only its last part is missing; more than that missing is
    more likely a disk that is not mounted.
    """

    def __init__(self, name: str, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._root = path
        self._clock = clock

    def put(self, key: str, source: Source) -> Stored:
        """As the contract says."""
        target = self._file(key)
        counted = Counted(source)
        with self._translated("write", key, counted):
            self._sweep(self._root / key.split("/", maxsplit=1)[0])
            if target.exists():
                raise self._taken(key)
            self._write(target, key, counted)
        return counted.stored

    @contextmanager
    def open(self, key: str) -> Iterator[Iterator[bytes]]:
        """As the contract says."""
        file = self._file(key)
        with self._translated("read", key):
            try:
                stream = file.open("rb", buffering=0)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                self._require_root()
                raise ObjectMissing(f"{self._where} has no object {key}.") from error
        with stream:
            yield self._chunks(stream.read, key)

    def keys(self, prefix: str) -> Iterator[str]:
        """As the contract says."""
        folder = prefix.rpartition("/")[0]
        below = self._file(folder) if folder else self._root
        with self._translated("list", prefix):
            if not self._root.exists() and self._root.parent.is_dir():
                return  # The first put makes it.
            self._require_root()
            found = [key for key in self._walk(below) if key.startswith(prefix)]
        yield from sorted(found)

    def delete(self, key: str) -> None:
        """As the contract says. Folders that become empty go too, the storage's own does not."""
        file = self._file(key)
        with self._translated("remove", key):
            self._require_root()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                file.unlink()
                _sync_folder(file.parent)
            self._remove_empty(file.parent)

    def probe(self) -> None:
        """As the contract says."""
        contract.probe(self)

    @property
    def _where(self) -> str:
        return f"The storage {self.name} ({self._root})"

    def _file(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _taken(self, key: str) -> StorageError:
        return StorageError(f"{self._where} already has an object {key}; nothing overwrites a backup.")

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise StorageError(
                f"The storage {self.name} has no folder {self._root}: is its disk mounted? The first backup makes it."
            )

    def _make_folders(self, folder: Path) -> None:
        """Make what is missing, and make it last: a new folder is lost with the power unless its parent is
        synced."""
        if not self._root.parent.is_dir():
            raise StorageError(
                f"The storage {self.name} has no folder {self._root.parent} to be in: is its disk mounted?"
            )
        missing = [each for each in (folder, *folder.parents) if each.is_relative_to(self._root) and not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(each.parent)

    def _write(self, target: Path, key: str, source: Counted) -> None:
        descriptor, partial = self._partial(target.parent)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                waiting = 0
                while chunk := source.read(CHUNK):
                    _write_all(file.write, chunk)
                    waiting += len(chunk)
                    if waiting >= SYNC_EVERY:
                        os.fdatasync(file.fileno())
                        waiting = 0
                os.fsync(file.fileno())
            self._reveal(partial, target, key)
        finally:
            partial.unlink(missing_ok=True)
            # With the folder unreadable the object's own error says more.
            with contextlib.suppress(OSError):
                self._remove_empty(target.parent)

    def _partial(self, folder: Path) -> tuple[int, Path]:
        """A new file to write to. Another run may remove the folder as empty just before, so try again
        then."""
        for _ in range(3):
            self._make_folders(folder)
            with contextlib.suppress(FileNotFoundError):
                descriptor, partial = tempfile.mkstemp(prefix=PARTIAL, dir=folder)
                return descriptor, Path(partial)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))

    def _reveal(self, partial: Path, target: Path, key: str) -> None:
        """Give the finished file its name, unless the name is taken: a link, unlike a rename, never
        replaces."""
        try:
            _link(partial, target)
        except FileExistsError as error:
            raise self._taken(key) from error
        try:
            partial.unlink(missing_ok=True)
            _sync_folder(target.parent)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _sweep(self, folder: Path) -> None:
        """Remove what killed runs left below `folder`, once it is too old to belong to a living one."""
        # A list, made before anything is removed: a folder that goes while it is walked is no error.
        walked = [(Path(parent), files) for parent, _, files in os.walk(folder)]
        for partial in [parent / each for parent, files in walked for each in files if each.startswith(PARTIAL)]:
            with contextlib.suppress(FileNotFoundError):
                if self._clock() - partial.stat().st_mtime > ABANDONED_SECONDS:
                    partial.unlink()
                    self._remove_empty(partial.parent)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                    return
                if error.errno != errno.ENOENT:
                    raise
            folder = folder.parent

    def _walk(self, folder: Path) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            # A folder that another run just removed is fine; one that cannot be read would hide backups.
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        for parent, folders, files in os.walk(folder, onerror=refuse):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for file in files:
                if not file.startswith("."):
                    yield (Path(parent) / file).relative_to(self._root).as_posix()

    def _chunks(self, read: Callable[[int], bytes | None], key: str) -> Iterator[bytes]:
        while True:
            with self._translated("read", key):
                chunk = read(CHUNK)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _translated(self, verb: str, key: str, source: Counted | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if source is not None and source.failure is not None:
                raise
            raise self._in_words(error, verb, key) from error

    def _in_words(self, error: OSError, verb: str, key: str) -> StorageError:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            return StorageFull(
                f"{self._where} is full: {key} could not be stored. Make room, or move it to a larger disk."
            )
        if error.errno in _PASSING:
            return StorageUnreachable(f"{self._where} could not {verb} {key}: {reason}. Check the disk or the mount.")
        return StorageError(f"{self._where} could not {verb} {key}: {reason}. Check the folder, its owner and rights.")


def _write_all(write: Callable[[memoryview], int | None], chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[write(rest) or 0 :]


def _link(partial: Path, target: Path) -> None:
    """Link, or, where the file system knows no links, rename after a look: two writers of one key do not
    happen there, for every backup has a folder of its own."""
    try:
        os.link(partial, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        partial.rename(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
