"""Both ways to run pg_dump beside the server: the same dump, the same leash, nothing left behind."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from tasks.backups.proof import read_contents
from tasks.backups.take import take_database
from tasks.checks.look import login, look_at_cluster, look_at_container
from tasks.containers.engine import OUR_LABEL
from tasks.containers.observe import observe
from tasks.containers.programs import Program, beside
from tasks.databases import dump
from tasks.databases.tally import frozen
from tasks.models import Tally
from tests.bed.postgres import PostgresServer, PostgresServers, drop_database
from tests.bed.progress import ROOT, wait_until
from tests.bed.stock import in_container, restore_new
from tests.bed.target import NAME, Target, target_for
from tests.bed.writer import Writer

Databases = Callable[[PostgresServer], PostgresServer]
FAST = ["-c", "fsync=off"]
SECONDS = 120

both_ways = pytest.mark.parametrize("by_exec", [False, True], ids=["helper", "exec"])


@pytest.fixture
def server(postgres17: PostgresServer, fresh_database: Databases) -> PostgresServer:
    database = fresh_database(postgres17)
    database.execute(
        "CREATE TABLE experts AS SELECT i, repeat(md5(i::text), 30) AS said FROM generate_series(1, 20000) AS i",
        "CREATE SEQUENCE ticket",
        "SELECT setval('ticket', 4711)",
    )
    return database


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    return target_for(server, tmp_path, databases=[], roles=False)


def tally_of(server: PostgresServer) -> Tally:
    rules = target_login(server)
    with frozen(rules, lock_wait=10) as held:
        return held.tally()


def target_login(server: PostgresServer):  # type: ignore[no-untyped-def]
    from tasks.databases.connect import Login

    return Login(server.host, server.port, server.user, server.password, server.database)


def dumped(engine: docker.DockerClient, target: Target, owner: str, *, by_exec: bool) -> tuple[bytes, Tally]:
    """A dump of the target's database and the tally of the same snapshot."""
    rules = target.config.target(NAME)
    seen = look_at_cluster(rules, look_at_container(rules))
    line = dump.dump_line(dump.connection_string(rules, seen.container, seen.way, rules.database))
    into = login(rules, seen.way)
    program = dump.program(rules, line, into.password or "")
    with (
        beside(engine, seen.container, program, owner=owner, by_exec=by_exec) as running,
        frozen(into, lock_wait=10) as instant,
    ):
        running.say(instant.snapshot)
        content = b"".join(running.chunks())
        return content, instant.tally()


def helpers(engine: docker.DockerClient, owner: str) -> list[str]:
    found = engine.containers.list(all=True, filters={"label": f"{OUR_LABEL}={owner}"}, ignore_removed=True)
    return [str(each.id) for each in found]


def restored(server: PostgresServer, content: bytes) -> Tally:
    made = replace(server, database=f"restored_{secrets.token_hex(4)}")
    in_container(server, ["createdb", "-U", server.user, "--template=template0", made.database])
    try:
        in_container(server, ["pg_restore", "-U", server.user, "-e", f"--dbname={made.database}"], content)
        return tally_of(made)
    finally:
        drop_database(made)


@both_ways
def test_dump_restores_to_its_tally(
    engine: docker.DockerClient, server: PostgresServer, target: Target, by_exec: bool
) -> None:
    owner = f"test-{secrets.token_hex(4)}"
    content, said = dumped(engine, target, owner, by_exec=by_exec)
    assert restored(server, content) == said
    assert said.counts == {"public.experts": 20000}
    # One that ends by itself while we remove it is still listed for a moment.
    wait_until(lambda: not helpers(engine, owner), SECONDS, "the removal of the helper")


def test_address_of_the_configuration_is_used(
    engine: docker.DockerClient, server: PostgresServer, tmp_path: Path, tcp_proxy: Callable[..., object]
) -> None:
    proxy = tcp_proxy(server.host, server.port)
    target = target_for(server, tmp_path, host="127.0.0.1", port=proxy.port, databases=[], roles=False)  # type: ignore[attr-defined]
    before = len(target.config.targets)
    manifest = target.backup()
    assert before == 1
    assert manifest.tally.counts == {"public.experts": 20000}
    proxy.cut()  # type: ignore[attr-defined]


