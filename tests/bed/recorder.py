"""A web hook to send notifications to: keeps what it gets, and can fail or hang like a real one."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.bed.progress import wait_until

OK = 200


@dataclass
class HttpRecorder:
    """Answers POSTs on a loopback port. `messages` are their bodies in order of arrival, refused ones too; `arrived` is
    when (time.time()) each of them came, `paths` where it was sent."""

    messages: list[Any] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = OK
    _flowing: threading.Event = field(default_factory=threading.Event)
    _server: "_Server" = field(init=False)

    def start(self) -> None:
        """Listen on a free port."""
        self._flowing.set()
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Let stalled requests go and stop listening."""
        self.resume()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The plain address."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def apprise_url(self) -> str:
        """The address as Apprise wants it."""
        return f"json://127.0.0.1:{self._server.server_port}/"

    def answer_with(self, status: int) -> None:
        """Answer what comes from now on with this status, for example 500."""
        self.status = status

    def stall(self) -> None:
        """Accept requests, record them and answer none until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Answer again, those that wait too."""
        self._flowing.set()

    def wait_for(self, count: int, seconds: float = 60) -> list[Any]:
        """Return the messages once there are `count`. Raise BedError if that takes longer."""
        wait_until(lambda: len(self.messages) >= count, seconds, f"message {count}", lambda: f"{self.messages}")
        return list(self.messages)

    def take(self, body: bytes) -> int:
        """Record one body, wait while stalled, return the status to answer with."""
        self.arrived.append(time.time())
        try:
            self.messages.append(json.loads(body))
        except ValueError:
            self.messages.append(body.decode(errors="replace"))
        self._flowing.wait()
        return self.status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, recorder: HttpRecorder) -> None:
        self.recorder = recorder
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders that give up are part of the tests, so no traceback is printed."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.recorder.paths.append(self.path)
        self.send_response(self.server.recorder.take(body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
