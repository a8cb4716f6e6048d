"""The bed itself: if these fail, what other tests say means nothing."""

import errno
import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import docker
import psycopg
import pytest

from tests.bed import engine as engines
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import ROOT, BedError, wait_until
from tests.bed.proxy import TcpProxy
from tests.bed.recorder import HttpRecorder
from tests.bed.s3 import S3Endpoint, S3Server

PROGRAMS = (
    "initdb",
    "pg_ctl",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "psql",
    "pg_controldata",
    "pg_basebackup",
)

Databases = Callable[[PostgresServer], PostgresServer]
Proxies = Callable[[str, int], TcpProxy]


@pytest.fixture(params=images.VERSIONS)
def server(request: pytest.FixtureRequest) -> PostgresServer:
    shared: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return shared


def test_server_is_of_its_major_version(server: PostgresServer) -> None:
    assert int(server.value("SHOW server_version_num")) // 10000 == server.version


def test_programs_are_of_the_servers_major_version(engine: docker.DockerClient, server: PostgresServer) -> None:
    container = engine.containers.get(server.container)
    for program in PROGRAMS:
        result = container.exec_run([program, "--version"])
        assert result.exit_code == 0, program
        assert f"(PostgreSQL) {server.version}." in _text(result.output), program


def test_dump_made_in_the_container_holds_the_rows(engine: docker.DockerClient, server: PostgresServer) -> None:
    dump = ["pg_dump", "-U", server.user, "-d", server.database, "--schema-only"]
    result = engine.containers.get(server.container).exec_run(dump)
    assert result.exit_code == 0
    assert b"PostgreSQL database dump complete" in result.output


