"""The command `down`: the safe `docker compose down`. cli.py registers it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from deployments import show, tracking
from deployments.app import ConfigOption, JsonOption, PrefectOption, who
from tasks.config import load
from tasks.leaving.report import DownReport
from tasks.leaving.words import down_lines, plan_text
from tasks.restore.approval import asked


def down(
    project_dir: Annotated[str, typer.Argument(help="The folder with the compose file.")],
    config: ConfigOption = None,
    json: JsonOption = False,
    prefect: PrefectOption = False,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove volumes too; databases only once proven.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and touch nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve the plan without being asked; never stands for DELETE VOLUMES.")
    ] = False,
    file: Annotated[
        list[str] | None, typer.Option("--file", help="A compose file, as for Compose; may be given again.")
    ] = None,
    project_name: Annotated[
        str | None, typer.Option("--project-name", help="The project's name, as for Compose.")
    ] = None,
    without_backup: Annotated[
        bool, typer.Option("--without-backup", help="No backup first; not with --volumes.")
    ] = False,
) -> None:
    """Back up, prove, then `docker compose down`. Exit 0 done; 3 refused or not approved; 1 failed."""
    load(config)
    with asked("given" if yes else "terminal", who()):
        report = tracking.run(
            "safe_down",
            "safe_down",
            project_dir,
            config,
            prefect,
            volumes=volumes,
            dry_run=dry_run,
            files=file or [],
            project_name=project_name,
            without_backup=without_backup,
        )
    show.document(report) if json else _show(report)


def _show(report: DownReport) -> None:
    """The plan where nothing was done; else what came of it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if report.outcome == "planned":
        console.print(plan_text(report.plan))
        return
    console.print(f"DOWN {report.project}", style="green")
    for line in down_lines(report):
        console.print(f"  {line}")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(down)
