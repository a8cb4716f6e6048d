"""A Prefect server as a process of its own, with an empty database."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.ports import free_port
from tests.bed.progress import end, wait_until
from tests.bed.serving import BIN, ask, clean_environment

START_SECONDS = 300
STOP_SECONDS = 60


@dataclass(frozen=True)
class Prefect:
    """A server, and the environment in which programs use it."""

    home: Path
    port: int

    @property
    def api(self) -> str:
        """What PREFECT_API_URL must say."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with this server and its home in the place of what Prefect and Rollcall would read from it."""
        return clean_environment() | {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api}

    def ask(self, path: str, **body: Any) -> Any:
        """The answer of the server's API; a POST where the path is one of its filters."""
        return ask(self.api, path, **body)

    def answers(self) -> bool:
        """True once it says that it is well."""
        try:
            return self.ask("health") is True
        except OSError:
            return False


@contextmanager
def prefect_server_in(home: Path) -> Iterator[Prefect]:
    """One that answers, with its database in `home`; ended after."""
    server = Prefect(home, free_port())
    settings = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_API_URL": server.api}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(server.port)],
            env=server.environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(server.answers, START_SECONDS, "an answer of the Prefect server", (home / "server.log").read_text)
        yield server
    finally:
        end(process, STOP_SECONDS)
