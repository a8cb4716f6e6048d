"""How a cluster is made again from a backup: arguments, scripts and what cannot be, as text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tasks.databases import load
from tasks.models import Identity, Manifest, StoredObject, Tally

LIBC: dict[str, Any] = {
    "bootstrap_user": "admin", "data_checksums": False, "wal_segment_size": 16 << 20, "block_size": 8192,
    "encoding": "UTF8", "collate": "C.UTF-8", "ctype": "C.UTF-8", "locale_provider": "libc",
    "icu_locale": None, "icu_rules": None, "tablespaces": {},
}  # fmt: skip
COMMON = [
    "--username=admin",
    "--encoding=UTF8",
    "--no-sync",
    "--locale=C",
    "--lc-collate=C.UTF-8",
    "--lc-ctype=C.UTF-8",
]
CLOSED = ["--auth-local=peer", "--auth-host=reject", "--no-instructions"]
INITDB = [
    ("17.10", {}, ["--locale-provider=libc", "--wal-segsize=16"]),
    ("17.10", {"data_checksums": True}, ["--locale-provider=libc", "--data-checksums", "--wal-segsize=16"]),
    ("18.1", {}, ["--locale-provider=libc", "--no-data-checksums", "--wal-segsize=16"]),
    ("18.1", {"data_checksums": True}, ["--locale-provider=libc", "--data-checksums", "--wal-segsize=16"]),
    ("15.18 (Debian 15.18-0+deb12u1)", {"wal_segment_size": 64 << 20}, ["--locale-provider=libc", "--wal-segsize=64"]),
    ("14.2", {"locale_provider": "libc"}, ["--wal-segsize=16"]),
    ("15.1", {"locale_provider": "icu", "icu_locale": "de-DE"},
     ["--locale-provider=icu", "--icu-locale=de-DE", "--wal-segsize=16"]),
    ("17.1", {"locale_provider": "icu", "icu_locale": "und", "icu_rules": "&a < g"},
     ["--locale-provider=icu", "--icu-locale=und", "--icu-rules=&a < g", "--wal-segsize=16"]),
    ("17.1", {"locale_provider": "builtin", "icu_locale": "C.UTF-8"},
     ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--wal-segsize=16"]),
]  # fmt: skip


@pytest.mark.parametrize(("version", "changes", "more"), INITDB)
def test_initdb_is_told_how_the_cluster_was_initialised(version: str, changes: dict[str, Any], more: list[str]) -> None:
    assert load.initdb_arguments(LIBC | changes, version) == [*COMMON, *more, *CLOSED]


GLOBALS = b"""--
\\restrict abcDEF123

SET client_encoding = 'UTF8';
CREATE ROLE admin;
ALTER ROLE admin WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS PASSWORD 'SCRAM-SHA-256$1';
CREATE ROLE admin2;
ALTER ROLE admin2 WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE TABLESPACE "it's" OWNER admin LOCATION '/var/lib/postgresql/it''s';
\\unrestrict abcDEF123
"""


def test_the_role_that_initdb_made_is_not_created_again_and_keeps_its_password() -> None:
    script, afterwards, folders = load.loadable_globals(GLOBALS, "admin")
    assert b"CREATE ROLE admin;" not in script
    assert b"ALTER ROLE admin WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN" in script
    assert b"SCRAM-SHA-256$1" in script
    assert b"CREATE ROLE admin2;\nALTER ROLE admin2 WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN" in script
    assert b"restrict" not in script
    assert afterwards == b""
    assert folders == ["/var/lib/postgresql/it's"]


@pytest.mark.parametrize("name", ["my admin", 'say "hi"', "Größe", "user"])
def test_a_quoted_superuser_is_found_and_one_who_may_not_log_in_is_closed_at_the_end(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    told = f"CREATE ROLE {quoted};\nALTER ROLE {quoted} WITH SUPERUSER INHERIT NOLOGIN PASSWORD 'NOLOGIN';\n"
    script, afterwards, _ = load.loadable_globals(told.encode(), name)
    assert script.decode() == f"ALTER ROLE {quoted} WITH SUPERUSER INHERIT LOGIN PASSWORD 'NOLOGIN';\n"
    assert afterwards.decode() == f"ALTER ROLE {quoted} NOLOGIN;\n"


def test_settings_of_the_superuser_wait_until_all_is_loaded() -> None:
    own = "ALTER ROLE admin SET role TO 'app';\nALTER ROLE admin SET app.x TO 'it''s; a\n;\n';\n"
    other = "ALTER ROLE admin2 SET work_mem TO '7MB';\n"
    script, afterwards, _ = load.loadable_globals(f"CREATE ROLE admin;\n{own}{other}".encode(), "admin")
    assert script.decode() == other
    assert afterwards.decode() == own


def test_a_demoted_superuser_of_initdb_is_one_until_all_is_loaded() -> None:
    told = (
        'CREATE ROLE "the ""Boss""";\n'
        'ALTER ROLE "the ""Boss""" WITH NOSUPERUSER INHERIT NOCREATEROLE NOLOGIN CONNECTION LIMIT 0'
        " PASSWORD 'NOLOGIN NOSUPERUSER' VALID UNTIL '2001-01-01';\n"
        'ALTER ROLE "the ""Boss""" SET search_path TO \'app\', \'public\';\n'
    )
    script, afterwards, _ = load.loadable_globals(told.encode(), 'the "Boss"')
    assert script.decode().splitlines() == [
        'ALTER ROLE "the ""Boss""" WITH SUPERUSER INHERIT NOCREATEROLE LOGIN CONNECTION LIMIT 0'
        " PASSWORD 'NOLOGIN NOSUPERUSER' VALID UNTIL '2001-01-01';",
        'ALTER ROLE "the ""Boss""" SET search_path TO \'app\', \'public\';',
    ]
    assert afterwards.decode() == 'ALTER ROLE "the ""Boss""" NOSUPERUSER NOLOGIN;\n'


