"""A machine with nothing but Python, gcc, make, git and apt, and what a new clone does there: `make fresh`.

Debian's smallest root in namespaces of its own (mounts, processes, network), so that nothing of this machine is seen or
changed. It reaches the mirrors through the bridge of this machine's engine, and installs and starts one of its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bed import debian, roots
from tests.bed.progress import ROOT, STATE, BedError, run, step

THERE = "python3,python3-venv,gcc,make,ca-certificates,git"
FOLDER = STATE / "fresh"
NAMESPACE, LINK = f"rollcall-new-{os.getpid()}", f"new-{os.getpid()}"
BRIDGE = "docker0"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
DEFAULT = "make demo && make test"

# $1: the root; $2: what to do there.
ENTER = f"""
{roots.ENTER}
mount --make-rprivate /
enter "$1"
cd /rollcall
exec env -i PATH={roots.PATH} HOME=/root LANG=C.UTF-8 \
    PIP_CERT=/{CERTIFICATES} SSL_CERT_FILE=/{CERTIFICATES} sh -c "$2"
"""


def main() -> int:
    """Make the root, clone, run the command there; return its exit code, 1 with one sentence if there is no root."""
    parser = argparse.ArgumentParser(prog="python -m tests.bed.fresh", description=__doc__)
    parser.add_argument("command", nargs="?", default=DEFAULT, help=f"a line of shell, in the clone ({DEFAULT})")
    given = parser.parse_args()
    try:
        _make_root()
        with _network():
            return _enter(given.command)
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def _make_root() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    STATE.mkdir(exist_ok=True)
    with step("a machine with nothing installed"):
        roots.make(FOLDER, debian.RELEASE, THERE)
        run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(FOLDER / "rollcall")])
    for name in ("etc/resolv.conf", CERTIFICATES):
        if Path("/", name).exists():
            shutil.copyfile(Path("/", name), FOLDER / name)


@contextmanager
def _network() -> Iterator[None]:
    """Its own, with one address on the engine's bridge."""
    shown = run(["ip", "-o", "-4", "address", "show", BRIDGE]).split()
    gateway, _, length = shown[shown.index("inet") + 1].partition("/")
    address = f"{gateway.rsplit('.', 2)[0]}.255.{2 + os.getpid() % 250}/{length}"
    there = ["ip", "-n", NAMESPACE]
    try:
        run(["ip", "netns", "add", NAMESPACE])
        run(["ip", "link", "add", LINK, "mtu", "1400", "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE])
        run(["ip", "link", "set", LINK, "master", BRIDGE, "up"])
        run([*there, "link", "set", "lo", "up"])
        run([*there, "link", "set", "eth0", "mtu", "1400", "up"])
        run([*there, "address", "add", address, "dev", "eth0"])
        run([*there, "route", "add", "default", "via", gateway])
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)


def _enter(command: str) -> int:
    """All its processes, an engine too, end with the command."""
    apart = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    line = ["nsenter", f"--net=/run/netns/{NAMESPACE}", *apart, "sh", "-c", ENTER, "sh", str(FOLDER), command]
    return subprocess.run(line, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
