"""A real Prometheus and its promtool, from Debian's package; unpacked, not installed, so that no service starts."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bed.ports import free_port
from tests.bed.progress import STATE, BedError, end, run, step, wait_until

PACKAGE = "prometheus"
READY_SECONDS = 180
STOP_SECONDS = 10


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is; fetched once where the machine has none. Raise BedError."""
    if found := shutil.which(name):
        return found
    unpacked = STATE / PACKAGE
    if not unpacked.exists():
        with step("Prometheus from Debian's package"):
            _fetch(unpacked)
    return str(unpacked / "usr" / "bin" / name)


def _fetch(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise BedError("There is no Prometheus here and no Debian to take one from; install prometheus and promtool.")
    STATE.mkdir(exist_ok=True)
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE]
    with tempfile.TemporaryDirectory(dir=STATE) as work:
        here = subprocess.run(download, cwd=work, capture_output=True, check=False)
        if here.returncode and os.geteuid() == 0:  # The lists may be old, or none.
            run(["apt-get", "-o", "DPkg::Lock::Timeout=120", "update"])
            here = subprocess.run(download, cwd=work, capture_output=True, check=False)
        if here.returncode:
            raise BedError(f"apt-get does not give the package {PACKAGE}: {here.stderr.decode()[-300:]}")
        (packed,) = Path(work).glob("*.deb")
        run(["dpkg-deb", "-x", str(packed), f"{work}/unpacked"])
        Path(work, "unpacked").rename(folder)


@dataclass
class Prometheus:
    """A Prometheus process that scrapes one address every second and judges by one file of rules.

    As a context: ready inside, ended after. `folder` keeps its data.
    """

    folder: Path
    scraped: str
    rules: Path
    job: str = "rollcall"
    token: str | None = None
    url: str = field(default="", init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        command = [
            program("prometheus"), f"--config.file={self._configuration()}", f"--web.listen-address={address}",
            f"--storage.tsdb.path={self.folder / 'data'}",
        ]  # fmt: skip
        with (self.folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        try:
            wait_until(self._is_ready, READY_SECONDS, "Prometheus being ready", self._log_tail)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API. Raise BedError with its own words where it refuses."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as got:
                return json.load(got)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise BedError(f"{query or path}: {json.load(error)['error']}") from error

    def _configuration(self) -> Path:
        scheme, _, address = self.scraped.partition("://")
        job: dict[str, Any] = {"job_name": self.job, "scheme": scheme, "static_configs": [{"targets": [address]}]}
        if self.token:
            job["authorization"] = {"credentials": self.token}
        every_second = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        document = {"global": every_second, "rule_files": [str(self.rules)], "scrape_configs": [job]}
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(document))  # JSON is YAML.
        return file

    def _is_ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise BedError(f"Prometheus ended with {self.process.returncode}. {self._log_tail()}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def _stop(self) -> None:
        if self.process is not None:
            end(self.process, STOP_SECONDS)

    def _log_tail(self) -> str:
        lines = (self.folder / "prometheus.log").read_text(errors="replace").splitlines()
        return "End of its log: " + " | ".join(lines[-5:])
