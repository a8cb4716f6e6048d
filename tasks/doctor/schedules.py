"""Whether Prefect will really run something: each target's deployments, and runs of them in the future."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.doctor.diagnosis import Diagnosis, wrong

FLOWS = ("backup", "verify")  # without these two nobody protects and nobody notices
SECONDS = 10
PAGE = 200


def schedule_diagnoses(targets: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[Diagnosis]:
    """One for each target; none where no Prefect API is configured by PREFECT_API_URL."""
    api = environ.get("PREFECT_API_URL")
    if not api:
        return []
    try:
        deployments = _ask(api, "deployments/filter", {"limit": PAGE}, environ)
        flows = {each["id"]: each["name"] for each in _ask(api, "flows/filter", {"limit": PAGE}, environ)}
        after = {"expected_start_time": {"after_": datetime.now(UTC).isoformat()}}
        state = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        runs = _ask(api, "flow_runs/filter", {"flow_runs": {**state, **after}, "limit": PAGE}, environ)
    except (OSError, ValueError, KeyError) as error:
        met = f"{error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        return [wrong("schedules", f"Prefect's API cannot be asked what is scheduled ({met}); start its server.")]
    known = {each["id"] for each in deployments}
    ahead = {each["deployment_id"] for each in runs if each.get("deployment_id") in known}
    named = [{**each, "flow": flows.get(each["flow_id"], "")} for each in deployments]
    return [_of_target(target, named, ahead) for target in targets]


def _of_target(target: str, deployments: Sequence[Mapping[str, Any]], ahead: set[str]) -> Diagnosis:
    """Whether backup and verify of the target have a run in the future (pure)."""
    subject = f"{target}: schedules"
    lacking = []
    for flow in FLOWS:
        mine = [
            each for each in deployments if each["flow"] == flow and (each["parameters"] or {}).get("target") == target
        ]
        if not mine:
            lacking.append(f"{flow} has no deployment")
        elif not any(each["id"] in ahead for each in mine):
            paused = " (it is paused)" if all(each.get("paused") for each in mine) else ""
            lacking.append(f"no run of {flow} is scheduled{paused}")
    if lacking:
        words = f"{' and '.join(lacking)}: deploy with prefect --no-prompt deploy --all, and see that a worker runs."
        return wrong(subject, words[0].upper() + words[1:])
    return Diagnosis(subject=subject, well=True, words="Runs of backup and verify are scheduled in Prefect.")


def _ask(api: str, path: str, body: Mapping[str, Any], environ: Mapping[str, str]) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if key := environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif login := environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(  # noqa: S310 - the user's own address
        f"{api.rstrip('/')}/{path}", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - the user's own address
        found: list[dict[str, Any]] = json.load(answer)
    return found
