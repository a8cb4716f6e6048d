"""What a check, a backup and a run that failed leave to be read in Prefect's UI: first what it is, then what to do.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from tasks.alerts.artifacts import (
    MARK,
    MOST,
    as_line,
    counts_table,
    escape,
    findings_list,
    fold,
    html_table,
    identity_table,
    moment,
    size,
    table,
)
from tasks.alerts.codes import ROW_CODES
from tasks.alerts.message import next_step, tables_in_words, wrong_in_words
from tasks.errors import NeedsRecover, RollcallError, RolledBack
from tasks.models import CheckResult, Finding, Manifest, StoredObject, Tally

_VOLUME_CODES = {"volume.mismatch", "volume.missing", "cluster.changed", "cluster.rewound", "database.missing"}
_CAN_BE_PUT_BACK = ROW_CODES | _VOLUME_CODES
_PUT_BACK = (
    "The deployment **restore-volume** shows what would put it back: with `dry_run` on, it plans and touches nothing."
)


def verify_report(
    result: CheckResult,
    expected: Mapping[str, int],
    charts: Mapping[str, str] | None = None,
    pin: Mapping[str, str] | None = None,
    most: int = MOST,
) -> str:
    """The report of a check. `charts` are data: URIs of pictures by caption; `most`: entries a list has at most."""
    counted = f": {_rows(result.counts)}" if result.counts else "; nothing could be counted"
    parts = [
        f"# {MARK[result.verdict]}: {escape(result.target)}",
        *_what_to_do(result.target, result.findings, result.counts, expected),
        f"Checked {moment(result.checked_at)}{counted}.",
        "## Findings\n\n" + findings_list(result.findings),
        "## Rows\n\n" + counts_table(result.counts, expected, result.findings, most),
        *(f"![{escape(caption)}]({uri})" for caption, uri in (charts or {}).items()),
        "## Identity\n\n" + identity_table(result.identity, pin),
    ]
    return "\n\n".join(parts) + "\n"


def backup_report(
    manifest: Manifest,
    expected: Mapping[str, int],
    deleted: Sequence[str] = (),
    frozen: str | None = None,
    *,
    newest_good: str | None = None,
    most: int = MOST,
) -> str:
    """The report of a backup. deleted: ids that rotation removed; frozen: why it was held, if it was; newest_good: the
    backup that a restore would take; most: entries a list has at most."""
    state = "⚠ QUARANTINED" if manifest.quarantined else "✔ stored" if manifest.verdict == "healthy" else "⚠ stored"
    parts = [
        f"# {state}: {escape(manifest.target)}",
        *([_quarantine(newest_good)] if manifest.quarantined else []),
        *_what_to_do(manifest.target, manifest.findings, manifest.tally.counts, expected),
        f"Backup **{escape(manifest.id)}**, taken {moment(manifest.created_at)} by {escape(manifest.method)} from "
        f"PostgreSQL {escape(manifest.server_version)}; verdict {manifest.verdict}. {_speed(manifest)}",
        "## Findings\n\n" + findings_list(manifest.findings),
        "## Where the copies are\n\n" + _copies(manifest.objects, most),
        "## Rows\n\n" + counts_table(manifest.tally.counts, expected, manifest.findings, most),
        *_others(manifest.databases, most),
        "## Time\n\n" + _timings(manifest.timings, most),
        "## Rotation\n\n" + _rotation(deleted, frozen, most),
        "## Identity\n\n" + identity_table(manifest.identity),
    ]
    if manifest.omitted:
        parts.append("## Not in this backup\n\n" + listed(manifest.omitted, most))
    return "\n\n".join(parts) + "\n"


def failure_report(target: str, what: str, error: RollcallError, when: datetime) -> str:
    """The report of a run that did not come to its end: why, how things are now, what to do next."""
    command = f"rollcall {what} {target}"
    if isinstance(error, RolledBack):
        head, state = (
            "was undone",
            "Nothing is lost: the container runs on what it had before, and no backup was touched.",
        )
        step = "mend what the reason names, then start the restore again; its plan will be made anew"
    elif isinstance(error, NeedsRecover):
        head, state = "was interrupted", "The restore is neither finished nor undone; its journal knows how to end it."
        step = f"run the deployment recover, or rollcall recover {target}, before anything else"
    else:
        head, state = "did not come to its end", _left_by(what)
        step = f"mend what the reason names, then run it again: {command}"
    parts = [
        f"# ⚠ The {escape(what.removesuffix('-volume'))} of {escape(target)} {head}",
        f"**Reason:** {escape(str(error))}",
        f"**Now:** {state}",
        f"**Next:** {escape(step)}.",
        f"It ended {moment(when)}.",
    ]
    return "\n\n".join(parts) + "\n"


def listed(lines: Sequence[str], most: int) -> str:
    """A list of lines that are plain words; those beyond `most` are counted."""
    shown = [f"- {as_line(line)}" for line in lines[:most]]
    return "\n".join([*shown, f"- and {len(lines) - most:,} more"] if len(lines) > most else shown)


def _left_by(what: str) -> str:
    return {
        "backup": "No backup was made by this run, and none that is there was touched.",
        "verify": "Nobody knows how the target is: it could not be looked at.",
        "restore-volume": "Nothing was touched.",
        "drill": "Whether the backup comes back is not known; the target itself was not touched.",
    }.get(what, "")


def _what_to_do(
    target: str, findings: Sequence[Finding], counts: Mapping[str, int], expected: Mapping[str, int]
) -> list[str]:
    """What is wrong in a line, and the next step; nothing where nothing is wrong."""
    wrong = wrong_in_words(findings, counts, expected)
    if not wrong:
        return []
    back = any(each.severity == "critical" and each.code in _CAN_BE_PUT_BACK for each in findings)
    step = f"**Next:** {escape(next_step(findings, target))}" + (f"\n\n{_PUT_BACK}" if back else "")
    return [f"**{escape(wrong)}**", step]


def _quarantine(newest_good: str | None) -> str:
    restored = f"A restore takes **{escape(newest_good)}**" if newest_good else "There is no good backup yet"
    return f"It is kept, and never counts as a good one: something was wrong while it was taken. {restored}."


def _rows(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return f"{total:,} {'row' if total == 1 else 'rows'} in {tables_in_words(len(counts))}"


def _copies(objects: Sequence[StoredObject], most: int) -> str:
    """What each storage holds; and, folded away, each object once: they are the same everywhere, to the byte."""
    if not objects:
        return "Nothing was stored."
    by_storage: dict[str, list[StoredObject]] = {}
    for each in objects:
        by_storage.setdefault(each.storage, []).append(each)
    copies = [
        [escape(name), f"{len(held):,}", size(sum(each.bytes for each in held)), escape(_folder(held[0].key))]
        for name, held in by_storage.items()
    ]
    once = sorted({each.key: each for each in objects}.values(), key=lambda each: (-each.bytes, each.key))
    heads = ("object", "what", "stored", "before", "SHA-256")
    left = f", of which {most:,} are named" if len(once) > most else ""
    inside = html_table(heads, [_object_row(each) for each in once[:most]], (2, 3))
    summary = f"{len(once):,} object{'s' * (len(once) != 1)} in each{left}, read back and equal to the byte"
    return table(("storage", "objects", "stored", "in"), copies, (1, 2)) + "\n\n" + fold(summary, inside)


def _folder(key: str) -> str:
    """TARGET/ID of TARGET/ID/NAME."""
    return "/".join(key.split("/")[:2])


def _object_row(each: StoredObject) -> list[str]:
    return [
        each.key.removeprefix(f"{_folder(each.key)}/"),
        each.role + (f" of {each.database}" if each.database else ""),
        size(each.bytes),
        size(each.raw_bytes) if each.raw_bytes else "",
        f"{each.sha256[:8]}…",
    ]


def _speed(manifest: Manifest) -> str:
    """Size and rate of one copy: of the storage that is named first."""
    one = [each for each in manifest.objects if each.storage == manifest.objects[0].storage]
    stored, raw = sum(each.bytes for each in one), sum(each.raw_bytes for each in one)
    seconds = _total(manifest.timings)
    rate = f" at {size((raw or stored) / seconds)}/s" if seconds > 0 else ""
    return f"One copy is {size(stored)}{f' of {size(raw)}' if raw else ''}; {seconds:.1f} s in all{rate}."


def _total(timings: Mapping[str, float]) -> float:
    return timings.get("total", sum(timings.values()))


def _timings(timings: Mapping[str, float], most: int) -> str:
    rows = [[escape(step), f"{seconds:.2f}"] for step, seconds in timings.items()]
    more = f"\n\nand {len(rows) - most:,} more steps." if len(rows) > most else ""
    return table(("step", "seconds"), rows[:most], numbers=(1,)) + more if rows else "No times were taken."


def _rotation(deleted: Sequence[str], frozen: str | None, most: int) -> str:
    if frozen:
        return f"⚠ Held, nothing was deleted: {escape(frozen)}"
    if not deleted:
        return "Nothing was due to be deleted."
    more = f", and {len(deleted) - most:,} more" if len(deleted) > most else ""
    return f"Deleted {len(deleted)}: " + ", ".join(escape(each) for each in deleted[:most]) + more


def _others(databases: Mapping[str, Tally], most: int) -> list[str]:
    """The other databases of the cluster: a fold each, with its tables."""
    folds = []
    for name, tally in list(databases.items())[:most]:
        if not tally.counts:
            folds.append(f"Database {escape(name)}: no tables")
            continue
        rows = [[each, f"{number:,}"] for each, number in sorted(tally.counts.items())]
        more = [[f"and {len(rows) - most:,} more", ""]] if len(rows) > most else []
        inside = html_table(("table", "rows"), [*rows[:most], *more], (1,))
        folds.append(fold(f"Database {name}: {_rows(tally.counts)}", inside))
    left = len(databases) - len(folds)
    return [*folds, *([f"and {left:,} more databases."] if left else [])]
