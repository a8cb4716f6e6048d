"""A Docker engine on another machine, as far as one machine can have two: network and host name of its own.

Its containers have the addresses that containers of this machine have, too, so whoever takes one for the other is found
out. It is reached by TLS, and by ssh through a real sshd with keys made here; the user's own ssh files are not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.bed.certificates import Authority, Signed
from tests.bed.engine import require_tool
from tests.bed.progress import end, run, wait_until

# Of this process alone: another checkout's tests may run beside.
NAMESPACE, LINK = f"rollcall-far-{os.getpid()}", f"far-{os.getpid()}"
NETWORK = f"10.214.{os.getpid() % 256}"
HERE, ADDRESS = f"{NETWORK}.1", f"{NETWORK}.2"
BRIDGE = "172.17.0.1/16"
"""What this machine's engine calls its own network, too."""
TLS_PORT, SSH_PORT = 2376, 2222
SECONDS = 180


@contextmanager
def remote_engine() -> Iterator[RemoteEngine]:
    """One that runs; it and all it holds are gone after. In a short path: a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rc-far-", ignore_cleanup_errors=True) as folder:
        remote = RemoteEngine(Path(folder))
        try:
            remote.start()
            yield remote
        finally:
            remote.remove()


@dataclass
class RemoteEngine:
    """dockerd and sshd in a network namespace; needs root, as the rest of the bed does."""

    folder: Path
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Return once the engine answers, and sshd listens."""
        require_tool("ip")
        require_tool("sshd")
        self.remove()
        self._add_network()
        self.authority = Authority(self.folder / "tls", "authority")
        self.client_files = self.authority.client("client")
        self._start_engine(self.authority.server("server", ADDRESS))
        self._start_sshd()

    @property
    def url(self) -> str:
        """Its address by TLS."""
        return f"tcp://{ADDRESS}:{TLS_PORT}"

    @property
    def past(self) -> str:
        """Its address past TLS and ssh, for what a test sets up there."""
        return f"unix://{self.folder}/s"

    @property
    def by_tls(self) -> dict[str, str]:
        """What the configuration says to reach it by TLS."""
        return {
            "host": self.url,
            "tls_ca": str(self.authority.file),
            "tls_cert": str(self.client_files.certificate),
            "tls_key": str(self.client_files.key),
        }

    @property
    def by_ssh(self) -> dict[str, str]:
        """What the configuration says to reach it by ssh, once `ssh_first` is first on the path."""
        return {"host": "ssh://far"}

    @property
    def ssh_first(self) -> str:
        """PATH, with an ssh that reads the test's own configuration; it and what it does are OpenSSH's."""
        return f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}"

    def client(self) -> docker.DockerClient:
        """A client of it, past TLS and ssh."""
        return docker.DockerClient(base_url=self.past, timeout=120)

    def load(self, image: str) -> None:
        """Copy an image from the bed's engine."""
        archive = self.folder / "image.tar"
        run(["docker", "save", "--output", str(archive), image])
        run(["docker", "--host", self.past, "load", "--input", str(archive)])
        archive.unlink()

    def forget_host_key(self) -> None:
        """As on a machine that never connected before."""
        (self.folder / "known_hosts").write_text("")

    def know_host_key(self, key: Path | None = None) -> None:
        """As after the first connection; `key`: another machine's."""
        public = (key or self.folder / "host_key").with_suffix(".pub").read_text()
        (self.folder / "known_hosts").write_text(f"[{ADDRESS}]:{SSH_PORT} {public}")

    def make_key(self, name: str) -> Path:
        """A key pair; its private half."""
        path = self.folder / name
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)])
        return path

    def stop(self) -> None:
        """End it, and with it every container."""
        while self._processes:
            end(self._processes.pop(), SECONDS)

    def remove(self) -> None:
        """Stop it and take its network away."""
        self.stop()
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)

    def _add_network(self) -> None:
        run(["ip", "netns", "add", NAMESPACE])
        run(["ip", "link", "add", LINK, "type", "veth", "peer", "name", "far", "netns", NAMESPACE])
        run(["ip", "address", "add", f"{HERE}/30", "dev", LINK])
        run(["ip", "link", "set", LINK, "up"])
        there = ["ip", "-n", NAMESPACE]
        run([*there, "link", "set", "lo", "up"])
        run([*there, "address", "add", f"{ADDRESS}/30", "dev", "far"])
        run([*there, "link", "set", "far", "up"])
        run([*there, "link", "add", "bridge0", "type", "bridge"])
        run([*there, "address", "add", BRIDGE, "dev", "bridge0"])
        run([*there, "link", "set", "bridge0", "up"])

    def _start_engine(self, server: Signed) -> None:
        self._start(
            "unshare", "--uts", "sh", "-c", 'hostname far && exec "$@"', "sh",
            "dockerd", f"--host={self.past}", f"--host={self.url}", "--tlsverify",
            f"--tlscacert={self.authority.file}", f"--tlscert={server.certificate}", f"--tlskey={server.key}",
            f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid",
            "--bridge=bridge0", "--iptables=false",
        )  # fmt: skip
        wait_until(self._answers, SECONDS, "an answer of the remote engine", (self.folder / "log").read_text)

    def _answers(self) -> bool:
        asked = ["docker", "--host", self.past, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _start_sshd(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.make_key("host_key")
        allowed = self.make_key("user_key").with_suffix(".pub")
        (self.folder / "sshd_config").write_text(
            f"Port {SSH_PORT}\nListenAddress {ADDRESS}\nHostKey {self.folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {allowed}\nStrictModes no\nPermitRootLogin prohibit-password\n"
            f"PasswordAuthentication no\nSetEnv DOCKER_HOST={self.past} PATH={os.environ['PATH']}\n"
        )
        (self.folder / "ssh_config").write_text(
            f"Host far\n  HostName {ADDRESS}\n  Port {SSH_PORT}\n  User root\n  IdentityFile {self.folder}/user_key\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )
        self.know_host_key()
        program = self.folder / "bin/ssh"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/ssh_config "$@"\n')
        program.chmod(0o755)
        self._start(shutil.which("sshd") or "sshd", "-D", "-e", "-f", f"{self.folder}/sshd_config")
        asked = [str(program), "far", "true"]
        wait_until(
            lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0,
            SECONDS, "an answer of sshd", (self.folder / "log").read_text,
        )  # fmt: skip

    def _start(self, *command: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    ["nsenter", f"--net=/run/netns/{NAMESPACE}", *command],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                )
            )  # fmt: skip
