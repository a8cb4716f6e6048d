"""The status API: read-only, and answered from the history alone; no target, storage or engine is ever asked."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from deployments.status_answers import Health, PartState, Problem, SystemMetrics, system_metrics
from deployments.status_metrics import CONTENT_TYPE, metrics_text
from tasks.config import Config
from tasks.errors import ConfigError, HistoryError
from tasks.history.standing import Standing, standings
from tasks.history.store import open_history
from tasks.limits import check_limits
from tasks.secrets import reveal
from tasks.sections import Api

log = logging.getLogger("rollcall")

FRESH_SECONDS = 1.0
"""However many ask, the history is read once a second."""
TOO_OLD = 3
BUSY_SECONDS = 5.0
"""How long a locked history is waited for."""

NEVER_STORED = {"Cache-Control": "no-store"}
BEARER = HTTPBearer(auto_error=False, description="Asked for where the configuration has `api.token`.")

DESCRIPTION = (
    "How every protected database stands, by its last check. Read-only. It answers from Rollcall's history alone: "
    "nothing that you ask reaches a database, a storage or the Docker engine."
)
Responses = dict[int | str, dict[str, Any]]
UNREADABLE: Responses = {503: {"model": Problem, "description": "The history cannot be read."}}
UNHEALTHY: Responses = {503: {"model": Problem, "description": "The history cannot be read, or a part does not run."}}
REFUSED: Responses = {401: {"model": Problem, "description": "The bearer token is missing or wrong."}}
PLAIN: dict[str, Any] = {
    "description": "Prometheus's text format, version 0.0.4.",
    "content": {"text/plain": {"example": 'rollcall_target_verdict{target="knowledge_os",verdict="healthy"} 1.0\n'}},
}


Parts = Callable[[], Mapping[str, PartState]]


def no_parts() -> Mapping[str, PartState]:
    """Nothing runs beside the API."""
    return {}


def application(settings: Config, parts: Parts = no_parts) -> FastAPI:
    """The API of this configuration. Raise SecretError or ConfigError where its token cannot be used.

    parts: says how what runs beside it does. It has no pages to try it out on: FastAPI's take their scripts from
    another host. `/openapi.json` describes it.
    """
    app = FastAPI(
        title="Rollcall status", description=DESCRIPTION, version=version("rollcall"), docs_url=None, redoc_url=None
    )
    app.add_exception_handler(HistoryError, _history_failed)
    guard = Depends(_guard(revealed_token(settings.api)))
    reader = Reader(settings, parts=parts)
    _add_routes(app, settings, reader, guard)
    _add_health(app, reader, parts)
    return app


def _add_routes(app: FastAPI, settings: Config, reader: Reader, guard: Any) -> None:
    @app.get(
        "/api/system-metrics",
        summary="Verdict, rows and backups of every target",
        response_model=SystemMetrics,
        responses={
            404: {"model": Problem, "description": "No target of this name is in the configuration."},
            **REFUSED,
            **UNREADABLE,
        },
        dependencies=[guard],
    )
    async def system_metrics_of(
        target: Annotated[str | None, Query(description="Whose fields `db` shows, where there are several.")] = None,
    ) -> Response:
        try:
            chosen = _chosen(settings, target)
        except ConfigError as error:
            raise HTTPException(404, str(error)) from error
        return Response((await reader.read()).metrics_of(chosen), 200, NEVER_STORED, "application/json")

    @app.get(
        "/metrics",
        summary="The same for Prometheus",
        response_class=Response,
        responses={200: PLAIN, **REFUSED, **UNREADABLE},
        dependencies=[guard],
    )
    async def metrics() -> Response:
        return Response((await reader.read()).prometheus, 200, NEVER_STORED, CONTENT_TYPE)


def _add_health(app: FastAPI, reader: Reader, parts: Parts) -> None:
    @app.get("/healthz", summary="Can the history be read, and does all run? Needs no token", responses=UNHEALTHY)
    async def healthz() -> Health:
        try:
            await reader.read()
        except HistoryError as error:
            log.warning("%s", error)
            # Whoever has no token learns no path or host.
            raise HTTPException(503, "The history cannot be read; the log of `rollcall serve` says why.") from error
        down = [name for name, part in parts().items() if not part.up]
        if down:
            raise HTTPException(503, f"Does not run: {', '.join(down)}; the log of `rollcall serve` says why.")
        return Health(status="ok")


def _chosen(settings: Config, target: str | None) -> str | None:
    """Which target `db` is: the one named, else the only one. Raise ConfigError for an unknown name."""
    if target is not None:
        settings.target(target)
        return target
    return next(iter(settings.targets)) if len(settings.targets) == 1 else None


@dataclass(frozen=True)
class Snapshot:
    """What the history said at one moment, written down once for all who ask."""

    databases: dict[str | None, bytes]
    targets: bytes
    prometheus: bytes

    def metrics_of(self, chosen: str | None) -> bytes:
        """The JSON document of /api/system-metrics."""
        return b'{"db":' + self.databases[chosen] + b',"targets":' + self.targets + b"}"


class Reader:
    """Reads the history, at most once in `fresh` seconds, however many ask; they all get, or wait for, one answer.

    An answer that is a little older is given while the next one is being read, so that hardly anybody waits; one that
    is `TOO_OLD` times `fresh` seconds old, never.
    """

    def __init__(
        self,
        settings: Config,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        fresh: float = FRESH_SECONDS,
        parts: Parts = no_parts,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._clock = clock
        self._fresh = fresh
        self._read_at = -math.inf
        self._last: Snapshot | HistoryError = HistoryError("The history was not read yet.")
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> Snapshot:
        """What the history says now. Raise HistoryError: an old answer never hides that there is no new one."""
        age = time.monotonic() - self._read_at
        if age >= self._fresh:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._renew())
            if age >= self._fresh * TOO_OLD or isinstance(self._last, HistoryError):
                await asyncio.shield(self._reading)  # Whoever hangs up must not end it for the others.
        if isinstance(self._last, HistoryError):
            raise HistoryError(str(self._last))
        return self._last

    async def _renew(self) -> None:
        self._last = await run_in_threadpool(self._take)
        self._read_at = time.monotonic()

    def _take(self) -> Snapshot | HistoryError:
        """Read and write it all down. A failure is an answer, too: it is not met again and again within the second."""
        settings = self._settings
        try:
            # Opened anew each time: a file that was moved away must not be answered from any longer.
            with open_history(settings.history, BUSY_SECONDS) as history:
                found = standings(history, list(settings.targets), self._clock(), check_limits(settings))
        except HistoryError as error:
            return error
        return Snapshot(*_written(found), metrics_text(settings, found, self._parts()))


def _written(found: dict[str, Standing]) -> tuple[dict[str | None, bytes], bytes]:
    whole = {name: system_metrics({name: each}, name) for name, each in found.items()}
    databases: dict[str | None, bytes] = {name: _json(each["db"]) for name, each in whole.items()}
    targets = {name: each["targets"][name] for name, each in whole.items()}
    return {**databases, None: b"null"}, _json(targets)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def revealed_token(api: Api) -> str | None:
    """The token that callers must send; None where none is asked for. Raise SecretError, ConfigError."""
    if api.token is None:
        return None
    token = reveal(api.token).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("api.token is empty, or holds what no HTTP header can; give it letters, digits and signs.")
    return token


def _guard(token: str | None) -> Callable[..., None]:
    """What stands before a route: nothing without a token, else a comparison in constant time."""

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        said = given.credentials if given else ""
        if token is not None and not secrets.compare_digest(said.encode(), token.encode()):
            sentence = "Send the token of the configuration's api.token, as Authorization: Bearer TOKEN."
            raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})

    return check


async def _history_failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 503)
