"""The commands around putting data back: restore-volume, recover, drill, census, kept. cli.py registers them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from deployments import census_show, kept_show, restore_show, show, tracking
from deployments.app import ConfigOption, JsonOption, PrefectOption, TargetArgument, known, who
from tasks.config import load
from tasks.errors import Refused, RollcallError
from tasks.restore.approval import asked

NOT_PROVEN = 2

AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-differences",
        help="A definition that may come back in another way, or all-definitions; again for more.",
    ),
]


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
    accept_differences: AcceptOption = None,
    without_safety_backup: Annotated[
        bool,
        typer.Option("--without-safety-backup", help="Where the server cannot start: no backup of what is there now."),
    ] = False,
) -> None:
    """Plan, approval, restore, proof, cut-over. Exit 0 done; 3 refused, nothing touched; 4 rolled back; 1 failed."""
    known(config, target)
    with asked("given" if yes else "terminal", who()):
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
            accept_differences=accept_differences,
            without_safety_backup=without_safety_backup,
        )
    show.document(report) if json else restore_show.restore(report)


def recover(
    target: TargetArgument, config: ConfigOption = None, json: JsonOption = False, prefect: PrefectOption = False
) -> None:
    """Finish or undo an interrupted restore. Exit 0 consistent; 1 not yet."""
    known(config, target)
    recovery = tracking.run("recover", "recover", target, config, prefect)
    show.document(recovery) if json else typer.echo(recovery.words)


def drill(
    target: TargetArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    prefect: PrefectOption = False,
    backup: Annotated[str, typer.Option("--backup", help="A backup's id, or latest.")] = "latest",
    accept_differences: AcceptOption = None,
) -> None:
    """Prove a backup in a scratch volume, removed afterwards. Exit 0 proven; 2 not proven; 1 failed."""
    known(config, target)
    try:
        result = tracking.run(
            "drill", "drill", target, config, prefect, backup=backup, accept_differences=accept_differences
        )
    except Refused as error:  # 3 is for what would have changed something; here there is nothing to prove.
        raise RollcallError(str(error)) from error
    show.document(result) if json else restore_show.drill(result)
    raise typer.Exit(0 if result.proven else NOT_PROVEN)


def census(
    target: Annotated[str | None, typer.Argument(help="Whose data is looked for; left out: every target's.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    count: Annotated[
        Literal["small", "all", "none"], typer.Option("--count", help="Count rows in volumes below 2 GiB, all, none.")
    ] = "small",
) -> None:
    """Every volume with a PostgreSQL cluster, best match first. It says why, and only reads volumes."""
    from tasks.restore.census import census as taken

    settings = known(config, target) if target else load(config)
    entries = taken(settings, target, count)
    shown = census_show.census_document if json else census_show.census
    shown(entries, settings, target)


def kept(
    target: TargetArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    remove: Annotated[str | None, typer.Option("--remove", help="Remove this kept volume for good.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without being asked; for scripts.")] = False,
    even_if_only_copy: Annotated[
        bool, typer.Option("--even-if-only-copy", help="Remove it although its rows may exist nowhere else.")
    ] = False,
) -> None:
    """Volumes that restores have kept, with their story. Removes one only when you name it. Exit 3 refused."""
    from tasks.restore.kept import kept_volumes, remove_kept

    settings = known(config, target)
    if remove is None:
        found = kept_volumes(settings, target)
        kept_show.kept_document(found, target) if json else kept_show.kept_table(found, target)
        return
    if even_if_only_copy or not yes:
        _typed_again(remove)
    remove_kept(settings, target, remove, datetime.now(UTC), even_if_only_copy=even_if_only_copy)
    kept_show.removed_document(remove, target) if json else typer.echo(f"Removed {remove}.")


def _typed_again(name: str) -> None:
    """Removing is for good: the volume's name is typed. Raise Refused for anything else."""
    typer.echo(f"Type {name} to remove it for good: ", nl=False, err=True)
    if sys.stdin.readline().strip() != name:
        raise Refused(f"Not removed: the name {name} was not typed.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("restore-volume")(restore_volume)
    for command in (recover, drill, census, kept):
        app.command()(command)
