"""Reports in Markdown, as Prefect's UI shows them: tables, `<details>`, and pictures as data: URIs. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from tasks.alerts.message import rows_of, tables_in_words
from tasks.models import (
    WORST_FIRST,
    CheckResult,
    Finding,
    Identity,
    Manifest,
    Severity,
    StoredObject,
    Tally,
    Verdict,
)

# So many tables are shown at once, the next behind a click, the rest only counted:
# a page of 10,000 rows helps nobody.
_SHOWN = 40
_FOLDED = 1000

_BAD, _GOOD = "⚠", "✔"
_MARK: dict[Verdict, str] = {"healthy": "✔ healthy", "warning": "⚠ warning", "critical": "⚠ CRITICAL"}
_COUNT_HEAD = ("", "table", "rows", "expected", "difference", "%", "finding")


def artifact_key(kind: str, target: str) -> str:
    """Under which Prefect keeps a report: it allows lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', target.lower()).strip('-')}"


def escape(text: str) -> str:
    """`text` as plain words in a Markdown table cell: no mark-up, no HTML, no line break.

    With backslashes, for Prefect's UI shows numeric entities as they are written: `&#96;`.
    """
    safe = re.sub(r"(?<!\w)_|_(?!\w)|[|`*~\[\]\\!]", r"\\\g<0>", _flat(text))
    return html.escape(safe, quote=False)


