"""What the command line prints: as wide as a terminal on one, one line a thing elsewhere, no colours with NO_COLOR."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

from tests.bed.progress import ROOT

PROGRAM = """
import sys
from datetime import UTC, datetime
from rich.table import Table
from deployments import show, terminal
from tasks.models import CheckResult, Finding, Identity

long = "Container knowledge_postgres keeps its data on volume knowledge_os_postgres_data; it must be on volume " \
    "atra_knowledge_postgres_data: it was started with the wrong volume."
found = [Finding(code="volume.mismatch", severity="critical", message=long)]
show.verify(CheckResult(target="knowledge_os", verdict="critical", checked_at=datetime.now(UTC), findings=found,
    counts={"public.experts": 1}, identity=None, expected={"public.experts": 85}))
rows = [("1", "atra_knowledge_postgres_data", "16", "7712307134296137752", "2026-02-01 02:05:00", "-")]
table = Table("", "volume", "PostgreSQL", "cluster", "last checkpoint", "project", box=None)
table.add_row(*rows[0])
terminal.table_or_blocks(terminal.console(), table, rows, name=1)
"""


def on_a_terminal(columns: int, **environment: str) -> list[str]:
    """The lines that the program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    given = kept | {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, env=given, cwd=ROOT) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # the terminal's other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n").splitlines()


def in_a_pipe() -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.splitlines()


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in lines]


def test_on_80_columns_nothing_is_wider_and_no_name_is_broken() -> None:
    lines = on_a_terminal(80)
    assert "\x1b[" in "".join(lines)
    assert plain(lines) == [
        "CRITICAL knowledge_os",
        "  critical volume.mismatch      Container knowledge_postgres keeps its data on",
        "    volume knowledge_os_postgres_data; it must be on volume",
        "    atra_knowledge_postgres_data: it was started with the wrong volume.",
        "  Next: put the pinned volume back (never down -v), then rollcall verify",
        "        knowledge_os",
        " table           rows  expected",
        " public.experts     1        85",
        "1 atra_knowledge_postgres_data",
        "    PostgreSQL 16; cluster 7712307134296137752; last checkpoint 2026-02-01",
        "    02:05:00",
    ]


def test_on_a_wide_terminal_what_is_said_stands_in_a_column_of_its_own() -> None:
    lines = plain(on_a_terminal(120))
    assert lines[2].startswith(" " * 32 + "must be on volume atra_knowledge_postgres_data")
    assert lines[-1].startswith(" 1  atra_knowledge_postgres_data  16          7712307134296137752")


def test_no_color_is_respected() -> None:
    assert "\x1b[3" not in "".join(on_a_terminal(80, NO_COLOR="1"))


def test_in_a_pipe_each_thing_is_one_line_without_colours() -> None:
    lines = in_a_pipe()
    assert "\x1b" not in "".join(lines)
    (finding,) = [line for line in lines if "volume.mismatch" in line]
    assert finding.endswith("it was started with the wrong volume.")
    assert lines[-1].rstrip().endswith("2026-02-01 02:05:00  -")
