"""The fixtures that tests use: what is slow to start is shared by the session, the rest is fresh."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.bed import compose_programs, disk
from tests.bed import engine as engines
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers, create_database, drop_database
from tests.bed.prefect_server import Prefect, prefect_server_in
from tests.bed.proxy import TcpProxy
from tests.bed.recorder import HttpRecorder
from tests.bed.s3 import S3Endpoint, S3Server

FRESH_COMMAND = ["-c", "fsync=off"]
"""Shared servers hold nothing that must outlive a crash, so they need not wait for the disk."""


@pytest.fixture(params=compose_programs.VERSIONS)
def every_compose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test once with each Compose: v5, 2.26 and 1.29; for what takes no time."""
    return _with_compose(request.param, monkeypatch)


@pytest.fixture(
    params=[
        compose_programs.NEWEST,
        *(pytest.param(each, marks=pytest.mark.slow) for each in compose_programs.VERSIONS[1:]),
    ]
)
def compose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same; the older ones in the slow suite."""
    return _with_compose(request.param, monkeypatch)


def _with_compose(version: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in compose_programs.surroundings(version).items():
        monkeypatch.setenv(name, value)
    return version


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine; `make bed` sees to it that there is one."""
    client = engines.connect(timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="session")
def bed(engine: docker.DockerClient) -> Iterator[Bed]:
    """This run's label; whatever carries it at the end is removed, whoever made it."""
    run = Bed(engine)
    yield run
    run.remove_all()


@pytest.fixture
def postgres(bed: Bed) -> Iterator[PostgresServers]:
    """Starts servers of the test's own: `postgres(version=17, database=..., volume=...)`."""
    servers = PostgresServers(bed)
    yield servers
    servers.remove_all()


@pytest.fixture(scope="session")
def _shared(bed: Bed) -> Iterator[PostgresServers]:
    servers = PostgresServers(bed)
    yield servers
    servers.remove_all()


@pytest.fixture(scope="session")
def postgres15(_shared: PostgresServers) -> PostgresServer:
    """A server that all tests share; make a database on it with `fresh_database`."""
    return _shared(version=15, command=FRESH_COMMAND)


@pytest.fixture(scope="session")
def postgres17(_shared: PostgresServers) -> PostgresServer:
    """A server that all tests share; make a database on it with `fresh_database`."""
    return _shared(version=17, command=FRESH_COMMAND)


@pytest.fixture(scope="session")
def postgres18(_shared: PostgresServers) -> PostgresServer:
    """A server that all tests share; make a database on it with `fresh_database`."""
    return _shared(version=18, command=FRESH_COMMAND)


@pytest.fixture
def fresh_database() -> Iterator[Callable[[PostgresServer], PostgresServer]]:
    """Makes an empty database on a shared server: `fresh_database(postgres17)`; dropped after the test."""
    made: list[PostgresServer] = []

    def make(server: PostgresServer) -> PostgresServer:
        made.append(create_database(server))
        return made[-1]

    yield make
    for server in made:
        drop_database(server)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """A real S3 server that all tests share."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server.endpoint


@pytest.fixture
def s3_bucket(s3_server: S3Endpoint, request: pytest.FixtureRequest) -> str:
    """The name of a new bucket. It goes with the server: removing it could hide a test's open upload."""
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server of one file's own, with an empty database."""
    with prefect_server_in(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def http_recorder() -> Iterator[HttpRecorder]:
    """A web hook that keeps what it gets."""
    with _recording() as recorder:
        yield recorder


@pytest.fixture
def second_recorder() -> Iterator[HttpRecorder]:
    """Another destination beside it."""
    with _recording() as recorder:
        yield recorder


@contextmanager
def _recording() -> Iterator[HttpRecorder]:
    recorder = HttpRecorder()
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()


@pytest.fixture
def tcp_proxy() -> Iterator[Callable[[str, int], TcpProxy]]:
    """Makes a proxy to a server: `tcp_proxy(host, port)`."""
    proxies: list[TcpProxy] = []

    def make(host: str, port: int) -> TcpProxy:
        proxies.append(TcpProxy((host, port)))
        proxies[-1].start()
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of some MiB: `small_disk(8)`; needs root, as the rest of the bed does."""
    mounted: list[Path] = []

    def make(mebibytes: int) -> Path:
        mounted.append(disk.mount(tmp_path / f"disk{len(mounted)}", mebibytes))
        return mounted[-1]

    yield make
    for folder in mounted:
        disk.unmount(folder)
