"""The command line from outside: exit codes, one sentence for what cannot be, one JSON document for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
storages:
  local: {type: local, path: ./backups}
targets:
  shop: {container: pg, volume: data, database: shop, storages: [local]}
"""
COMMANDS = ("backup", "verify", "backups", "history", "accept", "doctor")


def rollcall(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder`, in an environment that names no configuration and no Prefect."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROLLCALL_"))}
    env |= {"PREFECT_HOME": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "deployments", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=env,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    (tmp_path / "broken.yaml").write_text("targets: 1\n")
    return tmp_path


GIVEN = ("--config", "targets.yaml")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["back"], "No such command 'back'. See: rollcall --help"),
        (["backup"], "Missing argument 'TARGET'. See: rollcall --help"),
        (["backup", "shop", "--fast"], "No such option: --fast. See: rollcall --help"),
        (["backup", "shop", "--config"], "Option '--config' requires an argument. See: rollcall --help"),
        (
            ["history", "shop", *GIVEN, "--days", "0"],
            "Invalid value for '--days': 0 is not in the range x>=1. See: rollcall --help",
        ),
        (["accept", "shop", *GIVEN], "Missing option '--reason'. See: rollcall --help"),
        (
            ["accept", "shop", *GIVEN, "--reason", " "],
            "--reason is empty; say why the present state is right, for whoever reads the history.",
        ),
        (["history", "shop", *GIVEN, "--chart", "x.pdf"], "--chart x.pdf: the name must end in .png or .svg."),
        *(
            ([command, "shoop", *GIVEN], "There is no target 'shoop' in the configuration; it has: shop.")
            for command in ("backup", "verify", "backups", "history")
        ),
        (
            ["verify", "shop"],
            "There is no configuration at {folder}/deployments/targets.yaml. Name one with --config or "
            "ROLLCALL_CONFIG, or copy deployments/targets.example.yaml there.",
        ),
        (["doctor", "--config", "broken.yaml"], "{folder}/broken.yaml, line 1: the key storages is missing."),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_exit_1(arguments: list[str], sentence: str, folder: Path) -> None:
    done = rollcall(*arguments, folder=folder)

    assert done.returncode == 1
    assert done.stderr == f"rollcall: {sentence.format(folder=folder)}\n"
    assert done.stdout == ""


def test_without_a_command_the_help_names_them_all(folder: Path) -> None:
    done = rollcall(folder=folder)

    assert done.returncode == 0
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, folder: Path) -> None:
    done = rollcall(command, "--help", folder=folder)

    assert done.returncode == 0
    assert "--config" in done.stdout and "--json" in done.stdout


@pytest.mark.parametrize(
    ("command", "nothing"), [("backups", {"backups": [], "damaged": [], "unreachable": {}}), ("history", [])]
)
def test_json_is_one_document_and_nothing_else_on_stdout(command: str, nothing: object, folder: Path) -> None:
    done = rollcall(command, "shop", *GIVEN, "--json", folder=folder)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == nothing


@pytest.mark.parametrize("command", ["backups", "history"])
def test_where_there_is_nothing_yet_the_next_step_is_named(command: str, folder: Path) -> None:
    done = rollcall(command, "shop", *GIVEN, folder=folder)

    assert done.returncode == 0, done.stderr
    assert "rollcall " in done.stdout and "shop" in done.stdout


def test_a_target_whose_container_is_not_there_is_critical_in_json_too(folder: Path) -> None:
    text = CONFIG.replace("container: pg", "container: no-such-container-anywhere")
    (folder / "targets.yaml").write_text(text)

    done = rollcall("verify", "shop", *GIVEN, "--json", folder=folder)

    assert done.returncode == 2, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "critical"
    assert "container.missing" in {finding["code"] for finding in result["findings"]}
