"""Another Debian in a folder: made by debootstrap, and entered as the root of a mount namespace.

A mere chroot would not do for an engine: runc's `exec` enters the root of the mount namespace.
"""

import os
from pathlib import Path

from tests.bed import debian, engine
from tests.bed.progress import BedError, run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENTER = """
set -e
enter() {
    mount --bind "$1" "$1"
    cd "$1"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount --rbind /dev dev
    mount --rbind /sys/fs/cgroup sys/fs/cgroup
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    shift
    for each in "$@"; do
        mkdir -p "./$each"
        mount --bind "$each" "./$each"
    done
    mkdir -p old
    pivot_root . old
    cd /
    umount -l /old
}
"""
"""Shell: `enter ROOT [FOLDER...]`, in a mount namespace of its own, shows these folders of the machine there, too."""


def make(folder: Path, release: str, packages: str) -> None:
    """Debian's smallest system of that release with these packages, by the mirror that apt uses here.

    Raise BedError where it cannot be had.
    """
    require_root()
    engine.require_tool("debootstrap")
    source = [debian.mirror()] if debian.mirror() else []
    run(["debootstrap", "--variant=minbase", f"--include={packages}", release, str(folder), *source])


def require_root() -> None:
    """Raise BedError for anybody else."""
    if os.geteuid() != 0:
        raise BedError("Only root can make a machine within this one; run this as root.")
