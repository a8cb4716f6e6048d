"""A target of a test's own, runs of the command line against it, and what must hold after every one of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import docker

from tasks.config import load
from tasks.storage import open_storage
from tasks.storage.catalogue import read_manifest
from tasks.storage.readback import read_back
from tests.bed.postgres import PASSWORD, USER, PostgresServer
from tests.bed.progress import ROOT, wait_until
from tests.bed.s3 import REGION, S3Endpoint
from tests.faults.driver import GO_ON, REACHED

RUN_SECONDS = 240.0  # far more than any takes: for a machine that is busy with other things
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d(\.\d+ \||  )")
SENTENCE = "rollcall: "
HELPER_LABEL = "io.rollcall.helper"


@dataclass
class Outcome:
    """How one run ended. `seconds` is its wall time."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def sentences(self) -> list[str]:
        """What it said besides its log."""
        return [line for line in self.stderr.splitlines() if not LOG_LINE.match(line)]

    @property
    def sentence(self) -> str:
        """The one sentence. Fails if there is another line, or none."""
        assert len(self.sentences) == 1, self.stderr
        assert self.sentences[0].startswith(SENTENCE), self.stderr
        return self.sentences[0]

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def codes(self) -> set[str]:
        """The finding codes in it."""
        return {finding["code"] for finding in self.document["findings"]}

    def failed(self, *words: str) -> Self:
        """Fails unless this is a failure as the contract wants it, in a sentence with all of `words`."""
        assert self.code == 1, (self.code, self.stderr)
        assert "Traceback" not in self.stderr + self.stdout
        assert self.stdout == ""
        missing = [each for each in words if each not in self.sentence]
        assert not missing, (missing, self.sentence)
        return self

    def went_well(self, code: int = 0) -> Self:
        """Fails unless it ended with `code` and a document, and complained of nothing."""
        assert self.code == code, (self.code, self.stderr)
        assert "Traceback" not in self.stderr, self.stderr
        assert self.sentences == [], self.stderr
        assert self.document
        return self


