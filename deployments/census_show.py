"""What `rollcall census` prints, for people (a table, and the reasons) and for programs (one JSON document)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from deployments import terminal
from tasks.alerts.artifacts import size
from tasks.config import Config
from tasks.containers.other_files import in_words
from tasks.errors import ConfigError
from tasks.history.table_names import resolve_table
from tasks.restore.census import Entry, headline

TOLD_TABLES = 3


def targets_asked_for(config: Config, target: str | None) -> list[str]:
    """The targets that a census speaks of: the one that was named, else all."""
    return [target] if target else list(config.targets)


def census_document(entries: Sequence[Entry], config: Config, target: str | None) -> None:
    """One JSON document: the summary of each target, and every cluster, the best match first."""
    names = targets_asked_for(config, target)
    summary = {name: headline(entries, name) for name in names}
    document = {"target": target, "summary": summary, "entries": [entry_document(each) for each in entries]}
    print(json.dumps(document, ensure_ascii=False, indent=1))


def entry_document(entry: Entry) -> dict[str, Any]:
    """One cluster as plain data."""
    cluster, control, volume = entry.cluster, entry.cluster.control, entry.cluster.volume
    at = control.checkpoint_at or control.changed_at
    return {
        "rank": entry.rank,
        "volume": volume.name,
        "path": cluster.path,
        "reasons": entry.reasons,
        "score": [each.model_dump(exclude={"speaks_for", "speaks_against"}) for each in entry.evidence],
        "major": cluster.major,
        "system_identifier": control.system_identifier,
        "timeline": control.timeline,
        "checkpoint_lsn": control.checkpoint_lsn,
        "checkpoint_at": at.isoformat(),
        "state": entry.state,
        "used_by": [each.model_dump() for each in volume.users],
        "bytes": cluster.bytes,
        "others": [each.model_dump() for each in cluster.others],
        "compose_project": entry.compose_project,
        "created_at": volume.created_at or None,
        "counts": entry.counts,
        "counted_how": entry.counted_how,
        "kept": entry.kept,
    }


def census(entries: Sequence[Entry], config: Config, target: str | None) -> None:
    """Where the data most likely is; a table of all clusters; what speaks for each."""
    console = terminal.console()
    names = targets_asked_for(config, target)
    for name in names:
        about = f"{name}: " if len(names) > 1 else ""
        console.print(f"[bold]{escape(about + headline(entries, name))}[/]")
    if not entries:
        return
    heads = ("", "volume", "PostgreSQL", "cluster", "last checkpoint", "size", "project", "created", "state")
    table = Table(*heads, box=None, pad_edge=True)
    rows = [_row(each) for each in entries]
    for row in rows:
        table.add_row(*map(escape, row))
    terminal.table_or_blocks(console, table, rows, name=1)
    for each in entries:
        terminal.hanging(console, _told(each, config, target), head=f"{each.rank:>2}  ", head_width=4, indent=4)


def _row(entry: Entry) -> tuple[str, ...]:
    cluster, control, volume = entry.cluster, entry.cluster.control, entry.cluster.volume
    at = control.checkpoint_at or control.changed_at
    return (
        str(entry.rank),
        entry.where,
        cluster.major,
        control.system_identifier,
        f"{at:%Y-%m-%d %H:%M:%S}, {control.checkpoint_lsn}, timeline {control.timeline}",
        "-" if cluster.bytes is None else size(cluster.bytes),
        entry.compose_project or "-",
        volume.created_at[:19].replace("T", " ") or "-",
        entry.state,
    )


def _told(entry: Entry, config: Config, target: str | None) -> str:
    """Reasons, rows and story of one cluster in a line."""
    told = [*entry.reasons, _rows(entry, config, target)]
    if entry.cluster.others:
        told.append(f"the volume also holds {in_words(entry.cluster.others)}")
    if entry.kept:
        told.append(f"kept: {entry.kept}")
    return f"{entry.cluster.volume.name}: {'; '.join(told)}"


def _rows(entry: Entry, config: Config, target: str | None) -> str:
    """How the rows were counted, or why not; and the rows, where no reason names them already."""
    counts = entry.counts
    if not counts:
        return entry.counted_how
    if any(each.rows != "unknown" for each in entry.evidence):
        return f"counted {entry.counted_how}"
    first = _configured(counts, config, target)
    others = sorted(counts.keys() - set(first), key=lambda name: (-counts[name], name))
    told = [*first, *others][:TOLD_TABLES]
    parts = [f"{counts[name]:,} {name.removeprefix('public.')}" for name in told]
    more = f" and {len(counts) - len(told)} more tables" if len(counts) > len(told) else ""
    return f"it holds {', '.join(parts)}{more}, counted {entry.counted_how}"


def _configured(counts: dict[str, int], config: Config, target: str | None) -> list[str]:
    """The tables that the configuration names, as far as they are there."""
    found = []
    for name in targets_asked_for(config, target):
        for table in config.target(name).tables:
            try:
                found.append(resolve_table(table, counts))
            except ConfigError:
                continue
    return [table for table in dict.fromkeys(found) if table is not None]
