"""The way to an engine with Docker's real programs: it leads to the one that was asked for, and stays right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker
import pytest

from tasks.containers.engine import compose_environment

WHICH = ["docker", "info", "--format", "{{.ID}}"]


def test_a_context_in_use_leads_dockers_programs_nowhere_else(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    made = ["docker", "context", "create", "other", "--docker", f"host=unix://{tmp_path}/none.sock"]
    subprocess.run(made, check=True, capture_output=True)
    subprocess.run(["docker", "context", "use", "other"], check=True, capture_output=True)
    alone = subprocess.run(WHICH, check=False, capture_output=True, text=True)
    assert "none.sock" in alone.stderr + alone.stdout

    led = subprocess.run(WHICH, check=True, capture_output=True, text=True, env=compose_environment(None))

    assert led.stdout.strip() == engine.info()["ID"]
