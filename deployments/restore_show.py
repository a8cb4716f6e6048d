"""What `restore-volume` and `drill` print for people."""

from __future__ import annotations

from rich.console import Console

from tasks.restore.drill import DrillResult
from tasks.restore.report import RestoreReport
from tasks.restore.words import drill_lines, plan_text, restored_lines


def restore(report: RestoreReport) -> None:
    """The plan where nothing was done; else what came of it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if report.outcome == "planned":
        console.print(plan_text(report.plan))
        return
    console.print(f"RESTORED {report.target}", style="green")
    for line in restored_lines(report):
        console.print(f"  {line}")


def drill(result: DrillResult) -> None:
    """Proven or not, and the measured time."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    title = f"PROVEN {result.target}" if result.proven else f"NOT PROVEN {result.target}"
    console.print(title, style="green" if result.proven else "bold red")
    for line in drill_lines(result):
        console.print(f"  {line}")
