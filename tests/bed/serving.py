"""`rollcall serve` as a process of its own, and its Prefect API."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.engine import require_tool
from tests.bed.ports import free_port
from tests.bed.progress import BedError, wait_until

BIN = Path(sys.executable).parent
START_SECONDS = 400  # on a busy machine; on an idle one it takes 20
STOP_SECONDS = 120
RUN_SECONDS = 400
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def own_ports(**serve: Any) -> dict[str, dict[str, Any]]:
    """The sections of a configuration by which what it serves is in nobody's way."""
    return {"serve": {"port": free_port()} | serve, "api": {"port": free_port()}}


def clean_environment() -> dict[str, str]:
    """Ours, without what Prefect and Rollcall would read from it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROLLCALL_"))}


@dataclass
class Served:
    """A `rollcall serve` that says that everything runs."""

    process: subprocess.Popen[bytes]
    said: dict[str, Any]
    log: Path

    def ask(self, path: str, **body: Any) -> Any:
        """The answer of Prefect's API: a POST where there is a body or the path is a filter."""
        return ask(self.said["api"], path, **body)

    def deployment(self, flow: str, target: str) -> dict[str, Any]:
        """The deployment as Prefect has it."""
        found: dict[str, Any] = self.ask(f"deployments/name/{flow}/{target}")
        return found

    def run(self, flow: str, target: str, /, **parameters: Any) -> dict[str, Any]:
        """Start a run through the API and wait for its end; return it."""
        made = self.ask(f"deployments/{self.deployment(flow, target)['id']}/create_flow_run", parameters=parameters)
        return self.end_of(made["id"])

    def end_of(self, run: str) -> dict[str, Any]:
        """The flow run, once it is over."""
        return end_of(self.said["api"], run, self.log)

    def runs(self, flow: str, target: str) -> list[dict[str, Any]]:
        """All of the deployment's runs, by the time they are due."""
        which = {"deployments": {"id": {"any_": [self.deployment(flow, target)["id"]]}}}
        found: list[dict[str, Any]] = []
        while page := self.ask(
            "flow_runs/filter", **which, sort="EXPECTED_START_TIME_ASC", limit=200, offset=len(found)
        ):
            found += page
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def ask(api: str, path: str, **body: Any) -> Any:
    """As Served.ask, of any Prefect API. Asks again where its SQLite was busy, as Prefect's own clients do."""
    posted = bool(body) or path.endswith(
        ("filter", "count", "create_flow_run", "set_state", "pause_deployment", "resume")
    )
    data = json.dumps(body).encode() if posted else None
    request = urllib.request.Request(f"{api}/{path}", data, {"Content-Type": "application/json"})
    for _ in range(10):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            error.close()
            time.sleep(1)
    raise BedError(f"Prefect is busy for too long: {path}")


def end_of(api: str, run: str, log: Path) -> dict[str, Any]:
    """The flow run, once it is over."""
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(ask(api, f"flow_runs/{run}"))
        return found["state"]["type"] in OVER

    wait_until(over, RUN_SECONDS, "the end of a flow run", lambda: f"{found.get('state')}\n{log.read_text()}")
    return found


@contextmanager
def served(file: Path, env: dict[str, str] | None = None) -> Iterator[Served]:
    """Start `rollcall serve --config FILE` and wait until it says that everything runs; ended with the block.

    It is started in a folder of its own, in which it and its runs must leave nothing.
    """
    log, out = file.parent / "serve.log", file.parent / "serve.out"
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    with log.open("a") as errors, out.open("w") as output:
        process = subprocess.Popen(
            [BIN / "rollcall", "serve", "--json", "--config", str(file)],
            env=clean_environment() | {"PREFECT_HOME": str(file.parent / "no-home")} | (env or {}),
            cwd=elsewhere,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # so that a test can press Ctrl-C on the whole group
        )
    try:
        yield Served(process, _said(process, out, log), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    assert list(elsewhere.iterdir()) == []


def _said(process: subprocess.Popen[bytes], out: Path, log: Path) -> dict[str, Any]:
    def complete() -> bool:
        return out.read_text().endswith("\n") or process.poll() is not None

    wait_until(complete, START_SECONDS, "rollcall serve to say that it runs", log.read_text)
    if process.poll() is not None:
        raise BedError(f"rollcall serve ended with {process.poll()}: {log.read_text()}")
    document: dict[str, Any] = json.loads(out.read_text())
    return document


def children_of(parent: int, word: str) -> list[int]:
    """The processes that `parent` started and whose command line has `word` in it."""
    require_tool("ps")
    listed = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid=,args="], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if word in line]
