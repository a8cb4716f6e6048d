"""The doctor on the status API: may it listen where the configuration says, and is it what answers there?"""

from __future__ import annotations

import http.client
import json
import urllib.request
from contextlib import closing

from deployments.serving.server import is_locked
from deployments.status_api import revealed_token
from deployments.status_server import listen
from tasks.config import Config
from tasks.doctor.diagnosis import Diagnosis, tried
from tasks.errors import ConfigError, RollcallError
from tasks.sections import Api

SECONDS = 5
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a user may have chosen, and where it answers here


def status_api_diagnosis(config: Config) -> Diagnosis:
    """Its token, its address, its port."""
    return tried("status API", lambda: _looked(config))


def _looked(config: Config) -> str:
    api, lock = config.api, config.state / "serve/lock"
    revealed_token(api)
    try:
        with closing(listen(api)) as free:
            host, port = free.getsockname()[:2]
    except ConfigError:
        raise
    except RollcallError as error:
        if lock.exists() and is_locked(lock) and _is_status_api(api):
            return f"It answers on {api.host}, port {api.port}."
        raise ConfigError(f"{error} It is not this configuration's rollcall serve that listens there.") from error
    return f"Port {port} of {host} is free for it; rollcall serve starts it."


def _is_status_api(api: Api) -> bool:
    """Whether what listens there describes itself as the status API; it needs no token to be asked for that."""
    host = EVERYWHERE.get(api.host, api.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{api.port}/openapi.json"
    try:
        with _DIRECT.open(address, timeout=SECONDS) as answer:
            return "/api/system-metrics" in json.load(answer)["paths"]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return False


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # A proxy is for other machines.
