"""What a restore may not make again is known before it: the doctor says it."""

from __future__ import annotations

from collections.abc import Callable

from tasks.databases.connect import Login, connect
from tasks.databases.fragile import fragile
from tests.bed.postgres import PASSWORD, PostgresServer

CONTENT = [
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE FOREIGN TABLE far_rows (i int) SERVER far",
    "CREATE MATERIALIZED VIEW near_rows AS SELECT i FROM far_rows WITH NO DATA",
    "CREATE FUNCTION known(int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT $1 > 0'",
    "CREATE TABLE checked (i int CHECK (known(i)), at timestamptz CHECK (at < now()), CHECK (abs(i) > 0))",
]


def test_a_view_of_a_foreign_table_and_a_check_that_reads_more_than_its_row_are_named(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer]
) -> None:
    server = fresh_database(postgres17)
    login = Login(server.host, 5432, server.user, PASSWORD, server.database)
    with connect(login) as connection:
        assert fragile(connection) == []
    server.execute(*CONTENT)
    with connect(login) as connection:
        assert fragile(connection) == [
            "the CHECK checked_at_check of public.checked calls now(), which is not immutable",
            "the CHECK checked_i_check of public.checked calls public.known(integer), which is not immutable",
            "the materialised view public.near_rows reads the foreign table public.far_rows",
        ]
