"""Data folders of volumes renamed by this very process, on the engine's own host: the exchange is one atomic call."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.containers.exchange_moves import DATA, Move, Place, aside, is_whole_exchange, places
from tasks.errors import EngineError

# linux/fcntl.h, linux/fs.h
AT_FDCWD = -100
RENAME_EXCHANGE = 1 << 1

# Of 64-bit programs (Linux, arch/*/include/uapi/asm/unistd*.h), for a C library without renameat2: musl of old.
CALL_NUMBERS = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}

# What kernels, file systems and filters of system calls answer that do not have the call (rename(2), seccomp).
NOT_THERE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


class FoldersHere:
    """The data folders of some volumes below `root`, the engine's folder of volumes, which is on this machine."""

    def __init__(self, root: Path, volumes: Sequence[str], data: str = DATA) -> None:
        self._root, self._volumes, self._data = root, volumes, data

    def usable(self) -> bool:
        """Whether this process sees every volume's folder and may rename what is in it."""
        return all(_may_write(self._root / each, self._data) for each in self._volumes)

    def arrange(self, chosen: Sequence[Move] = ()) -> dict[Place, str]:
        """Make the moves, put them on the disk, and return what is where: `device:inode` by place.

        Raise EngineError: then an earlier move may have been made.
        """
        try:
            self._check()
            self._make(list(chosen))
            for each in self._volumes:
                _sync_folder(self._root / each)
                _sync_folder((self._root / each / self._data).parent)
            return {place: folder_id for place in places(self._volumes, self._data) if (folder_id := self._id(place))}
        except OSError as error:
            raise EngineError(
                f"The data folders of {' and '.join(self._volumes)} cannot be exchanged in {self._root}: "
                f"{error.strerror}."
            ) from error

    def _check(self) -> None:
        """Raise OSError where a link is on the way: the database's user can make one that leads elsewhere on the host
        than in the container."""
        for volume in self._volumes:
            folder = self._root / volume
            for part in Path(self._data).parts[:-1]:
                folder /= part
                if folder.is_symlink():
                    raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a link")

    def _make(self, chosen: list[Move]) -> None:
        if is_whole_exchange(chosen) and exchange_paths(self._path(chosen[0].source), self._path(chosen[1].source)):
            return
        for move in chosen:
            if os.path.lexists(self._path(move.target)):
                raise FileExistsError(errno.EEXIST, f"{move.target} is there")
            self._path(move.source).rename(self._path(move.target))

    def _id(self, place: Place) -> str | None:
        try:
            found = self._path(place).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{place} is no folder")
        return f"{found.st_dev}:{found.st_ino}"

    def _path(self, place: Place) -> Path:
        return self._root / place.volume / place.folder


def _may_write(folder: Path, data: str) -> bool:
    """Whether what is in the folder may be moved to another; a folder that moves must be writable too (rename(2))."""
    moved = [each for name in (data, aside(data)) if os.path.lexists(each := folder / name)]
    parents = (folder, (folder / data).parent)
    return all(os.access(each, os.W_OK | os.X_OK, effective_ids=True) for each in (*parents, *moved))


def exchange_paths(one: Path, other: Path) -> bool:
    """Exchange two paths in one atomic call, renameat2 with RENAME_EXCHANGE (rename(2)).

    False, and nothing changed, where the kernel or the file system has no such call. Raise OSError.
    """
    call = _renameat2()
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in NOT_THERE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """The C library's function (glibc from 2.28), else the system call by its number; None where neither is known."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        function = library.renameat2
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        function.restype = ctypes.c_int
        return function
    return _by_number(library, CALL_NUMBERS.get(platform.machine()) if sys.maxsize > 2**32 else None)


def _by_number(library: ctypes.CDLL, number: int | None) -> Callable[..., int] | None:
    """`syscall` takes what it is given as C's `long`; without these types Python would pass the narrower `int`."""
    if number is None:
        return None
    function = library.syscall
    text, whole = ctypes.c_char_p, ctypes.c_long
    function.argtypes = [whole, whole, text, whole, text, whole]
    function.restype = whole
    return functools.partial(function, number)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
