"""How fast the status API answers for 100 targets, and that it asks none of them: `python -m benchmarks.api_load`.

The server is a process of its own, as in production. Its targets' containers, addresses and storages do not exist; it
notes every connection that it makes, and whether anything was even loaded that could ask an engine, a database or a
storage: there must be nothing of either.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from deployments.status_server import serve_api
from tasks.config import Config, load
from tasks.history import tables
from tasks.history.backups import remember_stored
from tasks.history.records import Observation, StoredBackup
from tasks.history.store import open_history
from tasks.models import Identity

ENDPOINTS = ("/api/system-metrics", "/metrics")
CLIENTS = 8
TABLES = 20
DAYS = 7
EVERY = timedelta(minutes=15)
REACHES_OUT = ("docker", "psycopg", "boto3", "prefect", "flows", "tasks.containers", "tasks.databases", "tasks.storage")
NOWHERE = "192.0.2.1"  # For documentation alone (RFC 5737): no machine has it.


@dataclass(frozen=True)
class Load:
    """What the requests to one endpoint took, in seconds each; size of an answer in bytes."""

    endpoint: str
    seconds: list[float]
    wall: float
    size: int

    def quantile(self, percent: int) -> float:
        """Seconds that `percent` of the requests stayed below."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[percent - 1]


def configure(folder: Path, count: int, **more: str) -> Config:
    """A configuration of `count` targets, none of which is anywhere; `more` are further keys of the file."""
    rule = {"container": "nowhere", "volume": "v", "database": "d", "host": NOWHERE, "storages": ["nowhere"]}
    document = {
        **more,
        "storages": {"nowhere": {"type": "s3", "bucket": "b", "endpoint_url": f"http://{NOWHERE}"}},
        "targets": {f"target{number:03}": rule for number in range(count)},
    }
    (folder / "targets.yaml").write_text(json.dumps(document))
    return load(str(folder / "targets.yaml"))


def fill(config: Config, days: int = DAYS) -> int:
    """A history of `days` days of checks, a quarter of an hour apart, and daily backups. Return how many checks."""
    now = datetime.now(UTC)
    checks = int(timedelta(days=days) / EVERY)
    counts = {f"public.table_{number:02}": 1000 * number + 7 for number in range(TABLES)}
    identity = Identity(
        container="nowhere", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17.2"
    )
    with open_history(config.history) as history:
        for target in config.targets:
            first = Observation(
                target=target, checked_at=now, kind="verify", verdict="healthy", counts=counts, identity=identity,
                accepted=True,
            )  # fmt: skip
            history.record(first)
            row = first.model_dump(exclude={"schema_objects", "id", "checked_at"}, mode="python")
            with history.writing() as connection:
                # Its schema is that of the first one; a check at a time would take minutes.
                schema = connection.execute(tables.schemas.select()).one().hash
                more = [
                    {**row, "id": f"{target}-{number}", "checked_at": now - number * EVERY, "schema_hash": schema}
                    for number in range(1, checks)
                ]
                connection.execute(insert(tables.observations), more)
            backups = [_backup(target, now - timedelta(days=day)) for day in range(days)]
            remember_stored(history, target, backups, complete=True)
    return checks * len(config.targets)


def _backup(target: str, at: datetime) -> StoredBackup:
    return StoredBackup(
        target=target, id=f"{at:%Y%m%d}", created_at=at, quarantined=False,
        stored={"local": 10**9, "offsite": 10**9}, raw_bytes=3 * 10**9, seconds=31.7, proven_at=at,
    )  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """The API of the folder's configuration in another process: its port, and a list that is filled at the end with
    every connection that it made and every module it loaded by which it could have asked somebody."""
    reached: list[str] = []
    command = [sys.executable, "-m", "benchmarks.api_load", "--serve", str(folder)]
    environment = os.environ | {"DOCKER_HOST": f"tcp://{NOWHERE}:2375"}
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    )
    try:
        if process.stdout is None:
            raise RuntimeError("The server has no output to read.")
        port = json.loads(process.stdout.readline())["port"]
        yield port, reached
        rest, _ = process.communicate(timeout=60)
        reached.extend(json.loads(rest)["reached"])
    finally:
        process.kill()
        process.wait()


def serve(folder: Path) -> None:
    """Serve until standard input ends; say on standard output where, and at the end what could have been asked."""
    made: list[str] = []
    sys.addaudithook(lambda event, given: made.append(str(given[1])) if event == "socket.connect" else None)
    settings = load(str(folder / "targets.yaml"))
    api = serve_api(settings.model_copy(update={"api": settings.api.model_copy(update={"port": 0})}))
    print(json.dumps({"port": int(api.url.rpartition(":")[2])}), flush=True)
    sys.stdin.read()
    api.stop()
    print(json.dumps({"reached": [*made, *(name for name in REACHES_OUT if name in sys.modules)]}), flush=True)


def ask(port: int, endpoint: str, requests: int, clients: int = CLIENTS) -> Load:
    """`requests` requests over `clients` connections at once, after one that is not counted: the first answer of a
    process loads what all later ones have. Raise RuntimeError for any answer but 200."""
    sizes = {_client(port, endpoint, 1)[1]}
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answered = list(pool.map(lambda _: _client(port, endpoint, requests // clients), range(clients)))
    wall = time.perf_counter() - started
    sizes.update(size for _, size in answered)
    return Load(endpoint, [each for seconds, _ in answered for each in seconds], wall, max(sizes))


def _client(port: int, endpoint: str, requests: int) -> tuple[list[float], int]:
    """Seconds of each request over one connection, and the size of the last answer."""
    seconds: list[float] = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for _ in range(requests):
            started = time.perf_counter()
            connection.request("GET", endpoint)
            answer = connection.getresponse()
            body = answer.read()
            seconds.append(time.perf_counter() - started)
            if answer.status != 200:
                raise RuntimeError(f"{endpoint} answered {answer.status}: {body[:200]!r}")
    return seconds, len(body)


def measure(targets: int, requests: int, days: int = DAYS) -> tuple[list[Load], list[str], int]:
    """The load of each endpoint, whom the server could have asked, and how many checks its history held."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checks = fill(configure(folder, targets), days)
        with served(folder) as (port, reached):
            loads = [ask(port, endpoint, requests) for endpoint in ENDPOINTS]
    return loads, reached, checks


def main() -> None:
    """Print the figures, or serve for another of these."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1000)
    given: Any = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    loads, reached, checks = measure(given.targets, given.requests)
    print(f"{given.targets} targets of {TABLES} tables, {checks:,} checks, {CLIENTS} clients at once, ms:")
    for load_ in loads:
        rate = len(load_.seconds) / load_.wall
        figures = ", ".join(f"p{percent} {load_.quantile(percent) * 1000:.1f}" for percent in (50, 99))
        print(
            f"{load_.endpoint}: {figures}, max {max(load_.seconds) * 1000:.1f}; {rate:,.0f} a second of "
            f"{load_.size:,} bytes"
        )
    print(f"asked, or loaded to ask with: {', '.join(reached) or 'nothing'}")


if __name__ == "__main__":
    main()
