"""What a person reads on a phone: what is wrong, what is expected, what to do next. Pure, plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from tasks.alerts import codes
from tasks.alerts.decide import Reason
from tasks.errors import RollcallError
from tasks.models import WORST_FIRST, Finding, Identity, Verdict

LINE = 90
LINES = 5

# The four kinds that Apprise knows, as it spells them.
Kind = Literal["info", "success", "warning", "failure"]
_KIND: dict[Verdict, Kind] = {"healthy": "success", "warning": "warning", "critical": "failure"}
_AGAIN: dict[Reason, str] = {"reminder": "STILL ", "worse": "WORSE: ", "better": "BETTER: "}


@dataclass(frozen=True)
class Message:
    """A title of one line and a body of at most five, each at most 90 characters."""

    title: str
    body: str
    kind: Kind = "info"


def compose(
    target: str,
    verdict: Verdict,
    findings: Sequence[Finding],
    identity: Identity | None,
    counts: Mapping[str, int],
    *,
    expected: Mapping[str, int],
    reason: Reason,
    when: datetime,
    backup: str | None,
) -> Message:
    """The alert. expected: the baseline's rows by table; backup: the newest good one's id."""
    if verdict == "healthy":
        return compose_recovery(target, counts, expected, identity, when=when, backup=backup)
    wrong = _worst_first(findings)
    head = f"{_AGAIN.get(reason, '')}{verdict.upper()} {target}: "
    title = head + _listed(_title_words(wrong, counts, expected), LINE - len(head))
    return Message(
        _cut(title, LINE),
        _body(target, wrong, _rows_line(wrong, counts, expected), identity, _checked(when, backup)),
        _KIND[verdict],
    )


def compose_recovery(
    target: str,
    counts: Mapping[str, int],
    expected: Mapping[str, int],
    identity: Identity | None,
    *,
    when: datetime,
    backup: str | None,
) -> Message:
    """The good news: everything is as it should be again."""
    lines = [f"Every check passes again{_place(identity)}."]
    if counts:
        baseline = f"; baseline {sum(expected.values()):,}" if expected else ""
        lines.append(f"Rows: {sum(counts.values()):,} in {tables_in_words(len(counts))}{baseline}.")
    lines += [_checked(when, backup), f"Next: nothing to do; rollcall history {target} shows what happened."]
    return Message(_cut(f"RECOVERED {target}: healthy again", LINE), _joined(lines), "success")


def compose_failure(target: str, what: str, error: BaseException, when: datetime) -> Message:
    """A run of `what` (backup, verify) that did not come to its end, and why.

    Only our own errors are quoted: what others say may hold a password.
    """
    said = str(error) if isinstance(error, RollcallError) else f"{type(error).__name__}; the log of the run says more."
    lines = textwrap.wrap(_plain(said), LINE, max_lines=3, placeholder=" …")
    lines += [f"Tried {_time(when)}.", f"Next: mend this, then run: rollcall {what} {target}"]
    return Message(_cut(f"FAILED {target}: {what} did not come to its end", LINE), _joined(lines), "failure")


def in_words(title: str, said: str, after: Sequence[str], kind: Kind) -> Message:
    """A message of `said`, in as many lines as it needs up to three, and the lines `after` it; all cut to length."""
    lines = textwrap.wrap(_plain(said), LINE, max_lines=3, placeholder=" …")
    return Message(_cut(title, LINE), _joined([*lines, *after]), kind)


def wrong_in_words(findings: Sequence[Finding], counts: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """`wrong volume, 84 of 85 experts gone, +3 more`: what is wrong in a line, worst first; empty where nothing is."""
    wrong = _worst_first(findings)
    return _listed(_title_words(wrong, counts, expected), 2 * LINE) if wrong else ""


def next_step(findings: Sequence[Finding], target: str) -> str:
    """What to do next about the finding that explains the others."""
    return codes.step(_leading(_worst_first(findings)), target)


def _leading(wrong: Sequence[Finding]) -> str:
    """The code that explains the others: a wrong volume explains missing rows, never the other way round."""
    others = [finding for finding in wrong if finding.code not in codes.ROW_CODES]
    return others[0].code if others else wrong[0].code if wrong else ""


def short(table: str) -> str:
    """A table's name as people say it: without the schema `public`."""
    return table.removeprefix("public.")


