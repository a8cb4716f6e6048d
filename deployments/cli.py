"""The command line: `rollcall COMMAND`. It reads arguments, runs the flow, prints, and sets the exit code.

Every command takes --config and --json (one JSON document on stdout; logs go to stderr). Bad input of any kind is one
sentence on stderr and exit 1.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments import (
    automations_command,
    deploy_command,
    doctor_command,
    down_command,
    restore_commands,
    serve_command,
    show,
    tracking,
    watch_command,
)
from deployments.app import ConfigOption, JsonOption, PrefectOption, TargetArgument, app, known, who
from tasks.errors import Refused, RollcallError, RolledBack

# Typer carries its own copy of Click, and shows of its errors only this one's children.
USAGE_ERROR: Any = typer.BadParameter.__base__

CRITICAL = 2
FAILED = 1
ACCEPT_PATIENCE = 10.0
"""Seconds that `accept` waits for another run: a backup of a small database is over by then, a restore is not."""
CODES: dict[type[RollcallError], int] = {Refused: 3, RolledBack: 4}


@app.command()
def backup(
    target: TargetArgument, config: ConfigOption = None, json: JsonOption = False, prefect: PrefectOption = False
) -> None:
    """Back up, judge, store, rotate. Exit 0 stored; 2 stored but critical (quarantined); 1 failed."""
    known(config, target)
    manifest = tracking.run("backup", "backup", target, config, prefect)
    show.document(manifest) if json else show.backup(manifest)
    raise typer.Exit(CRITICAL if manifest.quarantined else 0)


@app.command()
def verify(
    target: TargetArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    prefect: PrefectOption = False,
    fail_on_warning: Annotated[bool, typer.Option("--fail-on-warning", help="Exit 2 on a warning too.")] = False,
) -> None:
    """Identity, counts, schema, backup freshness. Exit 0 healthy or warning; 2 critical; 1 could not be checked."""
    known(config, target)
    result = tracking.run("verify", "verify", target, config, prefect)
    show.document(result) if json else show.verify(result)
    bad = result.verdict == "critical" or (fail_on_warning and result.verdict == "warning")
    raise typer.Exit(CRITICAL if bad else 0)


@app.command()
def backups(target: TargetArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Every backup that the storages hold, newest first."""
    from tasks.checks.shelves import shelves

    found = shelves(known(config, target), target)
    show.catalogue_document(found) if json else show.catalogue(found, target)


@app.command()
def history(
    target: TargetArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    days: Annotated[int, typer.Option("--days", min=1, max=36_500, help="How far back.")] = 30,
    chart: Annotated[Path | None, typer.Option("--chart", help="Write a picture here (.png or .svg).")] = None,
) -> None:
    """Counts over time, a line a table. With --chart a picture."""
    settings = known(config, target)
    if chart and chart.suffix not in {".png", ".svg"}:
        raise RollcallError(f"--chart {chart}: the name must end in .png or .svg.")
    show.history(settings, target, days=days, chart=chart, json=json)


@app.command()
def accept(
    target: TargetArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why the present state is right; it is kept.")],
    config: ConfigOption = None,
    json: JsonOption = False,
    table: Annotated[str | None, typer.Option("--table", help="Accept the present count of this table alone.")] = None,
) -> None:
    """Make the present state the baseline. Counts and identity, after a change that was meant."""
    from tasks.checks.acceptance import accept_present
    from tasks.checks.lock import only_run
    from tasks.restore.recover import refuse_interrupted

    if not reason.strip():
        raise RollcallError("--reason is empty; say why the present state is right, for whoever reads the history.")
    settings = known(config, target)
    with only_run(settings.state, target, patience=ACCEPT_PATIENCE):
        refuse_interrupted(settings, target)
        accepted = accept_present(settings, target, reason, who(), datetime.now(UTC), table)
    show.document(accepted) if json else show.accepted(accepted)


# In the order of the list that --help shows: what is done every day first.
restore_commands.register(app)
down_command.register(app)
doctor_command.register(app)
serve_command.register(app)
watch_command.register(app)
deploy_command.register(app)
automations_command.register(app)


def main() -> None:
    """Run the command line. Every error on purpose becomes one sentence; so does a misused option."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("rollcall").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_run_of_prefect)
    sys.exit(_outcome(lambda: app(sys.argv[1:] or ["--help"], standalone_mode=False)))


def _is_no_run_of_prefect(record: logging.LogRecord) -> bool:
    """What Prefect says of a run, tracebacks too, is for its UI; here the command's own sentence says it."""
    return not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))


def _outcome(call: Callable[[], Any]) -> int:
    try:
        code = call()
    except RollcallError as error:
        return _sentence(str(error), next((code for kind, code in CODES.items() if isinstance(error, kind)), FAILED))
    except USAGE_ERROR as error:
        said = error.format_message().rstrip(".")
        return _sentence(f"{said}{'' if said.endswith('?') else '.'} See: rollcall --help")
    except (KeyboardInterrupt, typer.Abort):
        return _sentence("Stopped by hand. Nothing half-written is listed as a backup.")
    except Exception as error:  # noqa: BLE001 - a traceback tells a user nothing, and may quote a secret
        return _defect(error)
    return code if isinstance(code, int) else 0


def _defect(error: Exception) -> int:
    """For an error that nothing translated: where it happened is shown only to who asks."""
    if os.environ.get("ROLLCALL_DEBUG"):
        raise error
    return _sentence(f"{type(error).__name__}: this is a defect; run again with ROLLCALL_DEBUG=1 to see where.")


def _sentence(text: str, code: int = FAILED) -> int:
    print(f"rollcall: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
