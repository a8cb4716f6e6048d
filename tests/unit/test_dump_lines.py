"""Command lines for PostgreSQL's programs, and the reading of what they print."""

import shlex
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from tasks.config import Target
from tasks.containers.leash import failure_of
from tasks.containers.observe import Container
from tasks.databases.dump import (
    as_listed,
    codec_of,
    connection_string,
    dump_line,
    positions,
    sequence_entries,
    unlisted,
)
from tasks.databases.reach import Way
from tasks.errors import DumpFailed, DumpInterrupted, TablesLocked
from tasks.models import SequencePosition

HEAD = ";\n; Archive created at 2026-11-22\n;\n"


def entry(number: int, what: str) -> str:
    return f"{number}; 0 16400 {what}\n"


@pytest.mark.parametrize(
    ("table", "listed"),
    [
        ("public.experts", "public experts"),
        ('"Sales Data"."Orders"', "Sales Data Orders"),
        ('public."say ""hi"""', 'public say "hi"'),
        ('public."a.b"', "public a.b"),
        ('"é"."naïve"', "é naïve"),
        ('public."two\nlines"', "public two lines"),
        ('public."it\'s"', "public it's"),
        ('"a b"."c d"', "a b c d"),
    ],
)
def test_table_is_found_under_the_name_that_pg_restore_lists(table: str, listed: str) -> None:
    assert as_listed(table) == listed
    assert unlisted(HEAD + entry(1, f"TABLE DATA {listed} admin"), [table]) == []
    assert unlisted(HEAD + entry(1, f"TABLE {listed} owner with spaces"), [table]) == []
    assert unlisted(HEAD + entry(1, f"VIEW {listed} admin"), [table]) == [table]


def test_tables_that_are_not_listed_are_named() -> None:
    contents = HEAD + entry(1, "TABLE public experts_old admin") + entry(2, "TABLE DATA public nodes admin")
    assert unlisted(contents, ["public.experts", "public.nodes"]) == ["public.experts"]
    assert unlisted("", ["public.experts"]) == ["public.experts"]


def test_entries_that_set_positions_are_picked_by_number() -> None:
    contents = (
        HEAD
        + "215; 1259 16399 TABLE public experts admin\n"
        + "3372; 0 0 SEQUENCE SET public experts_id_seq admin\n"
        + "216; 1259 16400 SEQUENCE public lone admin\n"
        + "3373; 0 0 SEQUENCE SET Sales Data Lone admin\n"
    )
    assert sequence_entries(contents) == "3372; 3373;"
    assert sequence_entries(HEAD) == ""


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("public.lone", "true"),
        ('"Sales Data"."Lone"', "false"),
        ("public.\"it''s\"", "true"),
        ('public."semi;colon, 7"', "true"),
        ('"é"."say ""hi"""', "false"),
    ],
)
def test_positions_are_read_whatever_the_name(name: str, called: str) -> None:
    script = f"SET x = 0;\n\nSELECT pg_catalog.setval('{name}', -42, {called});\n\n--\n"
    expected = SequencePosition(last_value=-42, is_called=called == "true")
    assert positions(script) == {name.replace("''", "'"): expected}


def test_every_position_of_a_script_is_read() -> None:
    script = "".join(f"SELECT pg_catalog.setval('public.s{n}', {n}, true);\n" for n in range(1, 4))
    assert {name: each.last_value for name, each in positions(script).items()} == {
        "public.s1": 1,
        "public.s2": 2,
        "public.s3": 3,
    }


def target(**given: Any) -> Target:
    return Target(container="c", volume="v", database="d", user="admin", storages=["local"], **given)


CONTAINER = Container(
    id="i", name="c", image_id="m", pgdata="/d", port=5555, mounts=[], addresses=["172.18.0.2"], published=[]
)
WAY = Way(host="172.18.0.2", port=5555, reason="")


@pytest.mark.parametrize("database", ["plain", "my db", 'say "hi"', "it's", "a=b", "$HOME `id` \\", "é", "-d"])
def test_database_survives_shell_and_libpq_whatever_its_name(database: str) -> None:
    [word] = shlex.split(connection_string(target(), CONTAINER, WAY, database))
    said = conninfo_to_dict(word)
    assert (said["dbname"], said["host"], said["port"], said["user"]) == (database, "127.0.0.1", "5555", "admin")
    assert "password" not in said


