"""PostgreSQL servers in labelled containers, ready when their real database answers over TCP."""

import io
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from docker.models.containers import Container
from psycopg import sql

from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.progress import BedError, wait_until

USER = "admin"
PASSWORD = "correct horse"  # With a space: whatever builds a connection string by hand fails at once.
PORT = 5432
READY_SECONDS = 180


@dataclass(frozen=True)
class PostgresServer:
    """One running server and one database on it. `host` is the container's address and may change."""

    container: str
    volume: str
    host: str
    version: int
    database: str
    network: str
    port: int = PORT
    user: str = USER
    password: str = PASSWORD

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a new connection; `options` go to psycopg and win, for example `dbname` or `autocommit`."""
        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
            "connect_timeout": 60,
        }
        return psycopg.connect(**(given | options))

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own, as CREATE DATABASE needs."""
        with self.connect(autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        """Return the first column of the first row."""
        with self.connect() as connection:
            row = connection.execute(query.encode()).fetchone()
        if row is None:
            raise BedError(f"No row from: {query}")
        return row[0]


@dataclass
class PostgresServers:
    """Starts servers and remembers them, so that one call removes them all."""

    bed: Bed
    started: list[tuple[str, str]] = field(default_factory=list)

    def __call__(
        self,
        version: int = 17,
        database: str = "knowledge_os",
        *,
        container: str | None = None,
        volume: str | None = None,
        network: str = "bridge",
        publish: int | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        init: Mapping[str, str] | None = None,
        command: list[str] | None = None,
        healthcheck: str = "",
        image: str | None = None,
        mount: str | None = None,
    ) -> PostgresServer:
        """Start a server on a named volume, new or given; return it once its database answers.

        `publish` is a port of the loopback address. `init` maps names of init scripts to their text.
        `command` replaces the arguments, for example `["-c", "fsync=off"]`. `healthcheck` is a line of shell, asked
        every second. `image`: another than the version's own, made from it. `mount`: where that has its volume.
        Raise BedError if the server ends or does not answer.
        """
        name = container or self.bed.name(f"pg{version}")
        data = volume or self.bed.name(f"pg{version}-data")
        self._create_volume(data)
        self.bed.keep(name, data)
        self.started.append((name, data))
        box = self.bed.client.containers.create(
            image or images.tag(version),
            command,
            name=name,
            environment=_environment(database) | dict(env or {}),
            labels=dict(labels or {}) | self.bed.labels,
            volumes={data: {"bind": mount or images.RECIPES[version].volume, "mode": "rw"}},
            network=network,
            ports={f"{PORT}/tcp": ("127.0.0.1", publish)} if publish else None,
            shm_size="128m",
            healthcheck={"test": ["CMD-SHELL", healthcheck], "interval": 1_000_000_000} if healthcheck else None,
        )
        if init:
            box.put_archive("/docker-entrypoint-initdb.d", archive(init))
        box.start()
        return self.ready(PostgresServer(name, data, "", version, database, network))

    def ready(self, server: PostgresServer) -> PostgresServer:
        """Return `server` with its present address, once it answers there; raise BedError if it does not."""
        probe = _Probe(self.bed.client.containers.get(server.container), server)
        wait_until(probe.answers, READY_SECONDS, f"an answer of {server.container}", probe.log_tail)
        return probe.server

    def restart(self, server: PostgresServer) -> PostgresServer:
        """Restart the container and return the server at its new address."""
        self.bed.client.containers.get(server.container).restart(timeout=30)
        return self.ready(server)

    def remove_all(self) -> None:
        """Remove every container and volume started here."""
        while self.started:
            self.bed.release(*self.started.pop())

    def _create_volume(self, name: str) -> None:
        """Volumes that exist are used as they are: the engine answers with the present one."""
        self.bed.client.volumes.create(name, labels=self.bed.labels)


@dataclass
class _Probe:
    container: Container
    server: PostgresServer
    last_error: str = ""

    def answers(self) -> bool:
        """The temporary server of a first start has no TCP port: who connects there has the real one."""
        self.container.reload()
        if self.container.status in {"exited", "dead"}:
            raise BedError(f"{self.server.container} ended while starting. {self.log_tail()}")
        self.server = replace(self.server, host=_address(self.container, self.server.network))
        if not self.server.host:
            return False
        try:
            self.server.connect(connect_timeout=2).close()
        except psycopg.OperationalError as error:
            self.last_error = str(error)
            return False
        return True

    def log_tail(self) -> str:
        log = self.container.logs(tail=15).decode(errors="replace")
        return f"Last error: {self.last_error}. End of its log: {log}"


def create_database(server: PostgresServer, stem: str = "fresh") -> PostgresServer:
    """Return `server` with a new, empty database on it."""
    name = f"{stem}_{secrets.token_hex(4)}"
    with server.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return replace(server, database=name)


def drop_database(server: PostgresServer) -> None:
    """Drop the database, whoever is connected to it; no error if it is gone."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(server.database))
    with server.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)


def _environment(database: str) -> dict[str, str]:
    return {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": database}


def _address(container: Container, network: str) -> str:
    networks = container.attrs["NetworkSettings"]["Networks"]
    return str(networks.get(network, {}).get("IPAddress") or "")


def archive(files: Mapping[str, str]) -> bytes:
    """Files as a tar: unlike a bind mount it also reaches an engine on another machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
