"""How much more memory a backup of gigabytes takes than one of megabytes: `python -m benchmarks.memory`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.runs import Run, backup, configure
from tests.bed import engine
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers, create_database
from tests.bed.s3 import S3Endpoint, S3Server

LIMIT = 64 * 1024**2
SMALL = 2_000_000  # bytes of the plain dump
LARGE = 2_000_000_000
NOISE = 600_000_000  # of LARGE: bytes that zstd cannot make smaller than half, which is what hexadecimal digits hold
TEXT_ROW, NOISE_ROW, SEED_ROWS = 32_000, 8_000, 1_000  # bytes, bytes as hexadecimal digits, rows


def fill(server: PostgresServer, size: int, noise: int = 0) -> None:
    """Make tables whose plain dump is of `size` bytes in all. It is quick: what is read back is written compressed.

    Noise repeats only after megabytes, farther back than zstd looks at the level that backups use.
    """
    texts, rounds = (size - noise) // TEXT_ROW, noise // (NOISE_ROW * SEED_ROWS)
    fill_texts = f"INSERT INTO texts SELECT n, repeat(md5(n::text), 1000) FROM generate_series(1, {texts}) n"  # noqa: S608
    server.execute("CREATE TABLE texts (id int, body text)", fill_texts)
    if noise:
        server.execute(
            "CREATE TABLE seed AS SELECT n, (SELECT string_agg(decode(md5(random()::text), 'hex'), '') "
            "FROM generate_series(1, 250) WHERE n > 0) AS body FROM generate_series(1, 1000) n",
            "CREATE TABLE noise (n int, body bytea)",
            "ALTER TABLE noise ALTER COLUMN body SET STORAGE EXTERNAL",
            f"INSERT INTO noise SELECT n, body FROM generate_series(1, {rounds}) AS round, seed ORDER BY round, n",  # noqa: S608
        )


def compare(small: PostgresServer, large: PostgresServer, folder: Path, s3: S3Endpoint | None) -> tuple[Run, Run]:
    """A backup of each, into the same kind of storage."""
    return backup(configure(folder / "small", small, s3)), backup(configure(folder / "large", large, s3))


def main() -> None:
    """Print the peaks, for a local storage and for S3."""
    bed = Bed(engine.connect(timeout=120))
    servers = PostgresServers(bed)
    try:
        small = servers(version=15, command=["-c", "fsync=off"])
        large = create_database(small)
        fill(small, SMALL)
        fill(large, LARGE, NOISE)
        with tempfile.TemporaryDirectory() as folder, S3Server(Path(folder) / "s3") as s3:
            s3.endpoint.client().create_bucket(Bucket="measured")
            for name, endpoint in (("local", None), ("S3", s3.endpoint)):
                first, second = compare(small, large, Path(folder) / name, endpoint)
                print(
                    f"{name}: {first.peak / 1e6:.0f} MB for {first.raw / 1e6:.0f} MB, {second.peak / 1e6:.0f} MB for "
                    f"{second.raw / 1e6:.0f} MB ({second.stored / 1e6:.0f} stored) in {second.seconds:.1f} s"
                )
    finally:
        servers.remove_all()
        bed.remove_all()


if __name__ == "__main__":
    main()
