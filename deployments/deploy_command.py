"""`rollcall deploy`: every target's deployments for a Prefect worker, on the server that is configured."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from deployments.app import ConfigOption, JsonOption
from deployments.serving.run_containers import this_container
from deployments.serving.wanted import wanted
from deployments.tracking import configured_api, unusable
from tasks.config import Config, config_path, load
from tasks.errors import RollcallError


def deploy(
    config: ConfigOption = None,
    json: JsonOption = False,
    work_pool: Annotated[
        str,
        typer.Option("--work-pool", help="The pool that a worker on the Docker host serves; made if it is missing."),
    ] = "rollcall",
    in_containers: Annotated[
        bool,
        typer.Option("--in-containers", help="A Docker work pool: each run is a container like the one this runs in."),
    ] = False,
) -> None:
    """Deployments for Prefect workers of your own. The server is that of PREFECT_API_URL; `serve` does without."""
    settings, file = load(config), config_path(config)
    api = configured_api()
    if why := (unusable(api) if api else "No Prefect API answers"):
        raise RollcallError(f"{why}. Name a server in PREFECT_API_URL, or use rollcall serve, which brings its own.")
    from deployments.serving.late import refusals_in_words

    with refusals_in_words():
        names, removed = _deployed(settings, file, work_pool, in_containers=in_containers)
    if json:
        print(json_module.dumps({"work_pool": work_pool, "deployed": names, "removed": removed}))
        return
    typer.echo("\n".join([*names, *(f"removed {name}" for name in removed)]))
    typer.echo(f"Start a worker on the Docker host: prefect worker start --pool {work_pool}")


def _deployed(settings: Config, file: Path, work_pool: str, *, in_containers: bool) -> tuple[list[str], list[str]]:
    """Names of the deployments that the server has now, and of those that were removed."""
    from deployments.serving import applied

    asked = wanted(settings, file)
    if in_containers:
        applied.have_docker_pool(work_pool, this_container())
    else:
        applied.have_work_pool(work_pool)
    removed = applied.remove_stale(asked, file)
    offered = {target: applied.backups_of(settings, target) or [] for target in settings.targets}
    for each in asked:
        identity = applied.apply(applied.deployment_of(each, offered[each.target], work_pool))
        if not each.cron:
            applied.drop_schedules(identity)
    return [each.name for each in asked], removed


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(deploy)
