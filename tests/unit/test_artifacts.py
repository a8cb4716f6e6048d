"""Reports as Prefect's UI shows them."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.alerts import codes
from tasks.alerts.artifacts import (
    backup_report,
    counts_table,
    escape,
    findings_list,
    identity_table,
    size,
    verify_report,
)
from tasks.models import CheckResult, Finding, Identity, Manifest, StoredObject, Tally

WHEN = datetime(2026, 2, 1, 2, 5, tzinfo=UTC)
EXPECTED = {"public.experts": 85, "public.knowledge_nodes": 26337, "public.tags": 12}
DURING = {"public.experts": 1, "public.knowledge_nodes": 27, "public.tags": 12, "public.new": 3}
IDENTITY = Identity(
    container="knowledge_postgres",
    volume="knowledge_os_postgres_data",
    system_identifier="7301",
    timeline=1,
    checkpoint_lsn="0/1",
    server_version="16.4",
)
LOST = [
    Finding(code="rows.dropped", severity="critical", message="lost", table=name)
    for name in ("public.experts", "public.knowledge_nodes")
]


def cells(markdown: str) -> list[list[str]]:
    """The cells of every table row, without heads and rules."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]]


def manifest(**changes: Any) -> Manifest:
    dump = {"key": "k/b1.dump.zst", "role": "dump", "database": "knowledge_os", "sha256": "ab" * 32}
    plain = Manifest(
        id="b1",
        target="knowledge_os",
        created_at=WHEN,
        verdict="healthy",
        quarantined=False,
        method="dump",
        server_version="16.4",
        database="knowledge_os",
        objects=[
            StoredObject.model_validate({**dump, "storage": name, "bytes": 856_000_000, "raw_bytes": 2_200_000_000})
            for name in ("local", "offsite")
        ],
        tally=Tally(counts={"public.experts": 85}),
        identity=IDENTITY,
        timings={"dump": 33.0, "read_back": 11.0},
    )
    return plain.model_copy(update=changes)


def test_the_incident_s_counts_come_worst_first_with_their_differences() -> None:
    assert cells(counts_table(DURING, EXPECTED, LOST)) == [
        ["⚠", "public.knowledge_nodes", "27", "26,337", "-26,310", "-99.9", "rows.dropped"],
        ["⚠", "public.experts", "1", "85", "-84", "-98.8", "rows.dropped"],
        ["✔", "public.new", "3", "", "", "", ""],
        ["✔", "public.tags", "12", "12", "0", "", ""],
    ]


def test_a_warning_comes_after_every_critical_however_much_it_lost() -> None:
    findings = [
        Finding(code="rows.dropped", severity="warning", message="", table="a"),
        Finding(code="rows.dropped", severity="critical", message="", table="b"),
    ]
    table = counts_table({"a": 1, "b": 99}, {"a": 100, "b": 100}, findings)
    assert [row[1] for row in cells(table)] == ["b", "a"]


def test_a_missing_table_is_listed_as_missing() -> None:
    gone = Finding(code="table.missing", severity="critical", message="", table="public.experts")
    assert cells(counts_table({}, {"public.experts": 85}, [gone])) == [
        ["⚠", "public.experts", "missing", "85", "-85", "-100.0", "table.missing"]
    ]


def test_a_table_named_without_its_schema_is_the_same_table() -> None:
    finding = Finding(code="rows.below_min", severity="critical", message="", table="experts")
    assert cells(counts_table({"public.experts": 1}, {"experts": 85}, [finding])) == [
        ["⚠", "public.experts", "1", "85", "-84", "-98.8", "rows.below_min"]
    ]


@pytest.mark.parametrize(
    ("now", "before", "percent"),
    [
        (999_999, 1_000_000, "> -0.1"),
        (1_000_001, 1_000_000, "< +0.1"),
        (1, 1_000_000, "> -100"),
        (0, 10, "-100.0"),
        (11, 10, "+10.0"),
        (5, 0, "new"),
        (7, 7, ""),
    ],
)
def test_a_difference_is_never_rounded_away(now: int, before: int, percent: str) -> None:
    assert cells(counts_table({"t": now}, {"t": before}))[0][5] == percent


