"""A small disk that really runs full."""

import os
from pathlib import Path

from tests.bed.progress import BedError, run


def mount(folder: Path, mebibytes: int) -> Path:
    """Mount an empty disk of that size on a new folder and return it. Raise BedError if not root."""
    if os.geteuid() != 0:
        raise BedError("Only root can mount a small disk.")
    folder.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0755", "rollcall-bed", str(folder)])
    return folder


def unmount(folder: Path) -> None:
    """Unmount, even while a test's process still holds a file on it."""
    run(["umount", "--lazy", str(folder)])