def test_address_of_the_configuration_wins() -> None:
    way = Way(host="db.example", port=6432, reason="")
    [word] = shlex.split(connection_string(target(host="db.example", port=6432), CONTAINER, way, "d"))
    assert conninfo_to_dict(word)["host"] == "db.example"
    assert '--snapshot="$1"' in dump_line("'x'")


def test_the_address_that_the_server_was_reached_at_follows_its_loopback() -> None:
    way = WAY.model_copy(update={"inside": ("172.18.0.2", 5433)})
    [word] = shlex.split(connection_string(target(), CONTAINER, way, "d"))
    assert conninfo_to_dict(word) | {"host": "127.0.0.1,172.18.0.2", "port": "5433,5433"} == conninfo_to_dict(word)


def test_another_server_on_the_hosts_loopback_is_not_asked() -> None:
    shared = CONTAINER.model_copy(update={"host_network": True})
    way = WAY.model_copy(update={"inside": ("192.0.2.7", 5432)})
    [word] = shlex.split(connection_string(target(), shared, way, "d"))
    assert conninfo_to_dict(word)["host"] == "192.0.2.7"


def test_an_address_of_this_machines_view_is_not_used_in_a_container_on_another_machine() -> None:
    tunnel = target(host="127.0.0.1", port=15432)
    there = CONTAINER.model_copy(update={"engine_host": "db1.example"})
    [word] = shlex.split(connection_string(tunnel, there, Way(host="127.0.0.1", port=15432, reason=""), "d"))
    assert conninfo_to_dict(word)["port"] == "5555"


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (1, "canceling statement due to statement timeout DETAIL: Query was: LOCK TABLE app.wide", TablesLocked),
        (1, "could not obtain lock on relation", TablesLocked),
        (1, "ERROR: deadlock detected", TablesLocked),
        (1, "ERROR: cache lookup failed for attribute 2 of relation 16414", TablesLocked),
        (1, "server closed the connection unexpectedly", DumpInterrupted),
        (None, "", DumpInterrupted),
        (1, "pg_restore: error: input file is too short (read 0, expected 5)", DumpInterrupted),
        (1, "pg_restore: error: input file is too short (read 3, expected 5)", DumpFailed),
        (1, "permission denied for table x", DumpFailed),
        (1, "No space left on device", DumpFailed),
    ],
)
def test_what_a_program_says_decides_whether_it_is_tried_again(
    status: int | None, stderr: str, expected: type[Exception]
) -> None:
    assert type(failure_of(status, stderr)) is expected


def test_a_row_that_is_too_large_for_a_dump_is_named_with_its_table_and_what_to_do() -> None:
    said = (
        'pg_dump: error: Dumping the contents of table "big" failed: PQgetResult() failed.\n'
        "pg_dump: detail: Error message from server: ERROR:  invalid memory alloc request size 1100000003\n"
        "pg_dump: detail: Command was: COPY public.big (id, body) TO stdout;\n"
    )
    error = failure_of(1, said)
    assert type(error) is DumpFailed
    assert str(error).startswith("A row of public.big is too large for pg_dump")
    assert "SELECT ctid, pg_column_size(t.*) FROM public.big AS t" in str(error)


@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("LATIN1", "latin-1", "größe"),
        ("LATIN9", "iso8859-15", "œuvre"),
        ("WIN1252", "cp1252", "größe"),
        ("WIN866", "cp866", "книга"),
        ("KOI8R", "koi8-r", "книга"),
        ("ISO_8859_5", "iso8859-5", "книга"),
        ("EUC_JP", "euc-jp", "顧客"),
        ("EUC_CN", "gb2312", "客户"),
        ("UTF8", "utf-8", "größe"),
        ("SQL_ASCII", "utf-8", "größe"),
    ],
)
def test_a_name_is_found_in_an_archive_of_any_encoding(encoding: str, codec: str, name: str) -> None:
    printed = (HEAD + entry(1, f"TABLE DATA public {name} admin")).encode(codec)
    assert unlisted(printed.decode(codec_of(encoding), errors="replace"), [f'public."{name}"']) == []


def test_an_encoding_that_python_does_not_know_is_read_as_utf_8() -> None:
    assert codec_of("MULE_INTERNAL") == codec_of("EUC_TW") == "utf-8"


def test_a_name_may_hold_what_only_python_takes_for_a_line_break() -> None:
    assert unlisted(HEAD + entry(1, "TABLE DATA public a\x85b admin"), ['public."a\x85b"']) == []
