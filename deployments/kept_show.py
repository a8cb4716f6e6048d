"""What `rollcall kept` prints, for people (a table and each story) and for programs (one JSON document)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from deployments import terminal
from tasks.alerts.artifacts import size
from tasks.containers.other_files import in_words
from tasks.restore.kept import Kept


def kept_document(kept: Sequence[Kept], target: str) -> None:
    """One JSON document: every kept volume of the target, the oldest first."""
    _print({"target": target, "kept": [each.model_dump(mode="json") for each in kept]})


def removed_document(name: str, target: str) -> None:
    """One JSON document: the volume that was removed."""
    _print({"target": target, "removed": name})


def _print(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=1))


def kept_table(kept: Sequence[Kept], target: str, now: datetime | None = None) -> None:
    """Name, time, size, cluster and users of each, then its story and how it is brought back or removed."""
    console = terminal.console()
    if not kept:
        console.print(f"No volume of {escape(target)} is kept.")
        return
    table = Table("volume", "of", "kept until", "size", "cluster", "mounted by", box=None, pad_edge=True)
    table.columns[3].justify = "right"
    rows = [_cells(each, now or datetime.now(UTC)) for each in kept]
    for row in rows:
        table.add_row(*map(escape, row))
    terminal.table_or_blocks(console, table, rows)
    for each in kept:
        words = f"{each.name}: {each.story or 'its label tells no story.'}{_foreign(each)}{_others(each)}"
        terminal.hanging(console, words, head="  ", head_width=2, indent=4)
    terminal.hanging(
        console,
        f"Bring one back: rollcall restore-volume {target} --from-volume NAME. "
        f"Remove one for good, after its time: rollcall kept {target} --remove NAME",
    )


def _cells(kept: Kept, now: datetime) -> list[str]:
    until = _time(kept.keep_until)
    over = kept.keep_until is not None and kept.keep_until <= now
    return [
        kept.name,
        _time(kept.created_at),
        f"{until} (over)" if over else until,
        "-" if kept.bytes is None else size(kept.bytes),
        kept.system_identifier or "-",
        ", ".join(kept.in_use_by) or "-",
    ]


def _foreign(kept: Kept) -> str:
    return "" if kept.ours else " It was made with another state folder, and can be removed from there only."


def _others(kept: Kept) -> str:
    if not kept.others:
        return ""
    return f" It also holds {in_words(kept.others)}, which no backup holds: copy that elsewhere before you remove it."


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "-"
