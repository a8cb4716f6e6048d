"""How the command line writes for people: as wide as the terminal on one; in a pipe or a file, one line a thing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 400
"""Where there is no terminal nothing is wrapped or cut: what is searched for stands in one line."""
WIDE = 110
"""Columns from which on there is room for a column of codes beside what is said."""


def console() -> Console:
    """Where output for people goes. Colours on a terminal alone, and never with NO_COLOR."""
    made = Console(highlight=False, soft_wrap=True)
    return made if made.is_terminal else Console(highlight=False, soft_wrap=True, width=PIPE_WIDTH)


def hanging(to: Console, words: str, *, head: str = "", head_width: int = 0, indent: int = 2) -> None:
    """Print `head`, which is mark-up of `head_width` columns, and `words`, which are plain. On a terminal what does not
    fit goes on in the next line, `indent` columns in; names are never broken, for they are copied."""
    if not to.is_terminal:
        to.print(f"{head}{escape(words)}")
        return
    room = max(20, to.width - indent)
    first = " " * max(0, head_width - indent)
    lines = textwrap.wrap(first + words, room, drop_whitespace=True, break_long_words=False, break_on_hyphens=False)
    lines = lines or [""]
    to.print(f"{head}{escape(lines[0].removeprefix(first))}")
    for line in lines[1:]:
        to.print(f"{' ' * indent}{escape(line)}")


def table_or_blocks(to: Console, table: Table, rows: Sequence[Sequence[str]], name: int = 0) -> None:
    """Print the table where it fits the terminal; else a block a row, of which cell `name` is the title."""
    wanted = to.measure(table, options=to.options.update(max_width=PIPE_WIDTH)).maximum
    if not to.is_terminal or wanted <= to.width:
        to.print(table)
        return
    heads = [str(column.header) for column in table.columns]
    for row in rows:
        before = " ".join(cell for cell in row[:name] if cell)
        to.print(f"[bold]{escape(f'{before} {row[name]}'.strip())}[/]")
        told = [
            f"{head} {cell}" for head, cell in list(zip(heads, row, strict=True))[name + 1 :] if cell not in ("", "-")
        ]
        hanging(to, "; ".join(told), head="    ", head_width=4, indent=4)
