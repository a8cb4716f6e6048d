"""The engine of Debian 13 beside this machine's own, and tests run on it.

It is in a root of its own, made once. Engine and tests share a network namespace, for two engines' packet filters clash
in one, and a mount namespace around the engine's, in which the folders that tests write to are shared mounts: what a
test mounts there reaches the engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bed import debian, images, roots
from tests.bed.private_engine import SECONDS, PrivateEngine
from tests.bed.progress import ROOT, STATE, BedError, alone, run, step

FOLDER = STATE / "trixie"
PACKAGES = "docker.io,iptables,ca-certificates,procps"
"""`docker top` asks the last one."""
SHOWN = (tempfile.gettempdir(), str(ROOT))

# $@: the folders shown. The namespaces last until the end of whoever made them, who holds the other end of the input.
AROUND = """
set -e
ip link set lo up
for each in "$@"; do
    mount --bind "$each" "$each"
    mount --make-shared "$each"
done
echo ready
exec cat
"""

# $1: the root; $2 and $3: the folders shown; then the line to run there.
WITHIN = f"""
{roots.ENTER}
enter "$1" "$2" "$3"
shift 3
exec env -i PATH={roots.PATH} "$@"
"""


@dataclass
class ModernEngine(PrivateEngine):
    """dockerd of that root; what a PrivateEngine can, it can."""

    _around: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it in its namespaces, or start it again in the same; return once it answers."""
        if self._around is None:
            self._around = _namespaces()
        super().start()

    def remove(self) -> None:
        """Stop it; its namespaces end, and with them its mounts and network."""
        self.stop()
        if self._around is not None:
            self._around.communicate(timeout=SECONDS)

    def beside(self, *command: str) -> list[str]:
        """The line that runs a command where the engine's network is, in the repository's folder."""
        if self._around is None:
            raise BedError("The engine has not been started.")
        entered = ["nsenter", f"--target={self._around.pid}", "--net", "--mount"]
        return [*entered, "env", f"--chdir={ROOT}", f"DOCKER_HOST={self.host}", *command]

    def test(self, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run pytest on it, for so long at most."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        line = self.beside(sys.executable, "-m", "pytest", *arguments)
        return subprocess.run(line, env=known, capture_output=True, text=True, timeout=seconds, check=False)

    def _line(self) -> list[str]:
        apart = ["unshare", "--mount", "--propagation=slave", "sh", "-c", WITHIN, "sh"]
        return self.beside(*apart, str(FOLDER), *SHOWN, "dockerd", *self._folders())


def _namespaces() -> subprocess.Popen[bytes]:
    """A process in namespaces of its own, with the shown folders shared."""
    line = ["unshare", "--mount", "--net", "sh", "-c", AROUND, "sh", *SHOWN]
    around = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if around.stdout is None or around.stdout.readline() != b"ready\n":
        around.communicate(timeout=SECONDS)
        raise BedError("Namespaces of its own for an engine cannot be made here.")
    return around


@contextmanager
def modern_engine(versions: Sequence[int] = images.VERSIONS) -> Iterator[ModernEngine]:
    """One that runs, with these images of the bed's engine; it and all it holds are gone after, but its root."""
    _make_root()
    # In a short path: a socket's has at most 107 bytes (unix(7)).
    with tempfile.TemporaryDirectory(prefix="rc-modern-", ignore_cleanup_errors=True) as folder:
        engine = ModernEngine(Path(folder))
        try:
            engine.start()
            for version in versions:
                engine.load(images.tag(version))
            yield engine
        finally:
            engine.remove()


def _make_root() -> None:
    with alone():
        if FOLDER.exists():
            return
        new = FOLDER.with_suffix(".new")
        run(["rm", "-rf", str(new)])
        with step(f"an engine of {debian.NEXT_RELEASE} in a root of its own"):
            roots.make(new, debian.NEXT_RELEASE, PACKAGES)
        new.rename(FOLDER)
