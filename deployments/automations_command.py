"""The commands that set up a Prefect server for a configuration: automations, blocks. cli.py registers them."""

from __future__ import annotations

import getpass
import json as json_text
import logging
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from deployments import prefect_server
from deployments.app import ConfigOption, JsonOption
from deployments.automations import mark_of, rivals, steps, unwatched, wanted_automations
from deployments.installation import former_installation, installation
from tasks.config import Config, NotifyUrl, load
from tasks.errors import ConfigError, RollcallError, SecretError
from tasks.secrets import BlockReference, EnvReference, reveal
from tasks.sections import Docker, wrong_address

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
        former = mark_of(former_installation(settings.state))
        planned = steps(wanted, present, mark_of(own), former)
        if not dry_run:
            prefect_server.carry_out(client, planned)
    for target in rivals(wanted, present, mark_of(own), former):
        log.warning(
            "Another installation on this server has a target %s, too: its runs keep your alarms silent. Call one of "
            "them otherwise; if that installation is gone, remove its automations in Prefect's UI.",
            target,
        )
    silent = list(unwatched(settings))
    _show([(each.change, each.name) for each in planned], "automations", dry_run, json, unwatched=silent)


def blocks(
    action: ApplyArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    dry_run: DryRunOption = False,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret", help="NAME=VARIABLE: the Secret block NAME gets what this environment variable holds."
        ),
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option("--replace", help="Ask for the value of this Secret block again.")
    ] = None,
    docker_host: Annotated[
        list[str] | None, typer.Option("--docker-host", help="NAME=URL: the DockerHost block NAME gets this URL.")
    ] = None,
) -> None:
    """The Prefect blocks that the configuration needs: notifications, secrets, Docker hosts. Exit 0; 1."""
    settings = load(config)
    secrets, hosts = sorted(set(_blocks_of(settings, BlockReference))), sorted(set(_blocks_of(settings, Docker)))
    values = {name: _variable(variable) for name, variable in _pairs("--secret", secret, secrets).items()}
    urls = _pairs("--docker-host", docker_host, hosts)
    again = _known("--replace", replace or [], secrets)
    for name, url in urls.items():
        if wrong := wrong_address(url):
            raise ConfigError(f"--docker-host {name} {wrong}.")
    with prefect_server.server(settings) as client:
        own = installation(settings.state, make=not dry_run)
        engines = [_docker_host(client, name, urls.get(name)) for name in hosts]
        planned = [_secret(client, name, values, again, dry_run) for name in secrets]
        fresh = {name: each.value for name, each in zip(secrets, planned, strict=True) if each.value is not None}
        planned += engines
        planned += [
            _notification(client, settings, own, position, fresh, dry_run) for position in range(len(settings.notify))
        ]
        if not dry_run:  # Nothing is changed before all is known to be well.
            for each in planned:
                _save(each)
    _show([(each.change, each.name) for each in planned], "blocks", dry_run, json)


@dataclass(frozen=True)
class _Block:
    """A block as `type-slug/name`, and what becomes of it. value: what it is to hold; None: it stays as it is."""

    change: Literal["create", "update", "keep"]
    name: str
    value: str | None = field(default=None, repr=False)


def _save(block: _Block) -> None:
    kind, _, name = block.name.partition("/")
    if block.value is None:
        return
    save = {"secret": prefect_server.save_secret_block, "docker-host": prefect_server.save_docker_host_block}
    save.get(kind, prefect_server.save_notification_block)(name, block.value)


def _notification(
    client: Any, config: Config, installation: str, position: int, fresh: Mapping[str, str], dry_run: bool
) -> _Block:
    """What becomes of the block that `notify[position]` needs. fresh: what Secret blocks are going to hold."""
    entry, name = config.notify[position], _block_name(config, installation, position)
    there = prefect_server.block_id(client, name) is not None
    if not isinstance(entry, NotifyUrl):
        if not there:
            raise ConfigError(f"There is no Prefect block {name!r}; make it in Prefect's UI, or mend its name.")
        return _Block("keep", name)
    given = fresh.get(entry.url.block) if isinstance(entry.url, BlockReference) else None
    url = None if dry_run else (given or reveal(entry.url)).strip()
    return _Block("update" if there else "create", name, url)


def _secret(client: Any, name: str, values: Mapping[str, str], again: Collection[str], dry_run: bool) -> _Block:
    """The same of a Secret block: one that is there stays as it is, unless a value is given or asked for again."""
    there = prefect_server.block_id(client, f"secret/{name}") is not None
    if there and name not in values and name not in again:
        return _Block("keep", f"secret/{name}")
    value = None if dry_run else values[name] if name in values else _asked(name)
    return _Block("update" if there else "create", f"secret/{name}", value)


def _docker_host(client: Any, name: str, url: str | None) -> _Block:
    """The same of a DockerHost block."""
    there = prefect_server.block_id(client, f"docker-host/{name}") is not None
    if not there and url is None:
        raise ConfigError(
            f"There is no Prefect DockerHost block {name!r}; say where its engine is: rollcall blocks apply "
            f"--docker-host {name}=ssh://USER@HOST"
        )
    if url is None:
        return _Block("keep", f"docker-host/{name}")
    return _Block("update" if there else "create", f"docker-host/{name}", url)


def _pairs(option: str, given: Sequence[str] | None, known: Sequence[str]) -> dict[str, str]:
    """The NAME=VALUE of an option that may be given again. Raise ConfigError."""
    split = [each.partition("=") for each in given or []]
    if wrong := next((name for name, equals, value in split if not (name and equals and value)), None):
        raise ConfigError(f"{option} {wrong}: it takes NAME=VALUE.")
    _known(option, [name for name, _, _ in split], known)
    return {name: value for name, _, value in split}


def _known(option: str, names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The names, once the configuration is known to use them. Raise ConfigError."""
    for name in names:
        if name not in known:
            uses = f"it uses: {', '.join(known)}" if known else "it uses none"
            raise ConfigError(f"{option} {name}: the configuration uses no such block; {uses}.")
    return names


def _variable(name: str) -> str:
    """What an environment variable holds. Raise SecretError, without it, where that is nothing."""
    value = reveal(EnvReference(env=name))
    if not value:
        raise SecretError(f"The environment variable {name} is empty; the Secret block was not made.")
    return value


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


def _blocks_of(value: Any, kind: type[BlockReference | Docker]) -> Iterator[str]:
    """The names of all blocks of a kind in the configuration, however deep."""
    if isinstance(value, kind):
        if value.block is not None:
            yield value.block
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _blocks_of(getattr(value, field), kind)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _blocks_of(each, kind)


def _asked(name: str) -> str:
    """The value for a Secret block, from the terminal without echo: never an argument, which others could read."""
    if not sys.stdin.isatty():
        raise RollcallError(
            f"There is no value for the Prefect Secret block {name!r}, and no terminal to ask for it; run this on a "
            f"terminal, or say which variable holds it: --secret {name}=VARIABLE"
        )
    value = getpass.getpass(f"Value for the Prefect Secret block {name}: ")
    if not value:
        raise RollcallError(f"Nothing was typed for the Secret block {name!r}; it was not made.")
    return value


WORDS = {"create": "made", "update": "changed", "keep": "as it should be", "remove": "removed"}
PLANS = {"create": "would be made", "update": "would be changed", "keep": "as it should be", "remove": "would go"}


def _show(done: Sequence[tuple[str, str]], subject: str, dry_run: bool, json: bool, **sentences: list[str]) -> None:
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
