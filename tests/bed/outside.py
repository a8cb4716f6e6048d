"""A watcher outside that behaves as healthchecks.io does: waits to be called, and knows when a call is late."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Signal = Literal["start", "success", "fail"]
State = Literal["new", "up", "late", "down"]
SUFFIXES: dict[str, Signal] = {"start": "start", "fail": "fail"}


@dataclass(frozen=True)
class Call:
    """One call, and when it came (seconds, of any clock that only goes on)."""

    at: float
    signal: Signal


def state_of(calls: Sequence[Call], period: float, grace: float, now: float) -> State:
    """What healthchecks.io says of a check that expects a success every `period` seconds (pure).

    new: never called. up: in time. late: the period is over, the grace time is not. down: that is over, too; or the
    last word was a failure; or a run began, and neither end of it came within the grace time.
    """
    past = [each for each in calls if each.at <= now]
    ends = [each for each in past if each.signal != "start"]
    begun = [each for each in past if each.signal == "start" and (not ends or each.at > ends[-1].at)]
    if begun and now - begun[-1].at > grace:
        return "down"
    if not ends:
        return "new"
    if ends[-1].signal == "fail":
        return "down"
    silent = now - ends[-1].at
    return "up" if silent <= period else "late" if silent <= period + grace else "down"


@dataclass
class WatcherOutside:
    """A server with one check on a loopback port. period, grace: seconds."""

    period: float
    grace: float
    calls: list[Call] = field(default_factory=list)
    _server: _Server = field(init=False)

    def __enter__(self) -> WatcherOutside:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What a run calls."""
        return f"http://127.0.0.1:{self._server.server_port}/ping/5f0c"

    @property
    def state(self) -> State:
        """What it says now."""
        return state_of(list(self.calls), self.period, self.grace, time.monotonic())

    def count(self, signal: Signal) -> int:
        """How many such calls came."""
        return sum(each.signal == signal for each in list(self.calls))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, watcher: WatcherOutside) -> None:
        self.watcher = watcher
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        signal = SUFFIXES.get(self.path.rpartition("/")[2], "success")
        self.server.watcher.calls.append(Call(time.monotonic(), signal))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
