"""Whether Prefect will really run something: each target's deployments, and runs of them in the future."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.doctor.diagnosis import Diagnosis, wrong

Deployment = Mapping[str, Any]

FLOWS = ("backup", "verify")  # without these two nobody protects and nobody notices
SECONDS = 10
PAGE = 200


def schedule_diagnoses(targets: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[Diagnosis]:
    """One for each target; none where no Prefect API is configured by PREFECT_API_URL."""
    api = environ.get("PREFECT_API_URL")
    if not api:
        return []
    try:
        flows = {each["id"]: each["name"] for each in _all(api, "flows/filter", environ)}
        deployments = [
            {**each, "flow": flows.get(each["flow_id"], "")} for each in _all(api, "deployments/filter", environ)
        ]
        return [_of_target(target, deployments, lambda each: _ahead(api, each, environ)) for target in targets]
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        met = f"{error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        return [wrong("schedules", f"Prefect's API cannot be asked what is scheduled ({met}); start its server.")]


def _of_target(target: str, deployments: Sequence[Deployment], ahead: Callable[[Deployment], bool]) -> Diagnosis:
    """Whether backup and verify of the target have a run in the future."""
    subject = f"{target}: schedules"
    lacking = []
    for flow in FLOWS:
        mine = [
            each for each in deployments if each["flow"] == flow and (each["parameters"] or {}).get("target") == target
        ]
        if not mine:
            lacking.append(f"{flow} has no deployment")
        elif not any(ahead(each) for each in mine):
            paused = " (it is paused)" if all(each.get("paused") for each in mine) else ""
            lacking.append(f"no run of {flow} is scheduled{paused}")
    if lacking:
        words = f"{' and '.join(lacking)}: use rollcall serve, or rollcall deploy and a worker."
        return wrong(subject, words[0].upper() + words[1:])
    return Diagnosis(subject=subject, well=True, words="Runs of backup and verify are scheduled in Prefect.")


def _ahead(api: str, deployment: Deployment, environ: Mapping[str, str]) -> bool:
    """Whether the deployment has a run that is still to come."""
    later = {"expected_start_time": {"after_": datetime.now(UTC).isoformat()}}
    scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    body = {"flow_runs": {**scheduled, **later}, "deployments": {"id": {"any_": [deployment["id"]]}}}
    return bool(_ask(api, "flow_runs/count", body, environ))


def _all(api: str, path: str, environ: Mapping[str, str]) -> list[Deployment]:
    """Every page of it."""
    found: list[Deployment] = []
    while True:
        page = _ask(api, path, {"limit": PAGE, "offset": len(found)}, environ)
        found += page
        if len(page) < PAGE:
            return found


def _ask(api: str, path: str, body: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    headers = {"Content-Type": "application/json"}
    if key := environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif login := environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(  # noqa: S310 - the user's own address
        f"{api.rstrip('/')}/{path}", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - the user's own address
        return json.load(answer)
