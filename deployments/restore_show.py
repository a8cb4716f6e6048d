"""What `restore-volume` prints for people."""

from __future__ import annotations

from rich.console import Console

from tasks.restore.report import RestoreReport
from tasks.restore.words import plan_text, restored_lines


def restore(report: RestoreReport) -> None:
    """The plan where nothing was done; else what came of it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if report.outcome == "planned":
        console.print(plan_text(report.plan))
        return
    console.print(f"RESTORED {report.target}", style="green")
    for line in restored_lines(report):
        console.print(f"  {line}")
