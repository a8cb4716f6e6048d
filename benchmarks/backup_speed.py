"""Whole backups against the usual script, in turn: `python -m benchmarks.backup_speed [--megabytes 1000] [--rounds 3]`.

The usual script is `docker exec CONTAINER pg_dump DATABASE | gzip > FILE`: one database, nothing counted, nothing read
back. A ratio is the script's seconds by Rollcall's in the same round; what is told is their median, for a machine that
does other things too slows both.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.runs import Run, backup, configure
from tests.bed import engine
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers, create_database

FLOATS = 384  # in an array, as in an embedding
ROWS_PER_MEGABYTE = 230  # of floats: 8 bytes each, and a page holds two rows
LEVELS = (1, 3, 6)


def fill(server: PostgresServer, megabytes: int) -> None:
    """Nine tenths arrays of floats, one tenth sentences of random words."""
    rows = megabytes * ROWS_PER_MEGABYTE
    server.execute(
        "CREATE TABLE embeddings (id int, vector float8[])",
        "ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTERNAL",
        "CREATE TABLE documents (id int, body text)",
    )
    with server.connect() as connection:
        connection.execute(
            "INSERT INTO embeddings SELECT n, (SELECT array_agg(random()) FROM generate_series(1, %s) WHERE n > 0) "
            "FROM generate_series(1, %s) n",
            [FLOATS, rows],
        )
        connection.execute(
            "INSERT INTO documents SELECT n, (SELECT string_agg('word' || (random() ^ 3 * 5000)::int, ' ') "
            "FROM generate_series(1, 60) WHERE n > 0) FROM generate_series(1, %s) n",
            [rows],
        )


def by_script(server: PostgresServer, into: Path) -> float:
    """Seconds of the usual script. Raise RuntimeError if either program fails."""
    started = time.monotonic()
    dump = ["docker", "exec", server.container, "pg_dump", "-U", server.user, server.database]
    with into.open("wb") as file, subprocess.Popen(dump, stdout=subprocess.PIPE) as first:
        zipped = subprocess.run(["gzip"], stdin=first.stdout, stdout=file, check=False)
    if first.returncode or zipped.returncode:
        raise RuntimeError(f"pg_dump ended with {first.returncode}, gzip with {zipped.returncode}")
    return time.monotonic() - started


def compare(server: PostgresServer, rounds: int, folder: Path, title: str) -> None:
    """Print every round, then the medians and where the last backup's time went."""
    config, ratios = configure(folder / title, server, roles=False), list[float]()
    script, ours = list[float](), list[Run]()
    print(f"## {title}: {server.value('SELECT pg_database_size(current_database())') / 1e6:.0f} MB", flush=True)
    for each in range(rounds):
        script.append(by_script(server, folder / "dump.gz"))
        ours.append(backup(config))
        ratios.append(script[-1] / ours[-1].seconds)
        print(
            f"round {each + 1}: script {script[-1]:.2f} s, Rollcall {ours[-1].seconds:.2f} s, {ratios[-1]:.2f}",
            flush=True,
        )
    size = (folder / "dump.gz").stat().st_size
    seconds = median(run.seconds for run in ours)
    print(f"medians: script {median(script):.2f} s, Rollcall {seconds:.2f} s, ratio {median(ratios):.2f}")
    print(f"stored: script {size / 1e6:.1f} MB, Rollcall {ours[-1].stored / 1e6:.1f} MB of {ours[-1].raw / 1e6:.1f}")
    print("time:", steps(ours), flush=True)


def steps(runs: Sequence[Run]) -> str:
    """Median seconds by step of the manifest; the rest is the program's start, judging, filing and rotation."""
    known = {name: median(run.manifest["timings"][name] for run in runs) for name in runs[0].manifest["timings"]}
    rest = median(run.seconds - sum(run.manifest["timings"].values()) for run in runs)
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in (known | {"rest": rest}).items())


def levels(server: PostgresServer, folder: Path) -> None:
    """Print seconds and size by level of compression, one backup each."""
    for level in LEVELS:
        run = backup(configure(folder / f"level{level}", server, roles=False, compression_level=level))
        took = run.manifest["timings"][f"take {server.database}"]
        print(f"level {level}: taken in {took:.1f} s, {run.stored / 1e6:.0f} MB stored", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large database")
    parser.add_argument("--rounds", type=int, default=3, help="of the large database; the small one gets 5")
    options = parser.parse_args()
    bed = Bed(engine.connect(timeout=120))
    servers = PostgresServers(bed)
    try:
        small = servers(version=15)
        large = create_database(small)
        fill(small, 1)
        with tempfile.TemporaryDirectory() as folder:
            compare(small, 5, Path(folder), "small")
            fill(large, options.megabytes)
            levels(large, Path(folder))
            compare(large, options.rounds, Path(folder), "large")
    finally:
        servers.remove_all()
        bed.remove_all()


if __name__ == "__main__":
    main()
