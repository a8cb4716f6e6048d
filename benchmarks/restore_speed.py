"""Restores against doing it by hand, in turn: `python -m benchmarks.restore_speed [--megabytes 1000] [--rounds 3]`.

By hand is what the incident's team would have done: `docker stop`, `docker rm`, `docker volume rm`, `docker volume
create`, `docker run`, `psql < dump.sql`. Rollcall's is `restore-volume --backup latest --yes`, which first backs up
what is there, rebuilds the backup beside it, proves it row by row, and keeps what was there. Each has a server of its
own with the same rows, damaged before every round.

Seen from outside, by whoever connects every 20 ms: the *downtime* is from the last query that was answered before the
stop to the first one after it that finds the last row again. By hand, queries are answered while most rows are still
missing; that moment is told too. A ratio is by hand's seconds by Rollcall's in the same round; what is told is their
median, for a machine that does other things too slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import psycopg
from docker.errors import APIError

from benchmarks.backup_speed import fill
from benchmarks.runs import NAME, backup, configure
from tests.bed import engine, images
from tests.bed.labels import Bed
from tests.bed.postgres import PORT, PostgresServer, PostgresServers
from tests.bed.progress import ROOT, wait_until

VERSION = 15
POLL_SECONDS = 0.02
READY_SECONDS = 0.1
# The last table of a plain dump: when its row is there, so are those of all others.
LAST = ("CREATE TABLE zz_last AS SELECT 1 AS row",)
EXPERTS, NODES = 85, 26_337


@dataclass(frozen=True)
class Restored:
    """Seconds from outside: of the whole command, without every row, and without any answer."""

    total: float
    downtime: float
    silence: float
    said: dict[str, Any] = field(default_factory=dict)


class Poller:
    """Connects every 20 ms while the context is open, asks for the last table's row, and notes when it was there."""

    def __init__(self, server: PostgresServer, port: int) -> None:
        self._server, self._port = server, port
        self._seen: list[tuple[float, bool, bool]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller")

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: any(whole for _, _, whole in self._seen), 10, "the poller's first answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            time.sleep(10 * POLL_SECONDS)
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            moment = time.monotonic()
            answered, whole = self._ask()
            self._seen.append((time.monotonic() if answered else moment, answered, whole))

    def _ask(self) -> tuple[bool, bool]:
        """Whether a query was answered, and whether the row was there."""
        try:
            with self._server.connect(host="127.0.0.1", port=self._port, connect_timeout=2) as connection:
                try:
                    return True, connection.execute("SELECT FROM zz_last").fetchone() is not None
                except psycopg.errors.UndefinedTable:
                    return True, False
        except psycopg.OperationalError:
            return False, False

    def gap(self, *, whole: bool) -> float:
        """Seconds from the last good answer before the stop to the first after it."""
        good = [(moment, row if whole else answered) for moment, answered, row in self._seen]
        first_bad = next((index for index, (_, well) in enumerate(good) if not well), None)
        if not first_bad:
            raise RuntimeError("The poller saw no stop, or no answer before it.")
        last_bad = max(index for index, (_, well) in enumerate(good) if not well)
        if last_bad + 1 == len(good):
            raise RuntimeError("The poller saw no answer after the stop.")
        return good[last_bad + 1][0] - good[first_bad - 1][0]


@dataclass
class Site:
    """A server behind a port of this machine, and how its rows are brought back after they were damaged."""

    bed: Bed
    server: PostgresServer
    port: int
    folder: Path
    damage: str

    def measured(self, restore: Callable[[], dict[str, Any]]) -> Restored:
        """Damage, restore, look from outside. Raise RuntimeError if anything fails, or a row is missing afterwards."""
        self._execute(self.damage)
        with Poller(self.server, self.port) as poller:
            started = time.monotonic()
            said = restore()
            total = time.monotonic() - started
        self._check()
        return Restored(total, poller.gap(whole=True), poller.gap(whole=False), said)

    def dump(self) -> None:
        """The plain dump that by hand restores from."""
        line = ["docker", "exec", self.server.container, "pg_dump", "-U", self.server.user, self.server.database]
        with self._dump.open("wb") as file:
            subprocess.run(line, stdout=file, check=True)

    def by_hand(self) -> dict[str, Any]:
        """The commands one after the other, without a pause to think or to look for the dump."""
        name, volume = self.server.container, self.server.volume
        for line in (["stop", name], ["rm", name], ["volume", "rm", volume]):
            _docker(*line)
        _docker("volume", "create", *_labels(self.bed), volume)
        _docker("run", "-d", "--name", name, *_labels(self.bed), *self._options(), images.tag(VERSION))
        while not self._is_ready():
            time.sleep(READY_SECONDS)
        line = ["docker", "exec", "-i", name, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", self.server.user]
        with self._dump.open("rb") as file:
            subprocess.run([*line, self.server.database], stdin=file, stdout=subprocess.DEVNULL, check=True)
        return {}

    @property
    def _dump(self) -> Path:
        return self.folder / "dump.sql"

    def _options(self) -> list[str]:
        settings = {"USER": self.server.user, "PASSWORD": self.server.password, "DB": self.server.database}
        environment = [part for name, value in settings.items() for part in ("-e", f"POSTGRES_{name}={value}")]
        place = f"{self.server.volume}:{images.RECIPES[VERSION].volume}"
        return [*environment, "-v", place, "-p", f"127.0.0.1:{self.port}:{PORT}", "--shm-size", "128m"]

    def _is_ready(self) -> bool:
        """Over TCP, which the server of the first start has not."""
        line = ["docker", "exec", self.server.container, "pg_isready", "-q", "-h", "127.0.0.1"]
        return subprocess.run(line, check=False, capture_output=True).returncode == 0

    def by_rollcall(self) -> dict[str, Any]:
        """`rollcall restore-volume`. Raise RuntimeError with its last words if it fails."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        line = ["restore-volume", NAME, "--backup", "latest", "--yes", "--json", "--config", str(self._config)]
        done = subprocess.run(
            [sys.executable, "-m", "deployments", *line],
            cwd=ROOT,
            env=env | {"PREFECT_HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"The restore ended with {done.returncode}: {done.stderr[-2000:]}")
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def back_up(self) -> None:
        """Write the configuration and take the backup that Rollcall restores from."""
        backup(configure(self.folder, self.server, databases=None, retention={"last": 20}))

    @property
    def _config(self) -> Path:
        return self.folder / "targets.yaml"

    def forget_kept(self) -> None:
        """Remove what Rollcall kept, for the disk's sake: no user can do this before its time."""
        for volume in self.bed.client.volumes.list(filters={"label": f"io.rollcall.target={NAME}"}):
            if volume.name != self.server.volume and self.server.volume in str(volume.name):
                with suppress(APIError):
                    volume.remove()

    def _execute(self, statement: str) -> None:
        with self.server.connect(host="127.0.0.1", port=self.port, autocommit=True) as connection:
            connection.execute(statement.encode())

    def count(self) -> None:
        """Note how many rows each table must have."""
        self.rows = self._counts()

    def _check(self) -> None:
        if (found := self._counts()) != self.rows:
            raise RuntimeError(f"Restored were {found} instead of {self.rows}")

    def _counts(self) -> dict[str, int]:
        with self.server.connect(host="127.0.0.1", port=self.port) as connection:
            names = connection.execute("SELECT relname FROM pg_stat_user_tables ORDER BY relname").fetchall()
            queries = {name: f'SELECT count(*) FROM "{name}"'.encode() for (name,) in names}  # noqa: S608 - our own names
            rows = {name: connection.execute(query).fetchone() for name, query in queries.items()}
        return {name: row[0] if row else 0 for name, row in rows.items()}


def _docker(*arguments: str) -> None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} ended with {done.returncode}: {done.stderr}")


def _labels(bed: Bed) -> list[str]:
    return [part for name, value in bed.labels.items() for part in ("--label", f"{name}={value}")]


def incident(server: PostgresServer) -> None:
    """The incident's two tables."""
    server.execute(
        "CREATE TABLE experts (id int PRIMARY KEY, name text)",
        "CREATE TABLE knowledge_nodes (id int PRIMARY KEY, body text)",
    )
    with server.connect() as connection:
        connection.execute("INSERT INTO experts SELECT n, 'expert ' || n FROM generate_series(1, %s) n", [EXPERTS])
        connection.execute(
            "INSERT INTO knowledge_nodes SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, %s) n", [NODES]
        )


def site(bed: Bed, servers: PostgresServers, folder: Path, make: Callable[[PostgresServer], None], damage: str) -> Site:
    """A server of its own with the rows made."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    folder.mkdir(parents=True)
    made = Site(bed, servers(version=VERSION, publish=port), port, folder, damage)
    make(made.server)
    made.server.execute(*LAST, "VACUUM ANALYZE")
    made.count()
    return made


Rows = tuple[Callable[[PostgresServer], None], str]


def compare(bed: Bed, servers: PostgresServers, folder: Path, title: str, rounds: int, rows: Rows) -> None:
    """Print every round, then the medians."""
    hand, ours = (site(bed, servers, folder / title / each, *rows) for each in ("hand", "rollcall"))
    hand.dump()
    ours.back_up()
    size = ours.server.value("SELECT pg_database_size(current_database())")
    print(f"## {title}: {size / 1e6:.0f} MB, a plain dump of {hand._dump.stat().st_size / 1e6:.0f} MB", flush=True)
    by_hand, by_rollcall = list[Restored](), list[Restored]()
    try:
        for number in range(1, rounds + 1):
            by_hand.append(hand.measured(hand.by_hand))
            by_rollcall.append(ours.measured(ours.by_rollcall))
            ours.forget_kept()
            print(f"round {number}: {_round(by_hand[-1], by_rollcall[-1])}", flush=True)
    finally:
        ours.forget_kept()
    _tell(by_hand, by_rollcall)


def _round(hand: Restored, ours: Restored) -> str:
    return (
        f"downtime by hand {hand.downtime:.2f} s (first answer after {hand.silence:.2f} s), Rollcall "
        f"{ours.downtime:.2f} s; total by hand {hand.total:.2f} s, Rollcall {ours.total:.2f} s "
        f"(says {ours.said.get('downtime_seconds')} and {ours.said.get('total_seconds')})"
    )


def _tell(hand: Sequence[Restored], ours: Sequence[Restored]) -> None:
    _medians("downtime", [each.downtime for each in hand], [each.downtime for each in ours])
    _medians("total", [each.total for each in hand], [each.total for each in ours])
    timings = [each.said.get("timings", {}) for each in ours]
    steps = {name: median(each.get(name, 0.0) for each in timings) for name in timings[0]}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in steps.items())
    print("Rollcall's steps:", told or "not told", flush=True)


def _medians(name: str, hand: list[float], ours: list[float]) -> None:
    ratio = median(one / other for one, other in zip(hand, ours, strict=True))
    print(f"median {name}: by hand {median(hand):.2f} s, Rollcall {median(ours):.2f} s, ratio {ratio:.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large database; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3, help="of the large database; the small one gets 5")
    options = parser.parse_args()
    bed = Bed(engine.connect(timeout=120))
    servers = PostgresServers(bed)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            compare(bed, servers, folder, "incident", 5, (incident, "DROP TABLE experts"))
            servers.remove_all()
            if options.megabytes:
                rows = (lambda server: fill(server, options.megabytes), "DROP TABLE documents")
                compare(bed, servers, folder, "large", options.rounds, rows)
    finally:
        servers.remove_all()
        bed.remove_all()


if __name__ == "__main__":
    main()
