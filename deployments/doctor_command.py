"""The command `doctor`: what would fail tonight, and the lines to change. cli.py registers it."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments import show
from deployments.app import ConfigOption, JsonOption
from tasks.config import load

FINDINGS = 2


def doctor(
    config: ConfigOption = None,
    json: JsonOption = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Pin volumes in compose files, where that is safe; originals are kept.")
    ] = False,
    notify: Annotated[bool, typer.Option("--notify", help="Really send a test message to every destination.")] = False,
) -> None:
    """Try every part that a run needs: what would fail tonight. Exit 0 nothing; 2 what it says."""
    from deployments.doctor_prefect import prefect_diagnoses
    from deployments.doctor_status_api import status_api_diagnosis
    from tasks.doctor.diagnosis import all_of
    from tasks.doctor.examine import examine
    from tasks.doctor.fix import fixed

    settings = load(config)
    diagnoses = [
        *examine(settings, notify=notify),
        status_api_diagnosis(settings),
        *all_of("prefect", lambda: prefect_diagnoses(settings)),
    ]
    if fix:
        diagnoses = fixed(settings, diagnoses)
    show.diagnoses_document(diagnoses) if json else show.diagnoses(diagnoses)
    raise typer.Exit(0 if all(each.well for each in diagnoses) else FINDINGS)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(doctor)