def test_statements_that_were_refused_are_named_without_their_values() -> None:
    script = (
        "SET client_encoding = 'UTF8';\nCREATE ROLE \"Größe\";\n"
        "ALTER ROLE \"Größe\" WITH LOGIN PASSWORD 'secret';\nALTER ROLE app SET a.b TO 'secret';\nGRANT a TO b;\n"
    ).encode()
    said = "".join(f"psql:<stdin>:{number}: ERROR:  not this\n" for number in (2, 3, 4, 5))
    named = ['CREATE ROLE "Größe"', 'ALTER ROLE "Größe"', "ALTER ROLE app SET a.b", "GRANT a TO b"]
    assert load.refused(said, script) == [(each, "not this") for each in named]
    assert load.refused("", script) == []


def test_of_a_refused_statement_of_several_lines_no_value_is_named() -> None:
    script = (
        b"-- it's a comment\nCREATE ROLE app;\nALTER ROLE app SET \"app.token\" TO 'one\n; s3cr3t'';\nto';\n"
        b"ALTER ROLE app SET a.b TO E's3cr3t\\\\';\nCOMMENT ON ROLE \"a;\nb's\" IS 'it''s\ns3cr3t';\n-- it's the end\n"
    )
    said = "".join(f"psql:<stdin>:{number}: ERROR:  not this\n" for number in (2, 5, 6, 9, 10))
    named = ["CREATE ROLE app", 'ALTER ROLE app SET "app.token"', "ALTER ROLE app SET a.b"]
    assert load.refused(said, script) == [
        (each, "not this") for each in [*named, 'COMMENT ON ROLE "a;\nb\'s"', "line 10"]
    ]


def test_a_script_in_another_encoding_comes_through_byte_for_byte() -> None:
    told = 'CREATE ROLE admin;\nCREATE ROLE "Größe";\n'.encode("latin-1")
    assert load.loadable_globals(told, "admin").script == 'CREATE ROLE "Größe";\n'.encode("latin-1")


def test_sessions_are_free_of_what_was_set_for_a_database_or_role() -> None:
    options = load.session_environment(17)["PGOPTIONS"]
    assert "-c default_transaction_read_only=off" in options
    assert "-c role=none" in options
    assert "idle_session_timeout" in options
    assert r"default_transaction_isolation=read\ committed" in options
    assert "search_path" not in options
    assert r'-c search_path="a\ b",\ public' in load.session_environment(17, '"a b", public')["PGOPTIONS"]
    assert "idle_session_timeout" not in load.session_environment(13)["PGOPTIONS"]


CONFIGURATION = """
# timezone = 'Nowhere/Commented'
timezone = 'Europe/Moscow'   # with a comment
DateStyle 'iso, dmy'
app.tenant = 'it''s ours'
archive_mode = on
archive_command = 'cp %p /archive/%f'
shared_preload_libraries = 'pg_cron, pg_stat_statements'
cron.database_name = 'postgres'
ssl = on
include_dir 'conf.d'
max_connections = 500
"""


def test_settings_are_read_as_the_server_reads_them() -> None:
    found = load.settings_in([CONFIGURATION, "timezone = 'UTC'\n"])
    assert found["timezone"] == "UTC"
    assert found["datestyle"] == "iso, dmy"
    assert found["app.tenant"] == "it's ours"
    assert found["max_connections"] == "500"
    assert found["include_dir"] == "conf.d"


def test_only_what_a_session_depends_on_is_taken_over() -> None:
    taken = load.session_settings(load.settings_in([CONFIGURATION]))
    assert taken == {
        "timezone": "Europe/Moscow", "datestyle": "iso, dmy", "app.tenant": "it's ours",
        "cron.database_name": "postgres",
    }  # fmt: skip


