"""The commands that set up a Prefect server for a configuration: automations, blocks. cli.py registers them."""

from __future__ import annotations

import getpass
import json as json_text
import logging
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from deployments import prefect_server
from deployments.app import ConfigOption, JsonOption
from deployments.automations import mark_of, rivals, steps, unwatched, wanted_automations
from deployments.installation import installation
from tasks.config import Config, NotifyUrl, load
from tasks.errors import ConfigError, RollcallError
from tasks.secrets import BlockReference, reveal

log = logging.getLogger("rollcall")

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
ApplyArgument = Annotated[Literal["apply"], typer.Argument(help="apply: make the server hold what is configured.")]


def automations(
    action: ApplyArgument, config: ConfigOption = None, json: JsonOption = False, dry_run: DryRunOption = False
) -> None:
    """Alarms on Prefect's server: missed, crashed and dead runs. Exit 0; 1 failed."""
    settings = load(config)
    if not settings.notify:
        raise ConfigError("The key notify is missing or empty: nobody would be told. Add where alarms go.")
    with prefect_server.server(settings) as client:
        own = installation(settings.state, make=not dry_run)
        wanted = wanted_automations(settings, delivering(client, settings, own), mark_of(own))
        present = prefect_server.automations(client)
        planned = steps(wanted, present, mark_of(own))
        if not dry_run:
            prefect_server.carry_out(client, planned)
    for target in rivals(wanted, present, mark_of(own)):
        log.warning(
            "Another installation on this server has a target %s, too: its runs keep your alarms silent. Call one of "
            "them otherwise; if that installation is gone, remove its automations in Prefect's UI.",
            target,
        )
    silent = list(unwatched(settings))
    _show([(each.change, each.name) for each in planned], "automations", dry_run, json, unwatched=silent)


def blocks(
    action: ApplyArgument, config: ConfigOption = None, json: JsonOption = False, dry_run: DryRunOption = False
) -> None:
    """The Prefect blocks that the configuration needs. Those of notifications and secrets. Exit 0; 1 failed."""
    settings = load(config)
    shown: list[tuple[str, str]] = []
    with prefect_server.server(settings) as client:
        own = installation(settings.state, make=not dry_run)
        for position, entry in enumerate(settings.notify):
            name = _block_name(settings, own, position)
            there = prefect_server.block_id(client, name) is not None
            if not isinstance(entry, NotifyUrl):
                if not there:
                    raise ConfigError(f"There is no Prefect block {name!r}; make it in Prefect's UI, or mend its name.")
                shown.append(("keep", name))
                continue
            if not dry_run:
                prefect_server.save_notification_block(name.partition("/")[2], reveal(entry.url).strip())
            shown.append(("update" if there else "create", name))
        for secret in sorted(set(_secret_blocks(settings))):
            there = prefect_server.block_id(client, f"secret/{secret}") is not None
            if not there and not dry_run:
                prefect_server.save_secret_block(secret, _asked(secret))
            shown.append(("keep" if there else "create", f"secret/{secret}"))
    _show(shown, "blocks", dry_run, json)


def delivering(client: Any, config: Config, installation: str) -> list[str]:
    """The ids of the blocks that the automations send through. Raise ConfigError where one is not there yet."""
    found = []
    for position in range(len(config.notify)):
        name = _block_name(config, installation, position)
        identity = prefect_server.block_id(client, name)
        if identity is None:
            raise ConfigError(f"There is no Prefect block {name!r} on the server yet; run: rollcall blocks apply")
        found.append(identity)
    return found


def _block_name(config: Config, installation: str, position: int) -> str:
    """The block of the configuration itself, or the one that `blocks apply` makes of an Apprise URL."""
    entry = config.notify[position]
    if not isinstance(entry, NotifyUrl):
        return entry.block
    return f"slack-webhook/rollcall-{installation}-{position}"


def _secret_blocks(value: Any) -> Iterator[str]:
    """The names of all Secret blocks in the configuration, however deep."""
    match value:
        case BlockReference(block=name):
            yield name
        case BaseModel():
            for field in type(value).model_fields:
                yield from _secret_blocks(getattr(value, field))
        case dict():
            for each in value.values():
                yield from _secret_blocks(each)
        case list():
            for each in value:
                yield from _secret_blocks(each)


def _asked(name: str) -> str:
    """The value for a Secret block, from the terminal without echo: never an argument, which others could read."""
    if not sys.stdin.isatty():
        raise RollcallError(
            f"There is no Prefect Secret block {name!r}, and no terminal to ask for its value; run this on a terminal."
        )
    value = getpass.getpass(f"Value for the Prefect Secret block {name}: ")
    if not value:
        raise RollcallError(f"Nothing was typed for the Secret block {name!r}; it was not made.")
    return value


WORDS = {"create": "made", "update": "changed", "keep": "as it should be", "remove": "removed"}
PLANS = {"create": "would be made", "update": "would be changed", "keep": "as it should be", "remove": "would go"}


def _show(done: list[tuple[str, str]], subject: str, dry_run: bool, json: bool, **sentences: list[str]) -> None:
    """What became of each; and `sentences` by their key in JSON, a line each without."""
    if json:
        listed = [{"name": name, "change": change} for change, name in done]
        typer.echo(json_text.dumps({subject: listed, "dry_run": dry_run, **sentences}, indent=2))
        return
    for change, name in done:
        typer.echo(f"{name}: {(PLANS if dry_run else WORDS)[change]}")
    for sentence in (each for said in sentences.values() for each in said):
        typer.echo(sentence)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (automations, blocks):
        app.command()(command)