@both_ways
def test_dump_ends_when_its_reader_is_killed(
    engine: docker.DockerClient, server: PostgresServer, target: Target, by_exec: bool
) -> None:
    owner = f"test-{secrets.token_hex(4)}"
    server.execute(
        "INSERT INTO experts SELECT i, md5(i::text) || md5(random()::text) FROM generate_series(1, 300000) AS i"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(target.file), owner, str(by_exec)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    with reader:
        assert reader.stdout.readline() == b"reading\n"
        # What comes first may be the archive's head, from before the first row.
        wait_until(lambda: dumping(server), SECONDS, "the rows of the table")
        reader.kill()
    wait_until(lambda: not dumping(server), SECONDS, "the end of pg_dump")
    wait_until(lambda: not helpers(engine, owner), SECONDS, "the removal of the helper")


READER = f"""
import sys, time, docker
from tasks.checks.look import login, look_at_cluster, look_at_container
from tasks.config import load
from tasks.containers.programs import Program, beside
from tasks.databases import dump
from tasks.databases.tally import frozen
rules = load(sys.argv[1]).target({NAME!r})
seen = look_at_cluster(rules, look_at_container(rules))
line = dump.dump_line(dump.connection_string(rules, seen.container, seen.way, rules.database))
into = login(rules, seen.way)
program = dump.program(rules, line, into.password)
client = docker.from_env()
with beside(client, seen.container, program, owner=sys.argv[2], by_exec=sys.argv[3] == "True") as running:
    with frozen(into, lock_wait=10) as instant:
        running.say(instant.snapshot)
        next(running.chunks())
        print("reading", flush=True)
        time.sleep(600)
"""


def dumping(server: PostgresServer) -> bool:
    """Whether a pg_dump has a session in the database (its name of the session is ours)."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %' AND datname = current_database()"
    return bool(server.value(query))


def test_helper_has_no_anonymous_volume_and_leaves_nothing(
    engine: docker.DockerClient, server: PostgresServer, target: Target
) -> None:
    owner = f"test-{secrets.token_hex(4)}"
    container = observe(None, server.container, server.volume)
    program = dump.program(target.config.target(NAME), "echo said", "")
    with beside(engine, container, program, owner=owner, by_exec=False) as running:
        [helper] = helpers(engine, owner)
        mounts = engine.api.inspect_container(helper)["Mounts"]
        assert {each["Type"] for each in mounts} <= {"bind", "tmpfs"}
        running.say("")
        assert b"".join(running.chunks()) == b"said\n"
    wait_until(lambda: not helpers(engine, owner), SECONDS, "the removal of the helper")


@pytest.fixture
def busy(postgres: PostgresServers) -> Iterator[PostgresServer]:
    server = postgres(version=17, command=FAST)
    with Writer(server) as writer:
        yield server
    writer.check()


def test_positions_of_sequences_that_never_rest_are_those_the_dump_will_set(
    busy: PostgresServer, postgres17: PostgresServer, tmp_path: Path
) -> None:
    """Sequences keep to no snapshot: what is read beside the dump is not what the dump holds."""
    target = target_for(busy, tmp_path, databases=[], roles=False)
    rules = target.config.target(NAME)
    seen = look_at_cluster(rules, look_at_container(rules))
    compared, moved, given_up = 0, False, time.monotonic() + SECONDS
    while compared < 3 or (not moved and time.monotonic() < given_up):
        part = take_database(target.config, NAME, seen, f"b{compared}", rules.database, ["local"])
        proven = read_contents(target.config, NAME, seen, part, ["local"])
        assert part.tally is not None and proven.tally is not None
        made = restore_new(postgres17, target.path(part.objects[0].key))
        try:
            assert tally_of(made).sequences == proven.tally.sequences
        finally:
            drop_database(made)
        compared += 1
        moved |= part.tally.sequences["app.ticket"] != proven.tally.sequences["app.ticket"]
    assert moved, "the sequence stood still: this proves nothing"


def test_no_session_of_the_database_is_disturbed_by_a_program_run_inside_its_container(
    engine: docker.DockerClient, server: PostgresServer, target: Target
) -> None:
    """The postmaster is process 1 there: an orphan that ends by a signal would make it restart every session."""
    seen = look_at_cluster(rules := target.config.target(NAME), look_at_container(rules))
    with server.connect(autocommit=True) as bystander:
        for line in ("exec true", "exec sleep 60"):
            with beside(engine, seen.container, Program(line), owner="test", by_exec=True) as running:
                running.say("")
                if "sleep" not in line:
                    assert list(running.chunks()) == []
        time.sleep(2)
        assert bystander.execute("SELECT 1").fetchone() == (1,)
