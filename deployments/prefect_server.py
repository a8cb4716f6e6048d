"""What the command line asks of a Prefect server: its automations, and the blocks they deliver through."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from deployments.automations import Step
from deployments.serving.server import running_api
from deployments.tracking import configured_api, unusable
from tasks.config import Config
from tasks.errors import ConfigError, RollcallError

MOST = 200
"""Automations that Prefect returns for one question."""


def api_of(config: Config) -> str | None:
    """The API that the environment or the Prefect profile names, else that of the `rollcall serve` that runs here."""
    return configured_api() or running_api(config.state / "prefect", config.serve)


@contextmanager
def server(config: Config) -> Iterator[Any]:
    """A client of the server that `api_of` names. Raise ConfigError without one, RollcallError if it fails."""
    api = api_of(config)
    if not api:
        raise ConfigError(
            "No Prefect server is configured, and no rollcall serve runs with this state folder; start rollcall serve, "
            "or set PREFECT_API_URL, for example http://127.0.0.1:4200/api."
        )
    if why := unusable(api):
        raise RollcallError(f"{why}; start the server, or mend PREFECT_API_URL.")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from deployments.serving.late import refusals_in_words

    # Where it is serve's own, nothing in the environment names it.
    with (
        refusals_in_words(),
        temporary_settings({PREFECT_API_URL: api}),
        get_client(sync_client=True) as client,
    ):
        yield client


def automations(client: Any) -> list[dict[str, Any]]:
    """Every automation of the server, as its API shows it."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.request("POST", "/automations/filter", json={"limit": MOST, "offset": len(found)}).json()
        found += page
        if len(page) < MOST:
            return found


def carry_out(client: Any, planned: Sequence[Step]) -> None:
    """Do the steps, removals last. Each automation begins to wait as soon as it is made, and by itself: to be stopped
    half-way leaves nothing that a second time does not find and finish."""
    for step in planned:
        if step.wanted is None:
            if step.change == "remove":
                client.request("DELETE", "/automations/{id}", path_params={"id": step.id})
            continue
        document = {key: value for key, value in step.wanted.document.items() if key != "tell"}
        if step.change == "create":
            client.request("POST", "/automations/", json=document)
        elif step.change == "update":
            client.request("PUT", "/automations/{id}", path_params={"id": step.id}, json=document)


def versions(client: Any) -> tuple[str, str]:
    """The server's version of Prefect, and ours."""
    from prefect import __version__

    return str(client.request("GET", "/admin/version").json()), __version__


def block_id(client: Any, name: str) -> str | None:
    """The id of the block document `type-slug/name`; None where there is none."""
    from prefect.exceptions import ObjectNotFound

    slug, _, own = name.partition("/")
    try:
        found = client.read_block_document_by_name(own, slug, include_secrets=False)
    except ObjectNotFound:
        return None
    return str(found.id)


def save_notification_block(name: str, url: str) -> None:
    """Make or replace the block `slack-webhook/NAME`, whose type takes any Apprise URL; its id stays."""
    from prefect.blocks.notifications import SlackWebhook
    from pydantic import SecretStr

    cast("Any", SlackWebhook(url=SecretStr(url))).save(name, overwrite=True)


def save_secret_block(name: str, value: str) -> None:
    """Make or replace the Secret block `name`."""
    from prefect.blocks.system import Secret

    cast("Any", Secret(value=cast("Any", value))).save(name, overwrite=True)


def save_docker_host_block(name: str, url: str) -> None:
    """Make or replace the DockerHost block `name`."""
    from prefect_docker import DockerHost

    cast("Any", DockerHost(base_url=url)).save(name, overwrite=True)
