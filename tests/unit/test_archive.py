"""What pg_restore says of an archive, read: which entry failed, why, and in which search paths it is tried again."""

from __future__ import annotations

import pytest

from tasks.databases import archive, archive_errors
from tasks.databases.archive import Entry, Hindrance, Paths

LISTING = """;
; Archive created at 2026-11-22 12:00:00 UTC
217; 1259 16398 TABLE public adata admin
3368; 0 16398 TABLE DATA public adata admin
3220; 1259 16393 INDEX public my idx admin
3366; 0 16389 MATERIALIZED VIEW DATA public totals admin
3400; 3466 16500 EVENT TRIGGER - noting admin
3401; 0 0 COMMENT - EVENT TRIGGER noting admin
"""
ENTRIES = archive.entries(LISTING)
ONE_JOB = """pg_restore: connecting to database for restore
pg_restore: processing data for table "public.adata"
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3368; 0 16398 TABLE DATA adata admin
pg_restore: error: COPY failed for table "adata": ERROR:  new row for relation "adata" violates check constraint "k"
DETAIL:  Failing row contains (secret).
pg_restore: creating MATERIALIZED VIEW DATA "public.totals"
pg_restore: from TOC entry 3366; 0 16389 MATERIALIZED VIEW DATA totals admin
pg_restore: error: could not execute query: ERROR:  relation "software" does not exist
LINE 1: (SELECT count(*) FROM software)
Command was: REFRESH MATERIALIZED VIEW public.totals;


pg_restore: warning: errors ignored on restore: 2
"""
SCRIPT = """SET row_security = off;

--
-- TOC entry 3220 (class 1259 OID 16393)
-- Dependencies: 215
-- Name: my idx; Type: INDEX; Schema: public; Owner: admin
-- Data Pos: 0
--

CREATE INDEX "my idx" ON public.totals USING btree (id);


--
-- TOC entry 3366 (class 0 OID 16389)
-- Name: totals; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: admin
--

REFRESH MATERIALIZED VIEW public.totals;


"""


def test_the_entries_that_failed_are_found_with_the_reason_and_no_row() -> None:
    found = archive_errors.outcome(ONE_JOB, ENTRIES)
    assert found.strays == []
    assert [each.entry.number for each in found.failed] == [3368, 3366]
    assert found.failed[0].why == 'new row for relation "adata" violates check constraint "k"'
    assert found.failed[1].why == 'relation "software" does not exist'
    assert archive_errors.first_words(ONE_JOB) == found.failed[0].why


def test_of_several_jobs_the_statement_says_which_entry_failed() -> None:
    post_data = [entry for entry in ENTRIES if entry.number in (3220, 3366)]
    found = archive_errors.outcome_of_jobs(ONE_JOB, SCRIPT, post_data)
    assert [each.entry.number for each in found.failed] == [3366]
    assert found.strays == ['new row for relation "adata" violates check constraint "k"']


def test_what_ends_pg_restore_is_of_no_entry() -> None:
    said = 'pg_restore: error: connection to server failed: FATAL:  database "x" does not exist\n'
    assert archive_errors.outcome(said, ENTRIES) == archive_errors.Outcome([], ['database "x" does not exist'])


def test_an_event_trigger_and_what_belongs_to_it_come_last() -> None:
    assert [entry.number for entry in ENTRIES if archive.is_last(entry)] == [3400, 3401]


def test_what_only_create_makes_is_known() -> None:
    texts = ["DATABASE PROPERTIES - app admin", "COMMENT - DATABASE app admin", "ACL - DATABASE app admin"]
    assert all(archive.is_of_database(Entry(1, text)) for text in texts)
    assert not archive.is_of_database(Entry(1, "TABLE public DATABASE admin"))
    said = 'psql:<stdin>:12: ERROR:  invalid value for parameter "lc_numeric": "xx_XX"\n'
    assert archive_errors.errors(said) == ['invalid value for parameter "lc_numeric": "xx_XX"']


def test_what_comes_before_the_extensions_is_listed_and_chosen() -> None:
    first = ["DATABASE - app admin", "ACL - DATABASE app admin", "SECURITY LABEL - DATABASE app admin",
             "DATABASE PROPERTIES - app admin", "SCHEMA - sales admin"]  # fmt: skip
    assert all(archive.is_first(Entry(1, text)) for text in first)
    assert not any(archive.is_first(Entry(1, text)) for text in ("ACL - SCHEMA sales admin", "TABLE DATABASE t admin"))
    assert "--create" in archive.list_command()


NAMES = [
    ("INDEX public my idx admin", 'index public."my idx"'),
    ("MATERIALIZED VIEW DATA public totals admin", "materialized view public.totals"),
    ("FK CONSTRAINT Sales Data Or.ders k admin", 'constraint "Sales Data"."Or.ders".k'),
    ("FUNCTION public f(integer) admin", "function public.f(i integer)"),
    ("EXTENSION - pgaudit ", "extension pgaudit"),
    ("EVENT TRIGGER - noting admin", "event trigger noting"),
    ("COMMENT public VIEW v admin", "COMMENT public VIEW v"),
    ("TABLE public adata2 admin", "TABLE public adata2"),
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_an_entry_is_called_as_a_tally_calls_its_object(text: str, name: str) -> None:
    known = [each for _, each in NAMES if each[0].islower()] + ["table public.adata"]
    assert archive.object_of(Entry(1, text), known) == name


def test_the_owners_search_path_comes_first_and_every_schema_last() -> None:
    known = Paths('"$user", public', {"clerk": "sales", "tenant": "other"}, ["the tenant", "tenant"], ["public", "x y"])
    assert archive.search_paths(Entry(1, "INDEX x y i tenant"), known) == [
        "other", '"tenant", public', "sales", '"x y", "public"',
    ]  # fmt: skip


def test_a_constraint_is_made_again_for_new_rows_with_its_comment() -> None:
    each = Hindrance("DOMAIN public.d", "small", "CHECK ((VALUE < 9))", "it's small")
    assert each.dropped() == "ALTER DOMAIN public.d DROP CONSTRAINT small;\n"
    assert each.made_again() == (
        "ALTER DOMAIN public.d ADD CONSTRAINT small CHECK ((VALUE < 9)) NOT VALID;\n"
        "COMMENT ON CONSTRAINT small ON DOMAIN public.d IS 'it''s small';\n"
    )
    assert each.object == "domain public.d"
    odd = each._replace(comment="\\'; DROP TABLE t; --")
    assert odd.made_again().endswith("IS E'\\\\''; DROP TABLE t; --';\n")


@pytest.mark.parametrize(
    ("database", "through"), [("knowledge_os", "postgres"), ("postgres", "template1"), ("template1", "postgres")]
)
def test_no_database_is_dropped_through_itself(database: str, through: str) -> None:
    line = archive.whole_command(database, "admin", 2)
    assert f"--dbname={through}" in line
    assert {"--create", "--clean", "--if-exists", "--jobs=2"} <= set(line)


def test_a_database_whose_name_looks_like_a_connection_string_is_still_a_name() -> None:
    assert "--dbname=dbname='host=x y'" in archive.chosen_command("host=x y", "admin")
