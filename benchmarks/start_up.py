"""What `rollcall verify` takes more than its queries need, without a Prefect server and with one, in turn.

`python -m benchmarks.start_up [--rounds 7]`. Whole processes, from start to end. *Queries* is what the run's tasks did:
ask the engine, the database, the storage and the history, and judge. *Imports* are Python's, wherever they happen.
*The rest* is the interpreter's start and end, and with a server Prefect's own work: the run's and its tasks' states.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.runs import NAME, backup, configure
from tests.bed import engine
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.bed.prefect_server import prefect_server_in
from tests.bed.progress import ROOT
from tests.bed.serving import clean_environment

TABLES = 20


@dataclass(frozen=True)
class Run:
    """Seconds of one process."""

    total: float
    imports: float
    queries: float
    by_task: Mapping[str, float]

    @property
    def more(self) -> float:
        """What it took more than its queries."""
        return self.total - self.queries

    @property
    def rest(self) -> float:
        """Neither queries nor imports."""
        return self.more - self.imports


def verify(config: Path, environment: Mapping[str, str]) -> Run:
    """Run it. Raise RuntimeError with its last words if the check did not end well."""
    notes = config.parent / "notes.json"
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.noted_verify", NAME, "--config", str(config)],
        cwd=ROOT, env={**environment, "ROLLCALL_NOTES": str(notes)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    total = time.monotonic() - began
    if ran.returncode:
        raise RuntimeError(f"verify ended with {ran.returncode}: {ran.stderr[-2000:]}")
    noted = json.loads(notes.read_text())
    return Run(total, noted["imports"], noted["tasks"], noted["by_task"])


def tell(runs: Mapping[str, list[Run]]) -> None:
    """Medians, in seconds, and the tasks that take longest."""
    load = os.getloadavg()[0]
    print(f"{len(next(iter(runs.values())))} rounds, medians, seconds; load {load:.1f}\n")
    print("| | in all | queries | more | of it imports | the rest |\n|---|---|---|---|---|---|")
    for title, each in runs.items():
        parts = [[run.total, run.queries, run.more, run.imports, run.rest] for run in each]
        print(f"| {title} | " + " | ".join(f"{median(column):.2f}" for column in zip(*parts, strict=True)) + " |")
    print()
    for title, each in runs.items():
        names = {name for run in each for name in run.by_task}
        by_task = {name: median(run.by_task.get(name, 0.0) for run in each) for name in names}
        longest = sorted(by_task, key=lambda name: -by_task[name])[:6]
        print(f"{title}: " + ", ".join(f"{name} {by_task[name]:.2f}" for name in longest))


def main() -> None:
    """Start what is needed, measure in turn, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    bed = Bed(engine.connect())
    servers = PostgresServers(bed)
    try:
        server = servers(version=17)
        for number in range(TABLES):
            server.execute(f"CREATE TABLE table_{number} AS SELECT generate_series(1, 1000) AS id")
        with tempfile.TemporaryDirectory() as folder, prefect_server_in(Path(folder)) as prefect:
            config = configure(Path(folder, "target"), server)
            backup(config)
            ways = {
                "without a server": clean_environment() | {"PREFECT_HOME": folder + "/none"},
                "with a server": prefect.environment,
            }
            runs: dict[str, list[Run]] = {title: [] for title in ways}
            for _ in range(rounds + 1):  # The first of each warms the caches, and Prefect's records of flow and tags.
                for title, environment in ways.items():
                    runs[title].append(verify(config, environment))
            tell({title: each[1:] for title, each in runs.items()})
    finally:
        servers.remove_all()
        bed.remove_all()
        bed.client.close()


if __name__ == "__main__":
    main()
