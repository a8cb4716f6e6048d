"""Run a flow from the command line: tracked by Prefect where an API is configured, directly where none is."""

from __future__ import annotations

import importlib
import logging
import os
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

log = logging.getLogger("rollcall")


def run(module: str, name: str, target: str, config: str | None, prefect: bool) -> Any:
    """Call flow `name` of flows/`module`.py and return what it returns.

    Prefect tracks the run if `prefect` says so or a configured API answers. One that does not answer must not cost a
    night's backup: the run then goes on untracked and says so.
    """
    api = configured_api()
    if prefect or (api and answers(api)):
        return _tracked(module, name, target, config)
    if api:
        log.warning("The Prefect API at %s does not answer; this run is not tracked.", api)
    flow = getattr(importlib.import_module(f"flows.{module}"), name)
    return flow(target, config)


def _tracked(module: str, name: str, target: str, config: str | None) -> Any:
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "rollcall")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # On a terminal its every state change is noise; its UI has them all the same.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    flow = getattr(importlib.import_module(f"flows.{module}"), name)
    # Joining the heartbeat thread costs a second at the end of every run, and one-off runs need no heartbeat.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return flow(target, config)


def configured_api() -> str | None:
    """The API that the environment or the active Prefect profile names; read without importing Prefect (2 s)."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"] or None
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    try:
        profiles = tomllib.loads((home / "profiles.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    url = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


def answers(api: str, timeout: float = 3.0) -> bool:
    """True if something at the API's address answers HTTP within `timeout` seconds, whatever it says."""
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=timeout):  # noqa: S310 - the user's own address
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
