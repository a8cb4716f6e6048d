"""One backup as a whole process, measured from outside: seconds, peak memory, and what its manifest says."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.postgres import PostgresServer
from tests.bed.progress import ROOT
from tests.bed.s3 import REGION, S3Endpoint

NAME = "measured"
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """seconds: from start to end of the process. peak: bytes of memory at its largest (VmHWM)."""

    seconds: float
    peak: int
    manifest: dict[str, Any]

    @property
    def stored(self) -> int:
        """Bytes of the dump in one storage."""
        return next(int(each["bytes"]) for each in self.manifest["objects"] if each["role"] == "dump")

    @property
    def raw(self) -> int:
        """Bytes of the dump before compression."""
        return next(int(each["raw_bytes"]) for each in self.manifest["objects"] if each["role"] == "dump")


def configure(folder: Path, server: PostgresServer, s3: S3Endpoint | None = None, **rules: Any) -> Path:
    """Write a configuration for `server` into `folder`, with a local storage, or with S3 alone; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "password").write_text(server.password)
    storage: dict[str, Any] = {"type": "local", "path": "backups"}
    if s3:
        (folder / "access").write_text(s3.access_key)
        (folder / "secret").write_text(s3.secret_key)
        storage = {
            "type": "s3",
            "bucket": "measured",
            "endpoint_url": s3.endpoint_url,
            "region": REGION,
            "access_key_id": {"file": "access"},
            "secret_access_key": {"file": "secret"},
        }
    target = {
        "container": server.container,
        "volume": server.volume,
        "database": server.database,
        "user": server.user,
        "password": {"file": "password"},
        "storages": ["there"],
        "databases": [],
        "retention": {"last": 1, "daily": 0, "weekly": 0, "monthly": 0},
    }
    path = folder / "targets.yaml"
    path.write_text(json.dumps({"storages": {"there": storage}, "targets": {NAME: target | rules}}))
    return path


def backup(config: Path) -> Run:
    """Run `rollcall backup`. Raise RuntimeError with its last words if it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    started, peak = time.monotonic(), 0
    with (config.parent / "log").open("w+") as log, (config.parent / "out").open("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments", "backup", NAME, "--config", str(config), "--json"],
            cwd=ROOT,
            env=env | {"PREFECT_HOME": str(config.parent)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
        )
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - started
        log.seek(0)
        out.seek(0)
        if process.returncode:
            raise RuntimeError(f"The backup ended with {process.returncode}: {log.read()[-2000:]}")
        return Run(seconds, peak, json.load(out))


def _high_water(pid: int) -> int:
    """Bytes; 0 for a process that is ending. The kernel keeps the maximum, so looking now and then misses nothing
    but the last moment. (What wait4 says would count the parent's memory as the child's own.)"""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
