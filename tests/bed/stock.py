"""Bring a backup back with stock programs alone: zstd, psql and pg_restore of the server's own version."""

import secrets
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import zstandard

from tests.bed.postgres import PostgresServer
from tests.bed.progress import BedError


def unpacked(file: Path) -> bytes:
    """What `zstd -dc FILE` prints; where that program is missing, what the zstandard library makes of it."""
    if shutil.which("zstd"):
        return subprocess.run(["zstd", "-dc", str(file)], capture_output=True, check=True).stdout
    with file.open("rb") as stored, zstandard.ZstdDecompressor().stream_reader(stored) as reader:
        return reader.read()


def in_container(server: PostgresServer, command: list[str], given: bytes = b"") -> bytes:
    """Run a program in the server's container with `given` as standard input; raise BedError with its last words."""
    line = ["docker", "exec", "-i", server.container, *command]
    result = subprocess.run(line, input=given, capture_output=True, timeout=120, check=False)
    if result.returncode:
        raise BedError(f"{command[0]} ended with {result.returncode}: {result.stderr.decode(errors='replace')[-800:]}")
    return result.stdout


def restore_new(server: PostgresServer, dump: Path) -> PostgresServer:
    """Restore a stored dump into a new database on `server`, which is returned pointing at it."""
    made = replace(server, database=f"restored_{secrets.token_hex(4)}")
    in_container(server, ["createdb", "-U", server.user, "--template=template0", made.database])
    line = ["pg_restore", "-U", server.user, "--exit-on-error", f"--dbname={made.database}"]
    in_container(server, line, unpacked(dump))
    return made