def _flat(text: str) -> str:
    """One line: what cannot be printed becomes spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def counts_table(counts: Mapping[str, int], expected: Mapping[str, int], findings: Sequence[Finding] = ()) -> str:
    """Rows of every table against the baseline, worst first; those beyond the fortieth folded away."""
    worst = _worst_by_table(findings, counts)
    names = sorted(_names(counts, expected), key=lambda name: _badness(name, counts, expected, worst))
    if not names:
        return "No tables were counted."
    rows = [_count_row(name, counts.get(name), rows_of(name, expected), worst.get(name)) for name in names]
    shown = table(_COUNT_HEAD, rows[:_SHOWN], numbers=(2, 3, 4, 5))
    if len(rows) <= _SHOWN:
        return shown
    folded = table(_COUNT_HEAD, rows[_SHOWN:_FOLDED], numbers=(2, 3, 4, 5))
    more = f"\n\nand {len(rows) - _FOLDED:,} more tables." if len(rows) > _FOLDED else ""
    return f"{shown}\n\n{_fold(f'{len(rows) - _SHOWN:,} more tables', folded + more)}"


def findings_list(findings: Sequence[Finding]) -> str:
    """One line a finding, worst first."""
    if not findings:
        return f"{_GOOD} Nothing is wrong."
    ordered = sorted(findings, key=lambda finding: WORST_FIRST.index(finding.severity))
    return "\n".join(_finding_line(finding) for finding in ordered)


def identity_table(identity: Identity | None, pin: Mapping[str, str] | None = None) -> str:
    """What answered, beside what is pinned: `pin` holds expected values by field of Identity (volume, …)."""
    if identity is None:
        return "The server's identity could not be read."
    pins = pin or {}
    rows = [_identity_row(field, str(getattr(identity, field) or "none"), pins.get(field)) for field in _IDENTITY]
    return table(("", "", "found", "pinned"), rows)


def verify_report(
    result: CheckResult,
    expected: Mapping[str, int],
    charts: Mapping[str, str] | None = None,
    pin: Mapping[str, str] | None = None,
) -> str:
    """The report of a check. `charts` are data: URIs of pictures by caption."""
    parts = [
        f"# {_MARK[result.verdict]}: {escape(result.target)}",
        f"Checked {moment(result.checked_at)}.",
        "## Findings\n\n" + findings_list(result.findings),
        "## Rows\n\n" + counts_table(result.counts, expected, result.findings),
        *(f"![{escape(caption)}]({uri})" for caption, uri in (charts or {}).items()),
        "## Identity\n\n" + identity_table(result.identity, pin),
    ]
    return "\n\n".join(parts) + "\n"


def backup_report(
    manifest: Manifest, expected: Mapping[str, int], deleted: Sequence[str] = (), frozen: str | None = None
) -> str:
    """The report of a backup. `deleted`: ids that rotation removed; `frozen`: why it was held, if it was."""
    state = "⚠ QUARANTINED" if manifest.quarantined else "✔ stored"
    parts = [
        f"# {state}: {escape(manifest.target)}, backup {escape(manifest.id)}",
        f"Taken {moment(manifest.created_at)} by {escape(manifest.method)} from PostgreSQL "
        f"{escape(manifest.server_version)}; verdict {manifest.verdict}. {_speed(manifest)}",
        "## Findings\n\n" + findings_list(manifest.findings),
        "## Where the copies are\n\n" + _copies(manifest.objects),
        "## Rows\n\n" + counts_table(manifest.tally.counts, expected, manifest.findings),
        *(_other_database(name, tally) for name, tally in manifest.databases.items()),
        "## Time\n\n" + _timings(manifest.timings),
        "## Rotation\n\n" + _rotation(deleted, frozen),
        "## Identity\n\n" + identity_table(manifest.identity),
    ]
    if manifest.omitted:
        parts.append("## Not in this backup\n\n" + "\n".join(f"- {escape(each)}" for each in manifest.omitted))
    return "\n\n".join(parts) + "\n"


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
        escape(name),
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


def _copies(objects: Sequence[StoredObject]) -> str:
    """What each storage holds, and each object once: they are the same everywhere, to the byte."""
    if not objects:
        return "Nothing was stored."
    by_storage: dict[str, list[StoredObject]] = {}
    for each in objects:
        by_storage.setdefault(each.storage, []).append(each)
    copies = [
        [escape(name), f"{len(held):,}", size(sum(each.bytes for each in held)), escape(_folder(held[0].key))]
        for name, held in by_storage.items()
    ]
    once = {each.key: each for each in objects}
    parts = [_object_row(each) for each in sorted(once.values(), key=lambda each: (-each.bytes, each.key))]
    heads = ("object", "what", "stored", "before", "SHA-256")
    return table(("storage", "objects", "stored", "in"), copies, (1, 2)) + "\n\n" + table(heads, parts, (2, 3))


def _folder(key: str) -> str:
    """TARGET/ID of TARGET/ID/NAME."""
    return "/".join(key.split("/")[:2])


def _object_row(each: StoredObject) -> list[str]:
    return [
        escape(each.key.removeprefix(f"{_folder(each.key)}/")),
        each.role + (f" of {escape(each.database)}" if each.database else ""),
        size(each.bytes),
        size(each.raw_bytes) if each.raw_bytes else "",
        f"{each.sha256[:8]}…",
    ]


def _speed(manifest: Manifest) -> str:
    """Size and rate of one copy: of the storage that is named first."""
    one = [each for each in manifest.objects if each.storage == manifest.objects[0].storage]
    stored, raw, seconds = (
        sum(each.bytes for each in one),
        sum(each.raw_bytes for each in one),
        _total(manifest.timings),
    )
    rate = f" at {size((raw or stored) / seconds)}/s" if seconds > 0 else ""
    return f"One copy is {size(stored)}{f' of {size(raw)}' if raw else ''}; {seconds:.1f} s in all{rate}."


def _total(timings: Mapping[str, float]) -> float:
    return timings.get("total", sum(timings.values()))


def _timings(timings: Mapping[str, float]) -> str:
    rows = [[escape(step), f"{seconds:.2f}"] for step, seconds in timings.items()]
    return table(("step", "seconds"), rows, numbers=(1,)) if rows else "No times were taken."


def _rotation(deleted: Sequence[str], frozen: str | None) -> str:
    if frozen:
        return f"{_BAD} Held, nothing was deleted: {escape(frozen)}"
    if not deleted:
        return "Nothing was due to be deleted."
    return f"Deleted {len(deleted)}: " + ", ".join(escape(each) for each in deleted)


def _other_database(name: str, tally: Tally) -> str:
    rows, tables = sum(tally.counts.values()), tables_in_words(len(tally.counts))
    # In HTML, where a backslash is a backslash.
    return _fold(
        f"Database {html.escape(_flat(name), quote=False)}: {rows:,} rows in {tables}", counts_table(tally.counts, {})
    )


def _fold(summary: str, inside: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A Markdown table of cells that are Markdown themselves; the columns `numbers` are set to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def moment(when: datetime) -> str:
    """A time for people: `2026-02-01 02:05:00 UTC`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