def test_many_tables_are_folded_and_the_bad_ones_stay_in_sight() -> None:
    counts = {f"public.t{number:05}": 10 for number in range(5000)}
    bad = Finding(code="rows.dropped", severity="critical", message="", table="public.t04999")
    table = counts_table(counts, counts, [bad])
    assert cells(table)[0][1] == "public.t04999"
    assert "<details><summary>4,960 more tables</summary>\n\n|" in table
    assert "and 4,000 more tables." in table
    assert len(table) < 100_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("public.knowledge_nodes", "public.knowledge_nodes"),
        ("a|b", r"a\|b"),
        ("`a`", r"\`a\`"),
        ("a\nb\r\nc", "a b  c"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"),
        ('"Sales Data"."Orders"', '"Sales Data"."Orders"'),
        ("**bold** _it_", r"\*\*bold\*\* \_it\_"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("&lt;", "&amp;lt;"),
        ("a\\|b", r"a\\\|b"),
    ],
)
def test_names_are_words_and_never_mark_up(name: str, shown: str) -> None:
    assert escape(name) == shown
    assert cells(counts_table({name: 1}, {}))[0][1] == shown


def test_findings_come_worst_first_and_one_a_line() -> None:
    notice = Finding(code="cluster.pinned", severity="notice", message="First\nsight.")
    assert findings_list([notice, LOST[0]]) == (
        "- ⚠ **critical** rows.dropped: lost\n- ℹ **notice** cluster.pinned: First sight."
    )
    assert findings_list([]) == "✔ Nothing is wrong."


def test_the_identity_is_set_beside_its_pin() -> None:
    rows = cells(identity_table(IDENTITY, {"volume": "atra_knowledge_postgres_data", "system_identifier": "7301"}))
    assert ["⚠", "volume", "knowledge_os_postgres_data", "atra_knowledge_postgres_data"] in rows
    assert ["✔", "system identifier", "7301", "7301"] in rows
    assert identity_table(None) == "The server's identity could not be read."


def test_the_report_of_a_check_holds_every_part() -> None:
    result = CheckResult(
        target="knowledge_os",
        verdict="critical",
        checked_at=WHEN,
        findings=LOST,
        counts=DURING,
        identity=IDENTITY,
    )
    report = verify_report(result, EXPECTED, {"experts": "data:image/png;base64,AAAA"})
    assert report.startswith("# ⚠ CRITICAL: knowledge_os\n\nChecked 2026-02-01 02:05:00 UTC.\n")
    assert "![experts](data:image/png;base64,AAAA)" in report
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## Findings",
        "## Rows",
        "## Identity",
    ]


def test_a_check_that_reached_nothing_has_a_report() -> None:
    result = CheckResult(target="t", verdict="critical", checked_at=WHEN, findings=[], counts={}, identity=None)
    assert "No tables were counted." in verify_report(result, {})


def test_the_report_of_a_backup_says_where_how_much_and_how_fast() -> None:
    other = {"other": Tally(counts={"public.x": 4})}
    report = backup_report(manifest(databases=other), {"public.experts": 85}, deleted=["a1", "a2"])
    assert report.startswith("# ✔ stored: knowledge_os, backup b1\n")
    assert "One copy is 856 MB of 2.2 GB; 44.0 s in all at 50.0 MB/s." in report
    assert "| local | 1 | 856 MB | k/b1.dump.zst |" in report
    assert "dump of knowledge_os | 856 MB | 2.2 GB | abababab… |" in report
    assert "| read_back | 11.00 |" in report
    assert "Deleted 2: a1, a2" in report
    assert "Database other: 4 rows in 1 table</summary>" in report


def test_a_quarantined_backup_says_so_and_why_nothing_was_deleted() -> None:
    report = backup_report(manifest(quarantined=True), {}, frozen="the verdict is critical")
    assert report.startswith("# ⚠ QUARANTINED: ")
    assert "⚠ Held, nothing was deleted: the verdict is critical" in report


def test_a_manifest_without_objects_and_times_has_a_report() -> None:
    report = backup_report(manifest(objects=[], timings={}, omitted=["roles"]), {})
    assert "Nothing was stored." in report
    assert "## Not in this backup\n\n- roles" in report


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (856e6, "856 MB"),
        (2.2e9, "2.2 GB"),
        (3e12, "3.0 TB"),
    ],
)
def test_sizes_are_told_in_powers_of_a_thousand(number: float, shown: str) -> None:
    assert size(number) == shown


def test_every_finding_code_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
    assert [code for code in codes.CODES if f"| `{code}` |" not in page] == []
