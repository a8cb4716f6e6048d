"""Databases that are not in UTF-8: a backup finds its tables and sequences in the archive, and a drill proves it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from flows import drill as drill_flow
from tests.bed.postgres import PostgresServer, drop_database
from tests.bed.target import NAME, target_for


@pytest.fixture
def database_in(postgres17: PostgresServer) -> Iterator[Callable[[str], PostgresServer]]:
    """Makes a database in an encoding."""
    made: list[PostgresServer] = []

    def make(encoding: str) -> PostgresServer:
        server = replace(postgres17, database=f"encoded_{secrets.token_hex(4)}")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'")
        with server.connect(dbname="postgres", autocommit=True) as connection:
            connection.execute(create.format(sql.Identifier(server.database), sql.Literal(encoding)))
        made.append(server)
        return server

    yield make
    for server in made:
        drop_database(server)


@pytest.mark.slow
def test_a_latin1_database_with_such_names_is_backed_up_and_proven(
    database_in: Callable[[str], PostgresServer], tmp_path: Path
) -> None:
    server = database_in("LATIN1")
    with server.connect(autocommit=True, client_encoding="UTF8") as connection:
        connection.execute('CREATE TABLE "größe" (id serial PRIMARY KEY, said text)')
        connection.execute("INSERT INTO \"größe\" (said) SELECT 'schön ' || n FROM generate_series(1, 85) AS n")
    target = target_for(server, tmp_path, databases=[])
    taken = target.backup()
    assert taken.cluster["databases"][server.database]["encoding"] == "LATIN1"
    assert taken.tally.counts == {'public."größe"': 85}
    assert {name: each.last_value for name, each in taken.tally.sequences.items()} == {'public."größe_id_seq"': 85}
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    result = run(NAME, str(target.file), "latest")
    assert result.proven, result.reason
