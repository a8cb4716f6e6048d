"""What `restore-volume` and `drill` print for people."""

from __future__ import annotations

from deployments import terminal
from tasks.restore.drill import DrillResult
from tasks.restore.report import RestoreReport
from tasks.restore.words import drill_lines, drill_title, plan_text, restored_lines


def restore(report: RestoreReport) -> None:
    """The plan where nothing was done; else what came of it."""
    console = terminal.console()
    if report.outcome == "planned":
        for line in plan_text(report.plan).splitlines():
            margin = len(line) - len(line.lstrip())
            terminal.hanging(console, line.lstrip(), head=" " * margin, head_width=margin, indent=margin + 4)
        return
    beside = ", BUT NOT ALL THAT DEPENDS ON IT RUNS" if report.warnings else ""
    console.print(
        f"RESTORED {report.target}{beside}", style="bold yellow" if report.warnings else "green", markup=False
    )
    for line in restored_lines(report):
        terminal.hanging(console, line, head="  ", head_width=2, indent=4)


def drill(result: DrillResult) -> None:
    """Proven or not, and the measured time."""
    console = terminal.console()
    style = "green" if result.proven else "bold yellow" if result.rows_proven else "bold red"
    console.print(f"{drill_title(result)} {result.target}", style=style, markup=False)
    for line in drill_lines(result):
        terminal.hanging(console, line, head="  ", head_width=2, indent=4)
