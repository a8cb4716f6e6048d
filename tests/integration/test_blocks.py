"""Everything secret, and the engine, by name on a real Prefect server: made by `blocks apply`, used by runs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bed.postgres import PostgresServer
from tests.bed.prefect_server import Prefect
from tests.bed.progress import ROOT, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.s3 import REGION, S3Endpoint
from tests.bed.serving import BIN

pytestmark = pytest.mark.slow

ENGINE = "unix:///var/run/docker.sock"


@dataclass
class Scene:
    """A configuration that holds nothing but names, and the server that knows what they stand for."""

    folder: Path
    server: Prefect
    environment: dict[str, str]

    @property
    def file(self) -> Path:
        return self.folder / "targets.yaml"

    def rollcall(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command line without a terminal."""
        return subprocess.run(
            self.line(*words), capture_output=True, text=True, timeout=300, cwd=ROOT, check=False,
            env=self.environment | environ, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def line(self, *words: str) -> list[str]:
        return [str(BIN / "rollcall"), *words, "--config", str(self.file)]

    def apply(self, *words: str, **environ: str) -> dict[str, str]:
        """`blocks apply`: what became of which block."""
        done = self.rollcall("blocks", "apply", "--json", *words, **environ)
        assert done.returncode == 0, done.stderr
        return {each["name"]: each["change"] for each in json.loads(done.stdout)["blocks"]}

    def typed(self, *words: str, answer: str) -> str:
        """Run it on a terminal and answer the question that it asks; all that the terminal showed."""
        ours, theirs = pty.openpty()
        shown = bytearray()
        with subprocess.Popen(
            self.line(*words), cwd=ROOT, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            os.set_blocking(ours, False)

            def says(text: bytes) -> bool:
                with contextlib.suppress(OSError):
                    shown.extend(os.read(ours, 65536))
                return text in shown

            wait_until(lambda: says(b"Value for the Prefect Secret block"), 120, "the question", shown.decode)
            os.write(ours, answer.encode() + b"\n")
            wait_until(lambda: says(answer.encode()) or process.poll() is not None, 120, "its end", shown.decode)
        says(b"")
        os.close(ours)
        assert process.returncode == 0, shown.decode()
        return shown.decode()


@pytest.fixture
def scene(
    prefect_server: Prefect,
    postgres17: PostgresServer,
    s3_server: S3Endpoint,
    s3_bucket: str,
    http_recorder: HttpRecorder,
    tmp_path: Path,
) -> Scene:
    name = tmp_path.name.replace("_", "-")[:20]
    document: dict[str, Any] = {
        "docker": {"block": f"{name}-engine"},
        "storages": {
            "offsite": {
                "type": "s3", "bucket": s3_bucket, "endpoint_url": s3_server.endpoint_url, "region": REGION,
                "access_key_id": {"block": f"{name}-key"}, "secret_access_key": {"block": f"{name}-secret"},
            }
        },
        "notify": [{"url": {"block": f"{name}-hook"}}],
        "targets": {
            "blocks": {
                "container": postgres17.container, "volume": postgres17.volume, "database": postgres17.database,
                "user": postgres17.user, "password": {"block": f"{name}-password"}, "storages": ["offsite"],
                "tables": {"nowhere": {"min": 1}},
            }
        },
    }  # fmt: skip
    made = Scene(tmp_path, prefect_server, prefect_server.environment)
    made.environment |= {
        "A_KEY": s3_server.access_key, "A_SECRET": s3_server.secret_key, "A_HOOK": http_recorder.apprise_url,
        "A_PASSWORD": postgres17.password, "NAME": name,
    }  # fmt: skip
    made.file.write_text(json.dumps(document, indent=1))
    return made


def test_a_configuration_of_names_alone_backs_up_once_its_blocks_are_made(
    scene: Scene, postgres17: PostgresServer, http_recorder: HttpRecorder
) -> None:
    name = scene.environment["NAME"]
    lacking = scene.rollcall("verify", "blocks")
    assert lacking.returncode == 1
    assert (
        f"no Prefect DockerHost block '{name}-engine'; make it: rollcall blocks apply --docker-host" in lacking.stderr
    )

    said = [f"--secret={name}-key=A_KEY", f"--secret={name}-secret=A_SECRET", f"--secret={name}-hook=A_HOOK"]
    host = f"--docker-host={name}-engine={ENGINE}"
    alone = scene.rollcall("blocks", "apply", *said, host)
    assert alone.returncode == 1
    assert f"--secret {name}-password=VARIABLE" in alone.stderr
    shown = scene.typed("blocks", "apply", *said, host, answer=postgres17.password)
    assert postgres17.password not in shown, "a password is not echoed"
    assert f"secret/{name}-password: made" in shown
    assert set(scene.apply().values()) == {"keep", "update"}, "the notification's own block is written each time"

    done = scene.rollcall("backup", "blocks", "--json")

    assert done.returncode in {0, 2}, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest["quarantined"], "the floor of a table that is not there"
    assert {each["storage"] for each in manifest["objects"]} == {"offsite"}
    assert http_recorder.messages, "the alert was delivered through the block"
    kept = (scene.server.home / "prefect.db").read_bytes()
    for secret in (postgres17.password, scene.environment["A_SECRET"], http_recorder.apprise_url):
        assert secret not in done.stdout + done.stderr
        assert secret.encode() not in kept, "Prefect keeps Secret blocks encrypted, and nothing else has it"


def test_a_password_is_changed_by_giving_it_again(scene: Scene) -> None:
    name = scene.environment["NAME"]
    known = [f"--secret={name}-{each.lower()}=A_{each}" for each in ("KEY", "SECRET", "HOOK", "PASSWORD")]
    made = scene.apply(*known, f"--docker-host={name}-engine={ENGINE}")
    assert made[f"secret/{name}-password"] == "create"

    changed = scene.apply(f"--secret={name}-password=ANOTHER", ANOTHER="not-the-word")
    assert changed[f"secret/{name}-password"] == "update"
    assert changed[f"secret/{name}-key"] == "keep"
    wrong = scene.rollcall("verify", "blocks", "--json")
    assert "is wrong, or there is no such role" in wrong.stdout
    assert "not-the-word" not in wrong.stdout + wrong.stderr

    shown = scene.typed("blocks", "apply", f"--replace={name}-password", answer=scene.environment["A_PASSWORD"])
    assert f"secret/{name}-password: changed" in shown
    assert json.loads(scene.rollcall("verify", "blocks", "--json").stdout)["identity"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--secret=other=A_KEY", "the configuration uses no such block; it uses: "),
        ("--secret=nothing", "it takes NAME=VALUE"),
        ("--secret={name}-key=NOT_SET", "The environment variable NOT_SET is not set"),
        ("--docker-host={name}-engine=http://x", "begins with none of unix://, tcp:// and ssh://"),
        ("--replace=other", "the configuration uses no such block"),
    ],
)
def test_what_cannot_be_meant_is_refused(scene: Scene, option: str, words: str) -> None:
    done = scene.rollcall("blocks", "apply", option.format(name=scene.environment["NAME"]))

    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_changed_where_something_is_wrong(scene: Scene) -> None:
    name = scene.environment["NAME"]
    document = json.loads(scene.file.read_text())
    document["notify"].append({"url": {"env": "NOT_SET"}})
    scene.file.write_text(json.dumps(document))
    given = [f"--secret={name}-{each.lower()}=A_{each}" for each in ("KEY", "SECRET", "HOOK", "PASSWORD")]

    done = scene.rollcall("blocks", "apply", *given, f"--docker-host={name}-engine={ENGINE}")

    assert (done.returncode, done.stdout) == (1, "")
    assert "The environment variable NOT_SET is not set" in done.stderr
    there = {each["name"] for each in scene.server.ask("block_documents/filter", limit=200)}
    assert not {each for each in there if each and each.startswith(name)}