class Runs:
    """The driver: it forks a process for every run."""

    def __init__(self) -> None:
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """What the driver answers."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(request) + "\n")
        self._driver.stdin.flush()
        return json.loads(self._driver.stdout.readline())

    def stop(self) -> None:
        """End the driver."""
        self._driver.communicate()


@dataclass
class Process:
    """A run that goes on beside the test; it tells its exit code (minus the signal) once."""

    pid: int
    poll: Callable[[], int | None]
    folder: Path
    output: Path
    started: float = field(default_factory=time.monotonic)

    def at_the_point(self) -> Self:
        """Return once the driver has paused. Fails if the run ends before."""
        code = None
        given_up = time.monotonic() + RUN_SECONDS
        while not (self.folder / REACHED).exists():
            code = self.poll()
            assert code is None, self.ended_with(code or 0)
            assert time.monotonic() < given_up, "the point was not reached"
            time.sleep(0.01)
        return self

    def go_on(self) -> Outcome:
        """Let it go on and return how it ended."""
        (self.folder / GO_ON).touch()
        return self.ended()

    def ended(self) -> Outcome:
        """Wait for the end; a run that takes too long is killed, and the test fails."""
        given_up = time.monotonic() + RUN_SECONDS
        while (code := self.poll()) is None:
            if time.monotonic() > given_up:
                os.kill(self.pid, signal.SIGUSR1)  # The driver makes it say where it hangs.
                time.sleep(1)
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"No end after {RUN_SECONDS:g} s: {self.ended_with(-9)}")
            time.sleep(0.01)
        for mark in (REACHED, GO_ON):
            (self.folder / mark).unlink(missing_ok=True)
        return self.ended_with(code)

    def ended_with(self, code: int) -> Outcome:
        """How it ended, of one that has."""
        seconds = time.monotonic() - self.started
        stdout, stderr = ((self.output / name).read_text() for name in ("stdout", "stderr"))
        return Outcome(code, stdout, stderr, seconds)


@dataclass
class Victim:
    """One target: its configuration as a document to be changed, its folder and its environment."""

    name: str
    folder: Path
    server: PostgresServer
    engine: docker.DockerClient
    document: dict[str, Any]
    environment: dict[str, str]
    runs: Runs

    @property
    def target(self) -> dict[str, Any]:
        """The target's section."""
        section: dict[str, Any] = self.document["targets"][self.name]
        return section

    @property
    def config(self) -> Path:
        """Where the configuration is written."""
        return self.folder / "targets.yaml"

    def backup(self, **options: Any) -> Outcome:
        """`rollcall backup`, as a process of its own."""
        return self.start("backup", self.name, "--json", **options).ended()

    def verify(self, **options: Any) -> Outcome:
        """`rollcall verify`, as a process of its own."""
        return self.start("verify", self.name, "--json", **options).ended()

    def start(
        self,
        *command: str,
        at: str | None = "nowhere",
        action: str = "kill",
        environment: Mapping[str, str | None] | None = None,
        text: str | None = None,
    ) -> Process:
        """Start a command; `at`: where the driver strikes, None for the plain command line with its real waits."""
        self.config.write_text(json.dumps(self.document) if text is None else text)
        given = {**os.environ, **self.environment, **(environment or {})}
        known = {name: value for name, value in given.items() if value is not None}
        output = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        arguments = [*command, "--config", str(self.config)]
        if at is None:
            return self._plainly(arguments, known, output)
        files = {name: str(output / name) for name in ("stdout", "stderr")}
        request = {"command": arguments, "environment": known, "at": at, "action": action, **files}
        pid = self.runs.ask(request)
        return Process(pid, lambda: self.runs.ask({"pid": pid}), self.folder, output)

    def _plainly(self, arguments: list[str], environment: dict[str, str], output: Path) -> Process:
        with (output / "stdout").open("w") as stdout, (output / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                env=environment,
            )
        return Process(process.pid, process.poll, self.folder, output)

    def add_local(self, name: str, path: Path | None = None) -> Path:
        """One more folder that every backup goes to; return it."""
        folder = path or self.folder / name
        self.document["storages"][name] = {"type": "local", "path": str(folder)}
        self.target["storages"].append(name)
        return folder

    def add_s3(self, name: str, endpoint: S3Endpoint, bucket: str, url: str | None = None, **options: Any) -> None:
        """One more bucket that every backup goes to, reached at `url` if given."""
        self.document["storages"][name] = {
            "type": "s3",
            "bucket": bucket,
            "prefix": "prod",
            "region": REGION,
            "endpoint_url": url or endpoint.endpoint_url,
            "access_key_id": {"env": "FAULTS_S3_KEY"},
            "secret_access_key": {"env": "FAULTS_S3_SECRET"},
            "part_size": 5,
            **options,
        }
        self.target["storages"].append(name)
        self.environment |= {"FAULTS_S3_KEY": endpoint.access_key, "FAULTS_S3_SECRET": endpoint.secret_key}

    def listed(self) -> dict[str, Any]:
        """What `rollcall backups --json` prints."""
        return self.start("backups", self.name, "--json").ended().went_well().document

    def is_whole(self) -> list[str]:
        """The ids of the backups listed, once every object of each is read and hashed; nothing may be damaged."""
        listed = self.listed()
        assert listed["damaged"] == []
        config = load(str(self.config))
        for entry in listed["backups"]:
            for name in entry["storages"]:
                storage = self._storage(config, name)
                manifest = read_manifest(storage, self.name, entry["id"])
                own = [each for each in manifest.objects if each.storage == name]
                assert {each.role for each in own} >= {"dump", "config"}
                for each in own:
                    read_back(storage, each.key, size=each.bytes, sha256=each.sha256)
        return [entry["id"] for entry in listed["backups"]]

    def _storage(self, config: Any, name: str) -> Any:
        previous = {key: os.environ.get(key) for key in self.environment}
        os.environ.update(self.environment)
        try:
            return open_storage(name, config.storages[name])
        finally:
            for key, value in previous.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})

    def leaves_no_process(self) -> None:
        """No program, no session, no helper container of this target is left, at the latest after a while."""
        wait_until(lambda: not self._left(), 120, "the end of all helpers", lambda: str(self._left()))

    def _left(self) -> list[str]:
        return self.helpers() + self.dumps()

    def helpers(self) -> list[str]:
        """The ids of this target's helper containers. Their label goes on after its name: with the state folder's."""
        found = self.engine.api.containers(all=True, filters={"label": HELPER_LABEL})
        return [each["Id"] for each in found if each["Labels"][HELPER_LABEL].startswith(f"{self.name}-")]

    def dumps(self) -> list[str]:
        """The command lines of the programs that dump this target's database."""
        return [line for line in command_lines() if self.server.database in line and "pg_dump" in line]

    def leaves_nothing_stored(self) -> None:
        """A run that failed in an orderly way leaves no file that is of no backup, and no folder of its own."""
        ids = set(self.is_whole())
        assert [path for path in self._files() if not ids & set(path.parts)] == []
        assert list((self.folder / "tmp").iterdir()) == []

    def _files(self) -> list[Path]:
        sections = self.document["storages"].values()
        folders = [Path(each["path"]) for each in sections if each["type"] == "local"]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def command_lines() -> list[str]:
    """The command line of every process of this machine, those in containers too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def make_victim(name: str, folder: Path, server: PostgresServer, engine: docker.DockerClient, runs: Runs) -> Victim:
    """A target on `server`'s database alone, backed up to one folder."""
    (folder / "tmp").mkdir()
    target = {
        "container": server.container,
        "volume": server.volume,
        "database": server.database,
        "databases": [server.database],
        "user": USER,
        "password": {"env": "FAULTS_PASSWORD"},
        "roles": False,
        "storages": ["near"],
    }
    document = {"storages": {"near": {"type": "local", "path": str(folder / "near")}}, "targets": {name: target}}
    environment = {
        "FAULTS_PASSWORD": PASSWORD,
        "FAULTS_FOLDER": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    return Victim(name, folder, server, engine, document, environment, runs)
