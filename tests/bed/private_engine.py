"""A Docker engine of a test's own, which may be restarted without anybody else noticing."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.bed.engine import require_tool
from tests.bed.progress import run, wait_until

# Of this process alone: another worker's, or another checkout's, may run beside.
BRIDGE, ADDRESS = f"rc-{os.getpid()}", f"10.213.{os.getpid() % 256}.1/24"
SECONDS = 180


@dataclass
class PrivateEngine:
    """dockerd with folders, socket and bridge of its own; needs root, as the rest of the bed does."""

    folder: Path
    _daemon: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def host(self) -> str:
        """What DOCKER_HOST must say."""
        return f"unix://{self.folder}/s"

    def start(self) -> None:
        """Start it, or start it again; return once it answers."""
        line = self._line()
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        wait_until(self._answers, SECONDS, "an answer of the private engine", (self.folder / "log").read_text)

    def stop(self) -> None:
        """End it, and with it every container."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(SECONDS)
            self._daemon = None

    def restart(self) -> None:
        """As an upgrade of the engine or a restart of the machine does."""
        self.stop()
        self.start()

    def load(self, image: str) -> None:
        """Copy an image from the bed's engine."""
        archive = self.folder / "image.tar"
        run(["docker", "save", "--output", str(archive), image])
        run(["docker", "--host", self.host, "load", "--input", str(archive)])
        archive.unlink()

    def remove(self) -> None:
        """Stop it and take the bridge away."""
        self.stop()
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)

    def client(self) -> docker.DockerClient:
        """A client of it."""
        return docker.DockerClient(base_url=self.host, timeout=120)

    def _line(self) -> list[str]:
        require_tool("ip")
        self._add_bridge()
        return ["dockerd", *self._folders(), f"--bridge={BRIDGE}", "--iptables=false"]

    def _folders(self) -> list[str]:
        return [
            f"--host={self.host}", f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid",
        ]  # fmt: skip

    def _answers(self) -> bool:
        asked = subprocess.run(["docker", "--host", self.host, "version"], capture_output=True, check=False)
        return asked.returncode == 0

    def _add_bridge(self) -> None:
        if not Path(f"/sys/class/net/{BRIDGE}").exists():
            run(["ip", "link", "add", BRIDGE, "type", "bridge"])
            run(["ip", "addr", "add", ADDRESS, "dev", BRIDGE])
            run(["ip", "link", "set", BRIDGE, "up"])


@contextmanager
def private_engine(*images: str) -> Iterator[PrivateEngine]:
    """One that runs, with these images of the bed's engine; it and all it holds are gone after.

    In a short path: a socket's has at most 107 bytes (unix(7)).
    """
    with tempfile.TemporaryDirectory(prefix="rc-engine-", ignore_cleanup_errors=True) as folder:
        engine = PrivateEngine(Path(folder))
        engine.start()
        try:
            for image in images:
                engine.load(image)
            yield engine
        finally:
            engine.remove()
