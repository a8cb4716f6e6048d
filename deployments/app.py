"""What all commands of the command line share: the application, its options, and who is asking for which target."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from tasks.config import Config, load

app = typer.Typer(
    name="rollcall",
    help="Back up PostgreSQL in Docker, prove every backup, and notice when a database is not the one it should be.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", help="Configuration file; else $ROLLCALL_CONFIG, else deployments/targets.yaml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
PrefectOption = Annotated[
    bool,
    typer.Option("--prefect", help="Track the run with Prefect, in a temporary server where no API is configured."),
]
TargetArgument = Annotated[str, typer.Argument(help="Name of the target, as in the configuration.")]


def who() -> str:
    """The user's name; in a container a user id need not have one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def known(config: str | None, target: str) -> Config:
    """The configuration, once it is known to have the target: bad input is met before anything runs."""
    settings = load(config)
    settings.target(target)
    return settings
