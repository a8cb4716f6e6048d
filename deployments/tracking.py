"""Run a flow from the command line: tracked by Prefect where an API is configured, directly where none is."""

from __future__ import annotations

import functools
import http.client
import importlib
import inspect
import logging
import os
import re
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, get_type_hints

from tasks.errors import RollcallError

log = logging.getLogger("rollcall")

MOST_OF_AN_ANSWER = 100
"""Bytes; what Prefect's API says when it is well has four."""


def run(module: str, name: str, target: str, config: str | None, prefect: bool, **more: Any) -> Any:
    """Call flow `name` of flows/`module`.py with target, config and what `more` says; return what it returns.

    Prefect tracks the run if `prefect` says so or a configured API answers. One that does not answer, or fails, must
    not cost a night's backup: the run then goes on untracked and says so. Raise RollcallError: what the run raises, and
    that Prefect cannot track it where `prefect` asks for that.
    """
    api = configured_api()
    if api and (why := unusable(api)):
        _untracked(why, prefect)
    elif prefect or api:
        begun: list[Future[Any]] = []
        try:
            return _tracked(module, name, (target, config), more, begun)
        except RollcallError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever Prefect met, the run itself is what counts
            # The class alone: what Prefect's own errors say may quote an address with a key in it.
            met = f"Prefect could not track this run ({type(error).__name__})"
            if begun:
                log.warning("%s to its end.", met)
                return begun[0].result()
            _untracked(met, prefect)
    flow = getattr(importlib.import_module(f"flows.{module}"), name)
    return getattr(flow, "fn", flow)(target, config, **more)


def _untracked(why: str, prefect: bool) -> None:
    if prefect:
        raise RollcallError(f"{why}. Mend that, or leave out --prefect.") from None
    log.warning("%s; the run goes on untracked.", why)


def _tracked(
    module: str, name: str, given: tuple[str, str | None], more: dict[str, Any], begun: list[Future[Any]]
) -> Any:
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "rollcall")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # On a terminal its every state change is noise; its UI has them all the same.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # A temporary server is stopped while it still writes down the last events; it and its database would print how that
    # failed, over a run that went well.
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
    # By the handler, for SQLAlchemy sets a level of its own; our own log has a handler of its own, too.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # Nor is it news on a terminal that the last events came too late for a server that has ended.
    os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "CRITICAL")
    # A run that goes on untracked logs to no flow run, which is then as it should be.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    flow = getattr(importlib.import_module(f"flows.{module}"), name).with_options()
    flow.fn = _noting(flow.fn, begun)
    flow.serialize_parameters = _as_json
    # Joining the heartbeat thread costs a second at the end of every run, and one-off runs need no heartbeat.
    settings: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    if os.environ.get("PREFECT_API_URL") == "":
        # Prefect starts a temporary server then, but sends no event to it: to those, an empty address is one.
        settings[PREFECT_API_URL] = None
    with temporary_settings(settings):
        return flow(*given, **more)


def _noting(body: Callable[..., Any], begun: list[Future[Any]]) -> Callable[..., Any]:
    """`body`, which puts into `begun` that it began, and how it ended: Prefect may fail before it, and after it."""

    @functools.wraps(body)
    def noting(*args: Any, **kwargs: Any) -> Any:
        outcome: Future[Any] = Future()
        begun.append(outcome)
        try:
            outcome.set_result(body(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)
            raise
        return outcome.result()

    # Prefect looks up what the parameters' types mean, and would do so in this module.
    noting.__annotations__ = get_type_hints(body)
    noting.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    return noting


def _as_json(parameters: dict[str, Any]) -> Any:
    """The parameters as Prefect keeps them. Prefect's own way is FastAPI's, whose import takes a quarter of a second;
    this is what that calls for whatever pydantic knows. What cannot be kept is named by its kind, as Prefect does."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(parameters, fallback=lambda value: f"<{type(value).__name__}>")


def shown(api: str) -> str:
    """The address without the user and password that it may have."""
    return re.sub(r"//[^/@]*@", "//", api)


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
    """True if Prefect's API is at this address; see `unusable`."""
    return unusable(api, timeout) is None


def unusable(api: str, timeout: float = 3.0) -> str | None:
    """Why Prefect's API cannot be used at this address, the beginning of a sentence; None if it says within `timeout`
    seconds that it is well, or that it wants a key (Prefect Cloud).

    A proxy in front of a dead server also answers: Prefect's client would try that one for minutes. And so does
    Prefect's UI, with a page for every path, where the address lacks its end.
    """
    silent = f"The Prefect API at {shown(api)} does not answer"
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=timeout) as answer:  # noqa: S310 - the user's own address
            if answer.read(MOST_OF_AN_ANSWER).strip() == b"true":
                return None
    except urllib.error.HTTPError as error:
        error.close()
        return None if error.code in {401, 403} else silent
    except (OSError, ValueError, http.client.HTTPException):
        return silent
    return f"What answers at {shown(api)} is no Prefect API (does the address end in /api?)"