def test_the_libraries_that_extensions_need_are_preloaded_in_the_servers_order_and_kept_quiet() -> None:
    listed = load.libraries({"shared_preload_libraries": 'auto_explain, pg_stat_statements,"$libdir/pg_cron"'})
    assert listed == ["auto_explain", "pg_stat_statements", "$libdir/pg_cron"]
    assert load.preloaded(listed, ["pg_cron", "pg_stat_statements"]) == ["pg_stat_statements", "$libdir/pg_cron"]
    assert load.preloaded(listed, ["of_another_name"]) == listed
    settings = load.preloading(["pg_stat_statements", "$libdir/pg_cron"])
    assert settings["shared_preload_libraries"] == '"pg_stat_statements","$libdir/pg_cron"'
    assert (settings["max_worker_processes"], settings["cron.launch_active_jobs"]) == ("0", "off")


def test_the_extensions_of_a_database_are_named() -> None:
    objects = {"extension pg_cron": "x", 'extension "uuid-ossp"': "y", "table public.t": "z"}
    assert load.extensions(Tally(counts={}, schema_objects=objects)) == ["pg_cron", "uuid-ossp"]


WORDS = [
    ("ERROR:  pg_cron can only be loaded via shared_preload_libraries", True),
    ('ERROR:  unrecognized configuration parameter "cron.database_name"', True),
    ('FATAL:  extension "timescaledb" must be preloaded', True),
    ("ERROR:  pgaudit must be loaded via shared_preload_libraries", True),
    ('ERROR:  extension "plpgsql" already exists', False),
    ('ERROR:  extension "postgis" is not available', False),
]


@pytest.mark.parametrize(("words", "needed"), WORDS)
def test_what_says_that_a_library_is_not_preloaded_is_known(words: str, needed: bool) -> None:
    assert bool(load.NOT_PRELOADED.search(words)) == needed


def test_what_a_person_must_know_of_the_configuration_is_told() -> None:
    notes = load.settings_notes(load.settings_in([CONFIGURATION]), "/var/lib/postgresql/data")
    assert [note.split(" (")[0][:40] for note in notes] == [
        "The configuration archives WAL",
        "The configuration reads conf.d, server.c",
    ]
    elsewhere = {"ssl": "on", "ssl_cert_file": "/etc/ssl/a.crt", "ssl_key_file": "/etc/ssl/a.key"}
    assert load.settings_notes(elsewhere, "/var/lib/postgresql/data") == []


def manifest(
    cluster: dict[str, Any] | None = None, roles: tuple[Any, ...] = ("dump", "globals"), **changes: Any
) -> Manifest:
    identity = Identity(
        container="c", volume="v", system_identifier="1", timeline=1, checkpoint_lsn="0/1", server_version="17",
        pgdata="/var/lib/postgresql/data",
    )  # fmt: skip
    objects = [
        StoredObject(
            storage="a", key=f"t/1/{role}", role=role, bytes=1, sha256="0", database="d" if role == "dump" else None
        )
        for role in roles
    ]
    told = {
        "id": "1", "target": "t", "created_at": "2026-11-22T12:00:00Z", "verdict": "healthy", "quarantined": False,
        "method": "dump", "server_version": "17.10", "database": "d", "objects": objects, "tally": Tally(counts={}),
        "identity": identity, "cluster": LIBC if cluster is None else cluster,
    }  # fmt: skip
    return Manifest.model_validate(told | changes)


CANNOT = [
    ({"method": "basebackup"}, "taken by the method basebackup"),
    ({"cluster": {}}, "does not say how its cluster was initialised"),
    ({"cluster": LIBC | {"tablespaces": {"fast": "/ssd"}}}, r"tablespaces outside of its volume \(fast\)"),
    ({"cluster": LIBC | {"tablespaces": {"sly": "/var/lib/postgresql/data/../x"}}}, "sly"),
    ({"roles": ("dump",)}, "holds no roles"),
    ({"databases": {"other": Tally(counts={})}}, "lists no dump of other"),
]


@pytest.mark.parametrize(("changes", "told"), CANNOT)
def test_what_cannot_be_rebuilt_is_said_before_anything_begins(changes: dict[str, Any], told: str) -> None:
    reasons = load.cannot_be_rebuilt(manifest(**changes), "/var/lib/postgresql/data")
    assert len(reasons) == 1
    assert re.search(told, reasons[0])


def test_a_tablespace_within_the_volume_can_be_rebuilt() -> None:
    within = LIBC | {"tablespaces": {"fast": "/var/lib/postgresql/fast", "in place": ""}}
    assert load.cannot_be_rebuilt(manifest(within), "/var/lib/postgresql") == []


def test_a_configuration_file_that_was_elsewhere_stays_out_of_pgdata() -> None:
    names = ["postgresql.conf", "pg_hba.conf"]
    assert load.configuration_in_pgdata(manifest(), names) == names
    elsewhere = {
        "postgresql.conf": "/etc/postgresql/postgresql.conf",
        "pg_hba.conf": "/var/lib/postgresql/data/pg_hba.conf",
    }
    assert load.configuration_in_pgdata(manifest(LIBC | {"files": elsewhere}), names) == ["pg_hba.conf"]
