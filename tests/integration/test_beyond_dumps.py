"""What no dump carries: an extension's sequences and rows, ALTER ROLE ALL, subscriptions, slots, and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from tasks.checks.acceptance import accept_present
from tasks.containers.scratch_place import Place
from tasks.databases import cluster_state
from tasks.databases.cluster_state import settings_sql
from tasks.databases.connect import Login
from tasks.databases.set_again import set_positions
from tasks.databases.tally import frozen
from tasks.errors import HistoryError, TablesLocked
from tasks.models import Manifest, SequencePosition, Tally
from tasks.restore.facts import Request
from tasks.restore.plan import make_plan
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup
from tasks.restore.source import backup_called
from tasks.restore.world import observe_world
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers, archive
from tests.bed.progress import wait_until
from tests.bed.target import NAME, Target, target_for

ATLAS = {
    "atlas.control": "default_version = '1.0'\nrelocatable = false\nschema = public\n",
    "atlas--1.0.sql": """
        CREATE TABLE maps (id serial PRIMARY KEY, name text);
        SELECT pg_extension_config_dump('maps', '');
        CREATE TABLE words (word text);
        INSERT INTO words VALUES ('its own'), ('its own too');
        CREATE SEQUENCE sheets;
        CREATE SEQUENCE kept_back;
    """,
}
SETTINGS = {
    "statement_timeout": "5min",
    "search_path": '"$user", "Odd, one", public',
    "app.word": 'it\'s a \\ and "so"',
}


@pytest.fixture(params=[17, pytest.param(15, marks=pytest.mark.slow), pytest.param(18, marks=pytest.mark.slow)])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def image(engine: docker.DockerClient, bed: Bed, version: int) -> Iterator[str]:
    """The version's image with an extension of this test's own."""
    box = engine.containers.create(images.tag(version), labels=bed.labels)
    try:
        box.put_archive(f"{images.RECIPES[version].share}/extension", archive(ATLAS))
        made = box.commit(repository=bed.name("atlas"), conf={"Labels": bed.labels})
    finally:
        box.remove(force=True)
    yield str(made.id)

    def removed() -> bool:
        """Not while the engine still removes a container of it."""
        try:
            engine.images.remove(made.id, force=True)
        except APIError as error:
            return error.status_code != 409
        return True

    wait_until(removed, 60, "the end of the image's containers")


@pytest.fixture
def server(image: str, postgres: PostgresServers, version: int) -> PostgresServer:
    command = ["-c", "fsync=off", "-c", "wal_level=logical", "-c", "max_prepared_transactions=2"]
    return postgres(version=version, image=image, command=command)


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    return target_for(server, tmp_path / "rollcall", databases=[])


def rebuilt(target: Target, server: PostgresServer, taken: Manifest, engine: docker.DockerClient, bed: Bed) -> Rebuilt:
    volume = bed.name("staging")
    engine.volumes.create(volume, labels=bed.labels)
    recipe = images.RECIPES[server.version]
    return rebuild_from_backup(
        target.config, NAME, taken, ["local"], volume=volume, image_id=taken.identity.image_id,
        place=Place(destination=recipe.volume, pgdata=recipe.pgdata),
    )  # fmt: skip


def not_dumped(target: Target) -> list[str]:
    return [each.message for each in target.verify().findings if each.code == "table.not_dumped"]


def test_the_sequences_and_rows_of_an_extension_come_back_or_are_named(
    server: PostgresServer, target: Target, engine: docker.DockerClient, bed: Bed
) -> None:
    server.execute(
        "CREATE EXTENSION atlas",
        "INSERT INTO maps (name) VALUES ('one'), ('two')",
        "SELECT setval('sheets', 41, false)",
        f"ALTER DATABASE {server.database} SET default_transaction_read_only = on",
    )
    taken = target.backup()
    assert taken.tally.extension_sequences == {
        "public.kept_back": SequencePosition(last_value=1, is_called=False),
        "public.maps_id_seq": SequencePosition(last_value=2, is_called=True),
        "public.sheets": SequencePosition(last_value=41, is_called=False),
    }
    assert taken.tally.extension_rows == {"public.words": 2}
    built = rebuilt(target, server, taken, engine, bed)
    assert (built.differences, built.notes) == ([], [])
    assert built.tallies[server.database].extension_sequences == taken.tally.extension_sequences

    with server.connect(autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute("INSERT INTO words VALUES ('mine')")
    said = "public.words belongs to an extension and holds 3 rows; pg_dump leaves it out, so no backup has them."
    assert not_dumped(target) == [said]
    built = rebuilt(target, server, target.backup(), engine, bed)
    assert built.notes == [
        f"In {server.database} the table public.words has 2 rows, 3 when the backup was taken: it belongs to an "
        "extension, and no dump holds it."
    ]


def test_a_sequence_that_cannot_be_set_hinders_no_other_and_the_reason_is_told(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    made = fresh_database(postgres17)
    made.execute("CREATE SEQUENCE small MAXVALUE 10", "CREATE TABLE changed ()", "CREATE SEQUENCE well")
    at = SequencePosition(last_value=41, is_called=True)
    names = ("public.small", "public.changed", "public.gone", "public.well")
    refused = set_positions(
        lambda name: Login(made.host, made.port, made.user, made.password, name),
        {made.database: Tally(counts={}, extension_sequences=dict.fromkeys(names, at))},
    )
    assert [(each.kind, each.object) for each in refused] == [
        ("sequence", "position of public.small"), ("sequence", "position of public.changed"),
    ]  # fmt: skip
    assert "out of bounds" in str(refused[0].why)
    assert made.value("SELECT last_value FROM well") == 41


def test_accepted_rows_that_no_dump_holds_are_not_told_of_until_they_change(
    server: PostgresServer, target: Target
) -> None:
    server.execute("CREATE EXTENSION atlas")
    assert len(not_dumped(target)) == 1
    for table in (None, "words"):
        accept_present(target.config, NAME, "they come with it", "a test", target.verify().checked_at, table)
        assert not_dumped(target) == []
        assert target.backup().verdict == "healthy"
        server.execute("INSERT INTO words VALUES ('mine')")
        (said,) = not_dumped(target)
        assert "were accepted" in said
    with pytest.raises(HistoryError, match="no table wordz"):
        accept_present(target.config, NAME, "mistyped", "a test", target.verify().checked_at, "wordz")


def test_what_is_set_for_all_roles_comes_back(
    image: str,
    postgres: PostgresServers,
    server: PostgresServer,
    target: Target,
    engine: docker.DockerClient,
    bed: Bed,
) -> None:
    server.execute("CREATE TABLE t AS SELECT 1 AS i", *settings_sql({"settings_for_all": SETTINGS}))
    before = server.value("SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0")
    taken = target.backup()
    assert taken.cluster["settings_for_all"] == SETTINGS
    built = rebuilt(target, server, taken, engine, bed)
    assert built.differences == []
    back = postgres(version=server.version, volume=built.volume, command=["-c", "fsync=off"])
    query = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0"
    assert sorted(back.value(query)) == sorted(before)
    assert back.value("SELECT current_setting('app.word')") == SETTINGS["app.word"]

    odd = taken.model_copy(update={"cluster": {**taken.cluster, "settings_for_all": {"no_such_secret": "hidden"}}})
    (difference,) = rebuilt(target, server, odd, engine, bed).differences
    assert (difference.kind, difference.object, difference.found, difference.blocking) == (
        "setting", "setting no_such_secret of all roles", "missing", False,
    )  # fmt: skip
    assert "no_such_secret" in str(difference.why)
    assert "hidden" not in str(difference)


def test_a_prepared_transaction_that_keeps_a_table_locked_is_named(server: PostgresServer) -> None:
    server.execute("CREATE TABLE t (i int)", "BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'it''s mine'")
    login = Login(server.host, server.port, server.user, server.password, server.database)
    with pytest.raises(
        TablesLocked, match=r"prepared transaction \"it's mine\" has locked public.t .* ROLLBACK PREPARED"
    ):
        frozen(login, lock_wait=0.2).__enter__()


def test_what_cannot_come_back_as_it_is_is_named_in_manifest_plan_and_proof(
    server: PostgresServer, target: Target, engine: docker.DockerClient, bed: Bed
) -> None:
    nowhere = "'host=127.0.0.1 port=1 dbname=none'"
    server.execute(
        "CREATE TABLE t (i int)",
        f"CREATE SUBSCRIPTION news CONNECTION {nowhere} PUBLICATION all_of_it WITH (connect = false)",
        "ALTER SUBSCRIPTION news ENABLE",
        f"CREATE SUBSCRIPTION idle CONNECTION {nowhere} PUBLICATION all_of_it WITH (connect = false)",
        "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
        "SELECT pg_create_physical_replication_slot('standby')",
        "SELECT pg_replication_origin_create('from elsewhere')",
        "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half done'",
    )
    taken = target.backup()
    beginnings = [
        f"the subscription news of {server.database}: it comes back disabled",
        f"the replication slot feed (logical, pgoutput, database {server.database}): ",
        "the replication slot standby (physical): ",
        f"the prepared transaction 'half done' of admin in {server.database}: ",
        "the replication origins from elsewhere: ",
    ]
    assert [each.startswith(begun) for each, begun in zip(taken.omitted[1:], beginnings, strict=True)] == [True] * 5
    assert cluster_state.PREPARED in taken.omitted[4]
    plan = make_plan(
        observe_world(target.config, NAME), backup_called(target.config, NAME, taken.id), Request(backup=taken.id)
    )
    assert all(any(begun in note for note in plan.notes) for begun in beginnings)
    server.execute("ROLLBACK PREPARED 'half done'")
    built = rebuilt(target, server, taken, engine, bed)
    assert built.differences == []
    assert all(any(begun[1:] in note for note in built.notes) for begun in beginnings)
    server.execute(*(f"ALTER SUBSCRIPTION {each} DISABLE" for each in ("news", "idle")))
    server.execute(*(f"ALTER SUBSCRIPTION {each} SET (slot_name = NONE)" for each in ("news", "idle")))
