"""The way to an engine with Docker's real programs: it leads to the one that was asked for, and stays right."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest

from tasks.config import Config
from tasks.containers.engine import OWN_SOCKET, compose_environment
from tasks.containers.engine import engine as engine_at
from tasks.errors import ConfigError, EngineUnreachable
from tasks.leaving.look import only_this_engine
from tasks.sections import Docker

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


def configured(top: str | None, **targets: str | None) -> Config:
    """A target for each name, on the engine at that URL; None: that of the environment."""

    def with_engine(url: str | None, section: dict[str, Any]) -> dict[str, Any]:
        return section if url is None else section | {"docker": {"host": url}}

    rules = {"container": "c", "volume": "v", "database": "d", "storages": ["s"]}
    sections = {name: with_engine(url, rules) for name, url in targets.items()}
    storages = {"s": {"type": "local", "path": "/s"}}
    return Config.model_validate(with_engine(top, {"storages": storages, "targets": sections}))


def test_a_target_whose_engine_is_written_otherwise_is_on_the_same_one(
    engine: docker.DockerClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").symlink_to("/var/run")
    url, off = f"unix://{tmp_path}/run/docker.sock", "tcp://127.0.0.1:1"

    here = only_this_engine(configured(None, plain=None, otherwise=url, off=off))

    assert list(here.targets) == ["plain", "otherwise"]
    assert here.docker is None
    assert f"at {off} is not reached" in caplog.text
    assert list(only_this_engine(configured(url, otherwise=OWN_SOCKET)).targets) == ["otherwise"]
    with pytest.raises(ConfigError, match="No target is on the Docker engine of the environment"):
        only_this_engine(configured(None, off=off))


def test_an_engine_of_another_version_is_asked_for_its_version_again(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"  # to this very machine, without a server for it
    ssh.write_text(f"#!/bin/sh\n[ $1 = -G ] || exec docker --host {OWN_SOCKET} system dial-stdio\n")
    ssh.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    there = Docker(host="ssh://another-version")
    with engine_at(there) as client:
        client.api._version = "1.99"  # as of an engine that was newer

    with (
        pytest.raises(EngineUnreachable, match="at ssh://another-version is of another version") as found,
        engine_at(there) as client,
    ):
        client.info()

    assert found.value.transient
    with engine_at(there) as client:
        assert client.info()["ID"] == engine.info()["ID"]