def rows_of(table: str, rows: Mapping[str, int]) -> int | None:
    """The rows of a table, None if it is not there; either side may leave out the schema `public`."""
    return next((rows[name] for name in (table, f"public.{table}", short(table)) if name in rows), None)


def _worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Without notices; by severity, then by what explains what; else in the order given."""
    wrong = [finding for finding in findings if finding.severity != "notice"]
    return sorted(wrong, key=lambda each: (WORST_FIRST.index(each.severity), codes.rank(each.code)))


def _title_words(wrong: Sequence[Finding], counts: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Each said once: a table below its minimum that also lost rows is one table."""
    said: dict[str, str] = {}
    for finding in wrong:
        key = finding.table if finding.code in codes.ROW_CODES and finding.table else finding.code
        said.setdefault(key, _words(finding, counts, expected))
    return list(said.values())


def _words(finding: Finding, counts: Mapping[str, int], expected: Mapping[str, int]) -> str:
    table = finding.table or ""
    before, now = rows_of(table, expected), rows_of(table, counts)
    if finding.code in codes.ROW_CODES and before is not None and now is not None and now < before:
        return _plain(f"{before - now:,} of {before:,} {short(table)} gone")
    return _plain(codes.words(finding.code, short(table) or "a table"))


def _body(target: str, wrong: Sequence[Finding], rows: str, identity: Identity | None, checked: str) -> str:
    """What is wrong, first the finding that explains the others; the rows; when; what to do."""
    others = [finding for finding in wrong if finding.code not in codes.ROW_CODES]
    first = others[0] if others else wrong[0] if wrong else None
    said = _plain(first.message) if first else f"The counts need a look{_place(identity)}."
    lines = textwrap.wrap(said, LINE, max_lines=2, placeholder=" …") + ([rows] if rows else [])
    if len(others) > 1 and len(lines) + 2 < LINES:
        lines.append("Also: " + _listed(_title_words(others[1:], {}, {}), LINE - 6))
    return _joined([*lines, checked, "Next: " + codes.step(first.code if first else "", target)])


def _rows_line(wrong: Sequence[Finding], counts: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """`Rows: experts 1 (expected 85), …`; empty where no table is concerned."""
    parts: dict[str, str] = {}
    for finding in wrong:
        if finding.code not in codes.ROW_CODES or finding.table is None:
            continue
        before, now = rows_of(finding.table, expected), rows_of(finding.table, counts)
        present = "missing" if now is None else f"{now:,}"
        wanted = "" if before is None else f" (expected {before:,})"
        parts.setdefault(finding.table, _plain(f"{short(finding.table)} {present}{wanted}"))
    return "Rows: " + _listed(list(parts.values()), LINE - 6) if parts else ""


def _listed(parts: Sequence[str], width: int) -> str:
    """As many parts as fit in `width` characters, then `+3 more`; at least one, cut where it must be."""
    for shown in range(len(parts), 0, -1):
        rest = len(parts) - shown
        text = ", ".join(parts[:shown]) + (f", +{rest} more" if rest else "")
        if len(text) <= width:
            return text
    more = f", +{len(parts) - 1} more" if len(parts) > 1 else ""
    return _cut(parts[0], width - len(more)) + more if parts else "needs a look"


def _place(identity: Identity | None) -> str:
    if identity is None:
        return ""
    return f" on {identity.container}, volume {identity.volume or 'none'}"


def _checked(when: datetime, backup: str | None) -> str:
    known = f"last good backup {backup}" if backup else "no good backup known"
    return f"Checked {_time(when)}; {known}."


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def tables_in_words(number: int) -> str:
    """`1 table`, `2 tables`."""
    return "1 table" if number == 1 else f"{number:,} tables"


def _plain(text: str) -> str:
    """One line: line breaks and control characters (a table's name may hold any) become spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(_cut(line, LINE) for line in lines)
