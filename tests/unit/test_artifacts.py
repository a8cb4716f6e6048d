"""Reports as Prefect's UI shows them."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.alerts import codes
from tasks.alerts.artifacts import (
    LARGEST,
    as_line,
    counts_table,
    escape,
    findings_list,
    fitted,
    fold,
    html_table,
    identity_table,
    size,
)
from tasks.models import Finding, Identity

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
    assert "<details><summary>960 more tables</summary>\n<table>" in table
    assert table.endswith("and 4,000 more tables, which are left out here: rollcall verify --json has them all.")
    assert "\n\n" not in table[table.index("<details>") : table.index("</details>")], "an empty line would end the fold"
    assert len(cells(table)) + table.count("<tr>") - 1 == 1000


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+ external: true", r"\+ external: true"),
        ("- x", r"\- x"),
        ("12. x", r"12\. x"),
        ("# x", r"\# x"),
        ("16", "16"),
    ],
)
def test_no_line_begins_a_list_by_what_it_says(text: str, shown: str) -> None:
    assert as_line(text) == shown


def test_findings_come_worst_first_and_one_a_line() -> None:
    notice = Finding(code="cluster.pinned", severity="notice", message="First\nsight.")
    assert findings_list([notice, LOST[0]]) == (
        "- ⚠ **critical** rows.dropped: lost\n- ℹ **notice** cluster.pinned: First sight."
    )
    assert findings_list([]) == "✔ Nothing is wrong."


def test_what_is_wrong_with_one_table_s_rows_is_said_once_and_of_many_tables_a_few() -> None:
    twice = [
        Finding(code=code, severity="critical", message=f"t{number} {code}", table=f"t{number}")
        for code in ("rows.below_min", "rows.dropped")
        for number in range(13)
    ]
    lines = findings_list(twice).splitlines()
    assert lines[0] == "- ⚠ **critical** rows.below_min: t0 rows.below_min"
    assert lines[-1] == "- ⚠ and the rows of 3 more tables"
    assert len(lines) == 11 and "rows.dropped" not in "".join(lines)


def test_a_fold_holds_plain_words_and_never_mark_up() -> None:
    inside = html_table(("table", "rows"), [["a|b<script>\n\n`x`", "1"]], (1,))
    assert fold("<b>3 & 4", inside) == (
        "<details><summary>&lt;b&gt;3 &amp; 4</summary>\n"
        '<table><tr><th>table</th><th align="right">rows</th></tr>\n'
        '<tr><td>a|b&lt;script&gt;  `x`</td><td align="right">1</td></tr></table>\n</details>'
    )


def test_a_report_is_as_long_as_prefect_takes_and_no_longer() -> None:
    asked: list[int] = []

    def report(most: int) -> str:
        asked.append(most)
        return "ä" * (most * 200)

    assert len(fitted(report)) == 100 * 200
    assert asked == [1000, 300, 100]
    assert fitted(lambda _most: "short") == "short"


def test_a_report_that_cannot_be_shortened_is_cut_at_a_line_and_says_so() -> None:
    cut = fitted(lambda _most: "a line of a report\n" * 100_000)
    assert len(cut.encode()) <= LARGEST
    assert cut.startswith("a line of a report\n")
    assert cut.endswith(
        "a line of a report\n\n\n⚠ The rest is left out here: it is more than Prefect keeps. See the command line.\n"
    )


def test_the_identity_is_set_beside_its_pin() -> None:
    rows = cells(identity_table(IDENTITY, {"volume": "atra_knowledge_postgres_data", "system_identifier": "7301"}))
    assert ["⚠", "volume", "knowledge_os_postgres_data", "atra_knowledge_postgres_data"] in rows
    assert ["✔", "system identifier", "7301", "7301"] in rows
    assert identity_table(None) == "The server's identity could not be read."


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
