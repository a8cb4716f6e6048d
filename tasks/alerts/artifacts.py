"""What reports are made of, in Markdown as Prefect's UI shows it: tables, folds, lists, words. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from tasks.alerts import codes
from tasks.alerts.message import rows_of
from tasks.models import WORST_FIRST, Finding, Identity, Severity, Verdict

LARGEST = 100_000
"""Bytes of a report: Prefect keeps each in its database, and the UI loads it whole."""
MOST = 1000
"""Entries of a list, and rows of a table, that a report holds at most."""
_FEWER = (MOST, 300, 100, 30, 10)
_SHOWN = 40
"""Rows of a table that are shown at once; the next are behind a click, and those beyond MOST only counted."""
_LISTED = 10
"""Findings that a list names, of those about rows: the table of rows has them all."""

_BAD, _GOOD = "⚠", "✔"
MARK: dict[Verdict, str] = {"healthy": "✔ healthy", "warning": "⚠ warning", "critical": "⚠ CRITICAL"}
_COUNT_HEAD = ("", "table", "rows", "expected", "difference", "%", "finding")
_COUNT_NUMBERS = (2, 3, 4, 5)


def artifact_key(kind: str, target: str) -> str:
    """Under which Prefect keeps a report: it allows lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', target.lower()).strip('-')}"


def escape(text: str) -> str:
    """`text` as plain words in a Markdown table cell: no mark-up, no HTML, no line break.

    With backslashes, for Prefect's UI shows numeric entities as they are written: `&#96;`.
    """
    safe = re.sub(r"(?<!\w)_|_(?!\w)|[|`*~\[\]\\!]", r"\\\g<0>", _flat(text))
    return html.escape(safe, quote=False)


def as_line(text: str) -> str:
    """The same where a line begins with it: no list, heading or quotation is begun either."""
    return re.sub(r"^(\s*\d*)([-+#.)])", r"\1\\\2", escape(text))


