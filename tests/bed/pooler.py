"""PgBouncer before a server of the bed."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bed import engine
from tests.bed.ports import free_port
from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until

ACCOUNT = "nobody"  # PgBouncer refuses to run as root.


@contextmanager
def pgbouncer(server: PostgresServer, folder: Path) -> Iterator[int]:
    """The port on this machine's loopback where it listens, within the block."""
    engine.require_tool("pgbouncer")
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
    )
    shown = Path(shutil.copy(config, f"/tmp/rollcall-bed-pgbouncer-{port}.ini"))
    shown.chmod(0o644)
    process = subprocess.Popen(
        ["pgbouncer", "-q", "-u", ACCOUNT, str(shown)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), 30, "an answer of pgbouncer")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)
        shown.unlink()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False
