"""The servers around the database: Prefect, S3, and whoever gets the alerts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any

from deployments.demo.scene import FOLDER, HERE, ROOT, Scene, free_port, wait_until
from deployments.demo.voice import DemoError

PREFECT_SECONDS = 300.0
S3_SECONDS = 240.0
STOP_SECONDS = 15.0
PROCESSES = FOLDER / "processes.json"


class Servers:
    """Processes of the demo's own, each in its own group; their numbers are kept so that a killed demo's are found."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._children: list[subprocess.Popen[bytes]] = []
        self._prefect: subprocess.Popen[bytes] | None = None
        self._s3: subprocess.Popen[bytes] | None = None
        self.ui = ""

    def begin(self) -> None:
        """Start Prefect and S3 beside each other and beside the caller: together they take twenty seconds."""
        self._begin_prefect()
        if not os.environ.get("ROLLCALL_DEMO_S3_ENDPOINT"):
            self._begin_s3()

    def ready(self) -> None:
        """Wait for both, write the configuration that names them. Raise DemoError if one does not come."""
        wait_until(self._prefect_answers, PREFECT_SECONDS, "The Prefect server's first answer")
        where = self._own_s3() if self._s3 else _given_s3()
        text = Template((HERE / "targets.yaml").read_text()).substitute(where)
        (FOLDER / "targets.yaml").write_text(text)

    def stop(self) -> None:
        """End them, politely, then not."""
        _end([child.pid for child in self._children], lambda: [child.poll() for child in self._children])
        PROCESSES.unlink(missing_ok=True)

    def api(self, path: str, body: dict[str, Any]) -> Any:
        """Ask Prefect's API and return its JSON."""
        request = urllib.request.Request(  # noqa: S310 - an address of our own
            f"{self.ui}/api/{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def _begin_prefect(self) -> None:
        port = free_port()
        self.ui = f"http://127.0.0.1:{port}"
        self._scene.environment |= {
            "PREFECT_HOME": str(FOLDER / "prefect"),
            "PREFECT_API_URL": f"{self.ui}/api",
            "PREFECT_SERVER_UI_API_URL": f"{self.ui}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
        }
        program = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self._prefect = self._start(program, "prefect")

    def _begin_s3(self) -> None:
        program = [sys.executable, "-m", "tests.bed", "s3", "--dir", str(FOLDER / "s3"), "--port", str(free_port())]
        self._s3 = self._start(program, "s3")

    def _start(self, program: list[str], name: str) -> subprocess.Popen[bytes]:
        logs = FOLDER / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open("wb") as errors, (FOLDER / f"{name}.out").open("wb") as output:
            child = subprocess.Popen(
                program, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=ROOT,
                env=self._scene.environment, start_new_session=True,
            )  # fmt: skip
        self._children.append(child)
        known = {str(each.pid): list(map(str, each.args)) for each in self._children}  # type: ignore[arg-type]
        PROCESSES.write_text(json.dumps(known))
        return child

    def _prefect_answers(self) -> bool:
        _still_runs(self._prefect, "Prefect server", "prefect")
        with suppress(OSError), urllib.request.urlopen(f"{self.ui}/api/health", timeout=2):  # noqa: S310
            return True
        return False

    def _own_s3(self) -> dict[str, str]:
        wait_until(self._s3_answers, S3_SECONDS, "The S3 server's first answer")
        found = json.loads((FOLDER / "s3.out").read_text())
        self._scene.environment |= {"S3_KEY": found["access_key"], "S3_SECRET": found["secret_key"]}
        self._make_bucket(found["endpoint_url"])
        return {"S3_ENDPOINT": found["endpoint_url"], "S3_BUCKET": "knowledge-backups", "S3_PREFIX": "prod"}

    def _s3_answers(self) -> bool:
        _still_runs(self._s3, "S3 server", "s3")
        return (FOLDER / "s3.out").read_text().endswith("\n")

    def _make_bucket(self, endpoint: str) -> None:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=self._scene.environment["S3_KEY"],
            aws_secret_access_key=self._scene.environment["S3_SECRET"],
        )
        client.create_bucket(Bucket="knowledge-backups")
        client.close()


def _given_s3() -> dict[str, str]:
    """The S3 server that the environment names, with a bucket that is there and keys in S3_KEY and S3_SECRET."""
    missing = [name for name in ("ROLLCALL_DEMO_S3_BUCKET", "S3_KEY", "S3_SECRET") if not os.environ.get(name)]
    if missing:
        raise DemoError(f"With ROLLCALL_DEMO_S3_ENDPOINT set, {' and '.join(missing)} must be set too.")
    # A prefix of its own for each run: what it stores stays in the bucket, for the demo deletes nothing it cannot own.
    return {
        "S3_ENDPOINT": os.environ["ROLLCALL_DEMO_S3_ENDPOINT"],
        "S3_BUCKET": os.environ["ROLLCALL_DEMO_S3_BUCKET"],
        "S3_PREFIX": f"rollcall-demo-{int(time.time())}",
    }


def _still_runs(child: subprocess.Popen[bytes] | None, what: str, name: str) -> None:
    if child is not None and child.poll() is not None:
        raise DemoError(f"The {what} ended with {child.returncode}; see {FOLDER.name}/logs/{name}.log.")


def stop_forgotten() -> None:
    """End servers that an earlier demo left, on purpose or because it was killed."""
    try:
        known: dict[str, list[str]] = json.loads(PROCESSES.read_text())
    except (OSError, ValueError):
        return
    _end([int(pid) for pid, words in known.items() if _runs(int(pid), words)], list)
    PROCESSES.unlink(missing_ok=True)


def _runs(pid: int, words: list[str]) -> bool:
    """Whether process `pid` still is that program with that port: numbers are given out again."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        question = ["ps", "-p", str(pid), "-o", "command="]
        with suppress(FileNotFoundError):
            line = subprocess.run(question, capture_output=True, text=True, check=False).stdout
            return " ".join(words[1:]) in line
        return False
    return " ".join(words[1:]) in line


def _end(pids: list[int], reap: Any) -> None:
    """SIGTERM to each group, SIGKILL to what is left of it after STOP_SECONDS. `reap` collects children of ours."""
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while any(_signal(pid, 0) for pid in pids) and time.monotonic() < deadline:
        reap()
        time.sleep(0.1)
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    reap()


def _signal(group: int, number: int) -> bool:
    """Send to a process group; False if nobody of it is left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Phone:
    """Who gets the alerts: a small HTTP server that keeps what Apprise's json:// delivers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The Apprise URL that reaches it."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/alerts"

    def stop(self) -> None:
        """Take no more messages."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0)))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent."""

        return Handler
