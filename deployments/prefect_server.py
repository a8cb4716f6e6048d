"""What the command line asks of a Prefect server: its automations, and the blocks they deliver through."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from deployments.automations import WATCH_BEGUN, Step
from deployments.tracking import answers, configured_api
from tasks.errors import ConfigError, RollcallError

MOST = 200
"""Automations that Prefect returns for one question."""


@contextmanager
def server() -> Iterator[Any]:
    """A client of the server that the environment or the Prefect profile names. Raise RollcallError without one."""
    api = configured_api()
    if not api:
        raise ConfigError(
            "No Prefect server is configured; set PREFECT_API_URL, for example http://127.0.0.1:4200/api."
        )
    if not answers(api):
        raise RollcallError("The configured Prefect server does not answer; start it, or mend PREFECT_API_URL.")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise RollcallError(
            f"The Prefect server refused ({error.response.status_code} for {error.request.url.path})."
        ) from None
    except httpx.HTTPError as error:
        raise RollcallError(f"The Prefect server did not answer to the end ({type(error).__name__}).") from None


def automations(client: Any) -> list[dict[str, Any]]:
    """Every automation of the server, as its API shows it."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.request("POST", "/automations/filter", json={"limit": MOST, "offset": len(found)}).json()
        found += page
        if len(page) < MOST:
            return found


def carry_out(client: Any, planned: Sequence[Step]) -> None:
    """Do the steps. An automation that is new or changed begins to wait at once."""
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
    changed = {step.wanted.target for step in planned if step.wanted and step.change in {"create", "update"}}
    for target in sorted(name for name in changed if name):
        _begin_watch(client, target)


def _begin_watch(client: Any, target: str) -> None:
    """Without it, a target that never ran would be missed by nobody."""
    from prefect.events import Event

    resource = {"prefect.resource.id": f"rollcall.target.{target}", "prefect.resource.name": target}
    event = Event(event=WATCH_BEGUN, resource=cast("Any", resource))
    client.request("POST", "/events", json=[event.model_dump(mode="json")])


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
    from prefect_docker import DockerHost  # type: ignore[import-untyped]

    cast("Any", DockerHost(base_url=url)).save(name, overwrite=True)
