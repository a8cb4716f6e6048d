"""What the command line prints, for people (tables) and for programs (one JSON document)."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments import terminal
from tasks.alerts.artifacts import size
from tasks.alerts.message import next_step, tables_in_words
from tasks.config import Config
from tasks.databases.secret_settings import without_secrets
from tasks.doctor.diagnosis import Diagnosis
from tasks.errors import RollcallError
from tasks.history.records import Acceptance
from tasks.history.store import open_history
from tasks.models import CheckResult, Finding, Manifest
from tasks.storage.catalogue import Catalogue

COLOURS = {"healthy": "green", "warning": "yellow", "critical": "bold red", "notice": "cyan"}


def _print_json(document: Any) -> None:
    print(json_format.dumps(document, ensure_ascii=False, indent=1))


def document(model: BaseModel) -> None:
    """The model as JSON; a finding without a table has no `table`, and a manifest shows no secret."""
    content = model.model_dump(mode="json")
    if content.get("cluster"):
        content["cluster"] = without_secrets(content["cluster"])
    for finding in content.get("findings", []):
        if finding.get("table") is None:
            finding.pop("table", None)
    _print_json(content)


def _findings(console: Console, findings: Sequence[Finding]) -> None:
    for each in findings:
        wide = console.width >= terminal.WIDE
        code = f"{each.code:20} " if wide else f"{each.code}: "
        head, width = f"  [{COLOURS[each.severity]}]{each.severity:8}[/] {code}", 11 + len(code)
        terminal.hanging(console, each.message, head=head, head_width=width, indent=width if wide else 4)


def _next_step(console: Console, findings: Sequence[Finding], target: str) -> None:
    """What to do about the finding that explains the others; nothing where nothing is wrong."""
    if any(each.severity != "notice" for each in findings):
        terminal.hanging(console, f"Next: {next_step(findings, target)}", head="  ", head_width=2, indent=8)


def verify(result: CheckResult) -> None:
    """Verdict, identity, findings, counts against what is expected."""
    console = terminal.console()
    console.print(f"[{COLOURS[result.verdict]}]{result.verdict.upper()}[/] {result.target}")
    if result.identity:
        seen = result.identity
        where = f"container {seen.container}, volume {seen.volume}, cluster {seen.system_identifier}, "
        when = f"timeline {seen.timeline}, checkpoint {seen.checkpoint_lsn}, PostgreSQL {seen.server_version}"
        terminal.hanging(console, where + when, head="  ", head_width=2, indent=4)
    _findings(console, result.findings)
    _next_step(console, result.findings, result.target)
    expected = result.expected
    names = sorted({*result.counts, *expected}, key=lambda name: (result.counts.get(name) == expected.get(name), name))
    if names:
        table = Table("table", "rows", "expected", box=None, pad_edge=True)
        for column in table.columns[1:]:
            column.justify = "right"
        for name in names[:40]:
            table.add_row(escape(name), _number(result.counts.get(name)), _number(expected.get(name)))
        console.print(table)
    if len(names) > 40:
        console.print(f"  and {len(names) - 40} more tables, all in --json")


def _number(rows: int | None) -> str:
    return "-" if rows is None else f"{rows:,}"


def backup(manifest: Manifest) -> None:
    """Where the copies are, what they hold, how long it took."""
    console = terminal.console()
    state = "QUARANTINED" if manifest.quarantined else "STORED"
    console.print(
        f"[{COLOURS[manifest.verdict]}]{state}[/] {manifest.id} of {manifest.target}, verdict {manifest.verdict}"
    )
    for storage in dict.fromkeys(each.storage for each in manifest.objects):
        mine = [each for each in manifest.objects if each.storage == storage]
        console.print(
            f"  {storage}: {len(mine)} objects, {size(sum(each.bytes for each in mine))}, read back and equal"
        )
    tallies = {manifest.database: manifest.tally, **manifest.databases}
    dumped = {each.database for each in manifest.objects if each.role == "dump"}
    for name, tally in tallies.items():
        rows = f"{sum(tally.counts.values()):,} rows in {tables_in_words(len(tally.counts))}"
        console.print(f"  database {escape(name)}: {rows if name in dumped else 'not in this backup'}")
    _findings(console, manifest.findings)
    _next_step(console, manifest.findings, manifest.target)
    took = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in manifest.timings.items())
    terminal.hanging(console, took, head="  ", head_width=2, indent=4)


def _entry(entry: Any) -> dict[str, Any]:
    manifest: Manifest = entry.manifest
    return {
        "id": manifest.id,
        "created_at": manifest.created_at.isoformat(),
        "verdict": manifest.verdict,
        "quarantined": manifest.quarantined,
        "proven_at": entry.proven_at.isoformat() if entry.proven_at else None,
        "rows_proven_at": entry.rows_proven_at.isoformat() if entry.rows_proven_at else None,
        "differences": [each.model_dump(mode="json") for each in entry.differences],
        "storages": entry.storages,
        "bytes": sum(each.bytes for each in manifest.objects if each.storage == entry.storages[0]),
        "rows": sum(manifest.tally.counts.values()),
        "method": manifest.method,
    }


def _proven(entry: Any) -> str:
    """`2026-02-01`, and how many definitions differ."""
    at = entry.proven_at or entry.rows_proven_at
    if at is None:
        return "not yet"
    differ = f", {len(entry.differences)} differ" if entry.differences else ""
    return f"{'' if entry.proven_at else 'rows '}{at:%Y-%m-%d}{differ}"


def catalogue_document(found: Catalogue) -> None:
    """The catalogue as JSON."""
    damaged = [{"storage": each.storage, "id": each.id, "reason": each.reason} for each in found.damaged]
    _print_json(
        {"backups": [_entry(each) for each in found.backups], "damaged": damaged, "unreachable": found.unreachable}
    )


def catalogue(found: Catalogue, target: str) -> None:
    """The catalogue as a table; what is damaged and who did not answer below it."""
    console = terminal.console()
    if not found.backups:
        console.print(f"No backup of {target} is listed. Make one: rollcall backup {target}")
    else:
        table = Table("id", "verdict", "proven", "storages", "size", "rows", box=None, pad_edge=True)
        for column in table.columns:
            column.no_wrap = column.header != "storages"  # An id must come out in one piece, to be copied.
            column.justify = "right" if column.header in {"size", "rows"} else "left"
        for each in found.backups:
            row = _entry(each)
            verdict = "QUARANTINED" if row["quarantined"] else row["verdict"]
            colour = COLOURS["critical" if row["quarantined"] else row["verdict"]]
            proven = _proven(each)
            places = ", ".join(row["storages"])
            table.add_row(row["id"], f"[{colour}]{verdict}[/]", proven, places, size(row["bytes"]), f"{row['rows']:,}")
        console.print(table)
    for bad in found.damaged:
        terminal.hanging(console, f"{bad.id} in {bad.storage}: {bad.reason}", head="[red]damaged[/] ", head_width=8)
    for name, reason in found.unreachable.items():
        terminal.hanging(console, f"{name}: {reason}", head="[red]no answer[/] ", head_width=10)


def history(config: Config, target: str, *, days: int, chart: Path | None, json: bool) -> None:
    """Counts over time: a sparkline a table, and a picture file where one is asked for."""
    from pandas import notna

    from tasks.history.chart import picture, sparkline

    with open_history(config.history) as store:
        frame = store.frame(target)
        observations = store.observations(target, since=datetime.now(UTC) - timedelta(days=days))
    frame = frame[frame.index >= datetime.now(UTC) - timedelta(days=days)]
    if chart is not None:
        floors = {name: rule.min for name, rule in config.target(target).tables.items() if rule.min is not None}
        try:
            picture(frame, target, chart, floors)
        except OSError as error:
            raise RollcallError(f"The picture cannot be written to {chart}: {error.strerror}.") from error
    if json:
        fields = {"checked_at", "kind", "verdict", "accepted", "counts", "backup_id"}
        _print_json([each.model_dump(mode="json", include=fields) for each in observations])
        return
    console = terminal.console()
    if not observations:
        console.print(f"Nothing is known of {target} in the last {days} days. Look at it: rollcall verify {target}")
        return
    table = Table("table", f"last {days} days", "first", "now", box=None, pad_edge=True)
    for column in table.columns[2:]:
        column.justify = "right"
    longest = max((len(str(name)) for name in frame.columns), default=0)
    points = max(8, min(60, console.width - longest - 30))  # the picture takes what names and numbers leave
    for name in frame.columns:
        values = [float(value) if notna(value) else None for value in frame[name]][-points:]
        known = [value for value in values if value is not None]
        ends = (f"{known[0]:,.0f}", f"{known[-1]:,.0f}") if known else ("-", "-")
        table.add_row(escape(str(name)), sparkline(values), *ends)
    console.print(table)
    for each in observations[-10:]:
        colour = COLOURS[each.verdict]
        console.print(f"  {each.checked_at:%Y-%m-%d %H:%M:%S} UTC  {each.kind:8} [{colour}]{each.verdict}[/]")
    if chart is not None:
        console.print(f"The picture is {chart}")


def accepted(acceptance: Acceptance) -> None:
    """What is now the baseline."""
    what = acceptance.table or f"{tables_in_words(len(acceptance.counts))} and the identity"
    terminal.console().print(
        f"Accepted for {acceptance.target}: {escape(what)}. Reason kept: {escape(acceptance.reason)}"
    )


def diagnoses(found: Sequence[Diagnosis]) -> None:
    """A line for each part that was tried."""
    console = terminal.console()
    for each in found:
        mark = ("[yellow] note[/]" if each.note else "[green] well[/]") if each.well else "[bold red]WRONG[/]"
        terminal.hanging(console, f"{each.subject}: {each.words}", head=f"{mark}  ", head_width=7, indent=7)
        for line in each.lines if each.note or not each.well else ():
            console.print(f"           [dim]{escape(line)}[/]")


def diagnoses_document(found: Sequence[Diagnosis]) -> None:
    """The same as JSON."""
    _print_json([each.model_dump(mode="json", exclude={"pin"}) for each in found])
