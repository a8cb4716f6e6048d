"""A Prefect server that wants a key, and an address that is not its API: each is one sentence, at every command."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from tests.bed.serving import BIN, clean_environment


class LikePrefect(BaseHTTPRequestHandler):
    """As Prefect's server with an auth string: the API says that it is well, and wants the key for all else; beside it
    the UI has a page for every path."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/api/health":
            self._answer(200, b"true")
        elif self.path.startswith("/api/"):
            self._answer(401, b'{"exception_message":"Unauthorized"}')
        else:
            self._answer(200, b"<!doctype html><title>Prefect Server</title>")

    do_POST = do_GET  # noqa: N815 - as the standard library calls it

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class RefusesOne(LikePrefect):
    """As Prefect's server that takes everything but a deployment of `drill`."""

    refusal: ClassVar[tuple[int, bytes]] = (403, b'{"detail": "Your plan has 2 deployments at most."}')
    flows: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        """Answer."""
        pool = {"name": "rollcall", "type": "process", "id": str(uuid.uuid4()), "default_queue_id": str(uuid.uuid4())}
        found = {"/api/health": b"true", "/api/work_pools/rollcall": json.dumps(pool).encode()}.get(self.path)
        self._answer(200 if found else 404, found or b"{}")

    def do_POST(self) -> None:
        """Answer."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        made = str(uuid.uuid4())
        if self.path.endswith("/filter"):
            self._answer(200, b"[]")
        elif self.path == "/api/work_pools/":
            self._answer(409, b"{}")  # It is there.
        elif self.path == "/api/flows/":
            self.flows[made] = asked["name"]
            self._answer(201, json.dumps({"id": made}).encode())
        elif self.flows[asked["flow_id"]] == "drill":
            self._answer(*self.refusal)
        else:
            self._answer(201, json.dumps({"id": made}).encode())

    def do_DELETE(self) -> None:
        """Answer."""
        self._answer(204, b"")


@contextmanager
def answering(like: type[LikePrefect]) -> Iterator[str]:
    """The address of a server of this kind."""
    with ThreadingHTTPServer(("127.0.0.1", 0), like) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def address() -> Iterator[str]:
    with answering(LikePrefect) as at:
        yield at


def said(folder: Path, api: str, *command: str) -> str:
    """What the command, which fails, says in its one line."""
    file = folder / "targets.yaml"
    file.write_text(
        "storages: {local: {type: local, path: b}}\n"
        "notify: [{url: {env: HOOK}}]\n"
        "targets: {shop: {container: c, volume: v, database: d, storages: [local]}}\n"
    )
    environment = clean_environment() | {"PREFECT_HOME": str(folder), "PREFECT_API_URL": api, "HOOK": "json://h/"}
    done = subprocess.run(
        [BIN / "rollcall", *command, "--config", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("command", [("deploy",), ("blocks", "apply")], ids=" ".join)
def test_a_server_that_wants_a_key_is_told_with_the_variables_for_it(
    address: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    words = said(tmp_path, f"{address}/api", *command)
    assert " with 401; check PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING" in words


def test_an_address_that_is_not_the_apis_is_told(address: str, tmp_path: Path) -> None:
    words = said(tmp_path, address, "automations", "apply")
    assert words.startswith(f"rollcall: What answers at {address} is no Prefect API (does the address end in /api?)")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            (403, b'{"detail": "Your plan has 2 deployments at most."}'),
            "rollcall: Prefect refuses the deployment drill/shop (403): Your plan has 2 deployments at most. Mend that",
        ),
        (
            (422, b'{"exception_message": "Invalid request", "exception_detail": [{"loc": ["x"], "msg": "Too long"}]}'),
            "rollcall: Prefect refuses the deployment drill/shop (422): Too long. Mend that, or",
        ),
        ((401, b'{"detail": "Unauthorized"}'), "answered /api/deployments/ with 401; check PREFECT_API_KEY"),
        ((500, b'{"exception_message": "Internal Server Error"}'), "answered /api/deployments/ with 500; its log"),
        ((422, b"<html>a proxy's page</html>"), "gave an answer that is none of Prefect's"),
    ],
    ids=["refused", "invalid", "no key", "fails", "page"],
)
def test_one_deployment_that_is_refused_is_told_with_its_name_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, bytes], words: str
) -> None:
    monkeypatch.setattr(RefusesOne, "refusal", refusal)
    with answering(RefusesOne) as at:
        assert words in said(tmp_path, f"{at}/api", "deploy")
