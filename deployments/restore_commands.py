"""The commands that put data back: restore-volume and recover. cli.py registers them."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments import restore_show, show, tracking
from deployments.app import ConfigOption, JsonOption, PrefectOption, TargetArgument, known, who


def restore_volume(
    target: TargetArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    prefect: PrefectOption = False,
    backup: Annotated[str | None, typer.Option("--backup", help="A backup's id, or latest.")] = None,
    from_volume: Annotated[str | None, typer.Option("--from-volume", help="Copy the data from this volume.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and touch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve the plan without being asked; for scripts.")] = False,
    leave_behind: Annotated[
        list[str] | None,
        typer.Option("--leave-behind", help="A database or role that need not come back; may be given again."),
    ] = None,
    without_safety_backup: Annotated[
        bool,
        typer.Option("--without-safety-backup", help="Where the server cannot start: no backup of what is there now."),
    ] = False,
) -> None:
    """Plan, approval, restore, proof, cut-over. Exit 0 done; 3 refused, nothing touched; 4 rolled back; 1 failed."""
    known(config, target)
    report = tracking.run(
        "restore_volume",
        "restore_volume",
        target,
        config,
        prefect,
        backup=backup,
        from_volume=from_volume,
        dry_run=dry_run,
        leave_behind=leave_behind,
        without_safety_backup=without_safety_backup,
        approval="given" if yes else "terminal",
        approver=who(),
    )
    show.document(report) if json else restore_show.restore(report)


def recover(
    target: TargetArgument, config: ConfigOption = None, json: JsonOption = False, prefect: PrefectOption = False
) -> None:
    """Finish or undo an interrupted restore. Exit 0 consistent; 1 not yet."""
    known(config, target)
    recovery = tracking.run("recover", "recover", target, config, prefect)
    show.document(recovery) if json else typer.echo(recovery.words)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("restore-volume")(restore_volume)
    app.command()(recover)