def test_locale_is_utf8_and_extensions_are_there(server: PostgresServer, fresh_database: Databases) -> None:
    database = fresh_database(server)
    assert database.value("SHOW server_encoding") == "UTF8"
    assert database.value("SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C.UTF-8"
    database.execute("CREATE EXTENSION hstore", "CREATE EXTENSION pg_trgm")


def test_wrong_password_is_refused(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        server.connect(password="wrong")


@pytest.mark.parametrize("version", images.VERSIONS)
def test_data_survives_restart_and_a_new_container(version: int, postgres: PostgresServers, bed: Bed) -> None:
    first = postgres(version=version)
    first.execute("CREATE TABLE experts (id int)", "INSERT INTO experts SELECT generate_series(1, 85)")
    again = postgres.restart(first)
    assert again.value("SELECT count(*) FROM experts") == 85
    bed.remove_container(first.container)
    second = postgres(version=version, volume=first.volume)
    assert second.value("SELECT count(*) FROM experts") == 85
    assert second.value("SELECT system_identifier FROM pg_control_system()") > 0


@pytest.mark.parametrize("version", images.VERSIONS)
def test_init_scripts_run_once_in_the_named_database(version: int, postgres: PostgresServers) -> None:
    init = {
        "10-schema.sql": "CREATE TABLE notes (text text);",
        "20-row.sh": 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO notes VALUES (\'hé\')"',
    }
    server = postgres(version=version, database="my db", init=init)
    assert server.value("SELECT string_agg(text, ',') FROM notes") == "hé"
    assert postgres.restart(server).value("SELECT count(*) FROM notes") == 1


def test_server_without_password_ends_and_says_why(postgres: PostgresServers) -> None:
    with pytest.raises(BedError, match="superuser password is not specified"):
        postgres(version=15, env={"POSTGRES_PASSWORD": ""})


def test_files_belong_to_the_official_images_user(engine: docker.DockerClient, server: PostgresServer) -> None:
    found = engine.containers.get(server.container).exec_run(["sh", "-c", 'stat -c "%u %a" "$PGDATA"'])
    assert _text(found.output).strip() == "999 700"


def test_label_finds_what_no_fixture_holds(bed: Bed, engine: docker.DockerClient, server: PostgresServer) -> None:
    name = bed.name("forgotten")
    engine.volumes.create(name, labels=bed.labels)
    assert f"volume {name}" in bed.leftovers()
    assert f"container {server.container}" not in bed.leftovers()
    bed.remove_volume(name)
    assert f"volume {name}" not in bed.leftovers()


def test_volume_of_somebody_else_is_not_removed(bed: Bed, engine: docker.DockerClient) -> None:
    volume = engine.volumes.create(bed.name("foreign"), labels={"rollcall.bed": "another run"})
    bed.remove_volume(volume.name)
    assert engine.volumes.get(volume.name)
    volume.remove()


def test_s3_gives_back_what_was_put(s3_server: S3Endpoint, s3_bucket: str) -> None:
    client = s3_server.client()
    body = os.urandom(6 * 1024 * 1024)
    client.put_object(Bucket=s3_bucket, Key="a/b.bin", Body=body)
    got = client.get_object(Bucket=s3_bucket, Key="a/b.bin")["Body"].read()
    assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest()
    client.close()


def test_s3_refuses_a_wrong_key_and_a_second_writer(s3_server: S3Endpoint, s3_bucket: str) -> None:
    stranger = S3Endpoint(s3_server.endpoint_url, s3_server.access_key, "wrong").client()
    with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
        stranger.list_buckets()
    stranger.close()
    client = s3_server.client()
    client.put_object(Bucket=s3_bucket, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=s3_bucket, Key="once", Body=b"2", IfNoneMatch="*")
    client.close()


def test_two_s3_servers_run_side_by_side(s3_server: S3Endpoint, tmp_path: Path) -> None:
    with S3Server(tmp_path / "second") as second:
        assert second.endpoint.endpoint_url != s3_server.endpoint_url


def test_proxy_passes_cuts_and_refuses(postgres17: PostgresServer, tcp_proxy: Proxies) -> None:
    proxy = tcp_proxy(postgres17.host, postgres17.port)
    with postgres17.connect(host=proxy.host, port=proxy.port) as connection:
        connection.execute("SELECT 1")
        assert proxy.bytes_up > 0
        proxy.cut_after(100_000)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT repeat('x', 10000000)")
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        postgres17.connect(host=proxy.host, port=proxy.port)
    proxy.start()
    postgres17.connect(host=proxy.host, port=proxy.port).close()


def test_proxy_stalls_and_resumes(postgres17: PostgresServer, tcp_proxy: Proxies) -> None:
    proxy = tcp_proxy(postgres17.host, postgres17.port)
    proxy.stall()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        postgres17.connect(host=proxy.host, port=proxy.port, connect_timeout=2)
    proxy.resume()
    postgres17.connect(host=proxy.host, port=proxy.port).close()


def test_proxy_corrupts_one_byte(s3_server: S3Endpoint, s3_bucket: str, tcp_proxy: Proxies) -> None:
    direct = s3_server.client()
    body = bytes(1_000_000)
    direct.put_object(Bucket=s3_bucket, Key="k", Body=body)
    port = int(s3_server.endpoint_url.rpartition(":")[2])
    proxy = tcp_proxy("127.0.0.1", port)
    url = direct.generate_presigned_url("get_object", Params={"Bucket": s3_bucket, "Key": "k"})
    proxy.corrupt(after=500_000)
    request = urllib.request.Request(url.replace(f":{port}", f":{proxy.port}"), headers={"Host": f"127.0.0.1:{port}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        got = answer.read()
    assert len(got) == len(body)
    assert sum(a != b for a, b in zip(got, body, strict=True)) == 1
    direct.close()


def _text(output: object) -> str:
    assert isinstance(output, bytes)
    return output.decode()


def _post(url: str, seconds: float = 60) -> int:
    request = urllib.request.Request(url, data=b'{"a": 1}', method="POST")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_recorder_keeps_fails_and_stalls(http_recorder: HttpRecorder) -> None:
    assert _post(http_recorder.url) == 200
    http_recorder.answer_with(500)
    assert _post(http_recorder.url) == 500
    http_recorder.stall()
    with pytest.raises(TimeoutError):
        _post(http_recorder.url, 2)
    assert http_recorder.wait_for(3) == [{"a": 1}] * 3


def test_a_port_is_given_to_one_process_alone_though_nobody_listens_yet() -> None:
    ask = "from tests.bed.ports import free_port; print(*(free_port() for _ in range(20)), flush=True); input()"
    line = [sys.executable, "-c", ask]
    started = [
        subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [int(port) for each in started if each.stdout for port in each.stdout.readline().split()]
    for each in started:
        each.communicate("\n")
    assert len(set(given)) == len(given) == 60


def test_small_disk_runs_full(small_disk: Callable[[int], Path]) -> None:
    with pytest.raises(OSError) as raised:
        (small_disk(1) / "file").write_bytes(bytes(2 * 1024 * 1024))
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("text", ["1", "4194305", "not a number", ""])
def test_pid_file_of_a_killed_engine_is_removed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 exists and is no dockerd, which is what a restart of the machine leaves."""
    monkeypatch.setattr(engines, "ENGINE_RUN", tmp_path)
    (tmp_path / "docker.pid").write_text(text)
    engines._forget_dead_engine()
    assert not (tmp_path / "docker.pid").exists()


def test_wait_fails_with_a_clear_message() -> None:
    with pytest.raises(BedError, match=r"the moon did not happen within 0.1 s. it was cloudy"):
        wait_until(lambda: False, 0.1, "the moon", lambda: "it was cloudy")