def _flat(text: str) -> str:
    """One line: what cannot be printed becomes spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def fitted(make: Callable[[int], str]) -> str:
    """The report that `make` makes of so many entries a list at most: of as many as LARGEST allows.

    One that is too large even so is cut at the end of a line, and says so.
    """
    for most in _FEWER:
        report = make(most)
        if len(report.encode()) <= LARGEST:
            return report
    return _cut(report)


def _cut(report: str) -> str:
    kept, room = [], LARGEST - 200
    for line in report.splitlines(keepends=True):
        room -= len(line.encode())
        if room < 0:
            break
        kept.append(line)
    return (
        "".join(kept) + f"\n\n{_BAD} The rest is left out here: it is more than Prefect keeps. See the command line.\n"
    )


def counts_table(
    counts: Mapping[str, int], expected: Mapping[str, int], findings: Sequence[Finding] = (), most: int = MOST
) -> str:
    """Rows of every table against the baseline, worst first; those beyond the fortieth folded away, and those beyond
    `most` only counted."""
    worst = _worst_by_table(findings, counts)
    names = sorted(_names(counts, expected), key=lambda name: _badness(name, counts, expected, worst))
    if not names:
        return "No tables were counted."
    rows = [_count_row(name, counts.get(name), rows_of(name, expected), worst.get(name)) for name in names[:most]]
    left = len(names) - len(rows)
    more = f"and {left:,} more tables, which are left out here: rollcall verify --json has them all." if left else ""
    shown = table(_COUNT_HEAD, [[row[0], escape(row[1]), *row[2:]] for row in rows[:_SHOWN]], _COUNT_NUMBERS)
    if len(rows) > _SHOWN:
        inside = html_table(_COUNT_HEAD, rows[_SHOWN:], _COUNT_NUMBERS)
        shown += "\n\n" + fold(f"{len(rows) - _SHOWN:,} more tables", inside)
    return f"{shown}\n\n{more}" if more else shown


def findings_list(findings: Sequence[Finding], most: int = _LISTED) -> str:
    """One line a finding, worst first. What is wrong with the rows of one table is said once, and of `most` tables: the
    table of rows has them all."""
    if not findings:
        return f"{_GOOD} Nothing is wrong."
    lines, tables = [], set()
    for each in sorted(findings, key=lambda finding: WORST_FIRST.index(finding.severity)):
        if _of_rows(each):
            if each.table in tables:
                continue
            tables.add(each.table)
            if len(tables) > most:
                continue
        lines.append(_finding_line(each))
    if len(tables) > most:
        lines.append(f"- {_BAD} and the rows of {len(tables) - most:,} more tables")
    return "\n".join(lines)


def _of_rows(finding: Finding) -> bool:
    return finding.table is not None and finding.code in codes.ROW_CODES


def identity_table(identity: Identity | None, pin: Mapping[str, str] | None = None) -> str:
    """What answered, beside what is pinned: `pin` holds expected values by field of Identity (volume, …)."""
    if identity is None:
        return "The server's identity could not be read."
    pins = pin or {}
    known = [(field, getattr(identity, field)) for field in _IDENTITY]
    rows = [
        _identity_row(field, str(value or "none"), pins.get(field)) for field, value in known if value or field in pins
    ]
    return table(("", "", "found", "pinned"), rows)


def size(number: float) -> str:
    """Bytes for people, in powers of 1000: `856 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


_IDENTITY = (
    "container",
    "volume",
    "system_identifier",
    "timeline",
    "checkpoint_lsn",
    "server_version",
    "compose_project",
    "pgdata",
)


def _names(counts: Mapping[str, int], expected: Mapping[str, int]) -> set[str]:
    """Every table once, also where the baseline names it without its schema."""
    return set(counts) | {name for name in expected if rows_of(name, counts) is None}


def _worst_by_table(findings: Sequence[Finding], counts: Mapping[str, int]) -> dict[str, Finding]:
    worst: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda each: WORST_FIRST.index(each.severity)):
        if finding.table:
            name = finding.table if finding.table in counts else f"public.{finding.table}"
            worst.setdefault(name if name in counts else finding.table, finding)
    return worst


def _badness(
    name: str, counts: Mapping[str, int], expected: Mapping[str, int], worst: Mapping[str, Finding]
) -> tuple[int, float, str]:
    severity: Severity | None = worst[name].severity if name in worst else None
    place = WORST_FIRST.index(severity) if severity else len(WORST_FIRST)
    before = rows_of(name, expected) or 0
    lost = (before - counts.get(name, 0)) / before if before else 0.0
    return place, -max(lost, 0.0), name


def _count_row(name: str, now: int | None, before: int | None, finding: Finding | None) -> list[str]:
    bad = finding is not None and finding.severity != "notice"
    return [
        _BAD if bad else _GOOD,
        name,
        "missing" if now is None else f"{now:,}",
        "" if before is None else f"{before:,}",
        "" if before is None else f"{(now or 0) - before:+,}" if now != before else "0",
        _percent(now or 0, before),
        finding.code if finding else "",
    ]


def _percent(now: int, before: int | None) -> str:
    """The difference in per cent; a loss is never rounded away, nor is what is left."""
    if before is None or before == now:
        return ""
    if before == 0:
        return "new"
    change = 100 * (now - before) / before
    if abs(change) < 0.1:
        return "> -0.1" if change < 0 else "< +0.1"
    if now > 0 and change < -99.9:
        return "> -100"
    return f"{change:+.1f}"


def _finding_line(finding: Finding) -> str:
    mark = "ℹ" if finding.severity == "notice" else _BAD
    return f"- {mark} **{finding.severity}** {escape(finding.code)}: {escape(finding.message)}"


def _identity_row(field: str, found: str, pinned: str | None) -> list[str]:
    mark = "" if pinned is None else _GOOD if pinned == found else _BAD
    return [mark, field.replace("_", " "), escape(found), escape(pinned or "")]


def fold(summary: str, inside: str) -> str:
    """`inside`, which is HTML without an empty line, behind a click on the words `summary`.

    Markdown cannot stand in it: Prefect's UI would end the fold where it begins.
    """
    return f"<details><summary>{_in_html(summary)}</summary>\n{inside}\n</details>"


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of plain words for the inside of a fold."""

    def line(tag: str, cells: Sequence[str]) -> str:
        right = [' align="right"' if place in numbers else "" for place in range(len(cells))]
        each = (f"<{tag}{at}>{_in_html(cell)}</{tag}>" for at, cell in zip(right, cells, strict=True))
        return f"<tr>{''.join(each)}</tr>"

    return "<table>" + "\n".join((line("th", heads), *(line("td", row) for row in rows))) + "</table>"


def _in_html(text: str) -> str:
    return html.escape(_flat(text), quote=False)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A Markdown table of cells that are Markdown themselves; the columns `numbers` are set to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def moment(when: datetime) -> str:
    """A time for people: `2026-02-01 02:05:00 UTC`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
