"""The command line from outside: exit codes, one sentence for what cannot be, one JSON document for programs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments import app, cli
from deployments.cli import main
from tests.bed.ports import free_port

ROOT = Path(__file__).parents[2]
CONFIG = """\
storages:
  local: {type: local, path: ./backups}
targets:
  shop: {container: pg, volume: data, database: shop, storages: [local]}
"""
COMMANDS = ("backup", "verify", "backups", "history", "accept", "doctor", "down")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Rollcall = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    (tmp_path / "broken.yaml").write_text("targets: 1\n")
    (tmp_path / "backups").mkdir()
    return tmp_path


@pytest.fixture
def rollcall(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Rollcall]:
    """Runs a command line in `folder`, in an environment that names no configuration and no Prefect."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "ROLLCALL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    yield run
    logging.getLogger("rollcall").setLevel(logging.NOTSET)


GIVEN = ("--config", "targets.yaml")


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["back"], "No such command 'back'."),
        (["backup"], "Missing argument 'target'."),
        (["backup", "shop", "--fast"], "No such option: --fast"),
        (["backup", "shop", "--config"], "Option '--config' requires an argument."),
        (["history", "shop", *GIVEN, "--days", "0"], "Invalid value for '--days':"),
        (["history", "shop", *GIVEN, "--days", "999999999"], "Invalid value for '--days':"),
        (["accept", "shop", *GIVEN], "Missing option '--reason'."),
    ],
)
def test_a_misused_command_is_one_line_on_stderr_and_exit_1(
    arguments: list[str], beginning: str, rollcall: Rollcall
) -> None:
    done = rollcall(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    # The words are Typer's, and their case has changed between its releases.
    assert done.stderr.lower().startswith(f"rollcall: {beginning}".lower())
    assert done.stderr.endswith(" See: rollcall --help\n") and done.stderr.count("\n") == 1
    assert "?." not in done.stderr and ".." not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
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
        (["down", "nowhere", *GIVEN], "There is no folder {folder}/nowhere; name the one that holds the compose file."),
        (
            ["down", ".", *GIVEN],
            "{folder} holds no compose file (compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml); name "
            "it with --file.",
        ),
        (["down", ".", *GIVEN, "--file", "x.yml"], "There is no compose file {folder}/x.yml."),
        (["doctor", "--config", "broken.yaml"], "{folder}/broken.yaml, line 1: the key storages is missing."),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_exit_1(
    arguments: list[str], sentence: str, folder: Path, rollcall: Rollcall
) -> None:
    done = rollcall(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"rollcall: {sentence.format(folder=folder)}\n"


def test_without_a_command_the_help_names_them_all(rollcall: Rollcall) -> None:
    done = rollcall()

    assert done.returncode == 0
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "watch"])
def test_every_command_explains_itself(command: str, rollcall: Rollcall) -> None:
    done = rollcall(command, "--help")

    assert done.returncode == 0
    assert "--config" in done.stdout and "--json" in done.stdout
    # The watcher has no end at which it could print its only document.
    assert ("one JSON document on stdout" in done.stdout) is (command != "watch")
    assert ("a JSON document a line" in done.stdout) is (command == "watch")


@pytest.mark.parametrize(
    ("command", "nothing"), [("backups", {"backups": [], "damaged": [], "unreachable": {}}), ("history", [])]
)
def test_json_is_one_document_and_nothing_else_on_stdout(command: str, nothing: object, rollcall: Rollcall) -> None:
    done = rollcall(command, "shop", *GIVEN, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == nothing


@pytest.mark.parametrize("command", ["backups", "history"])
def test_where_there_is_nothing_yet_the_next_step_is_named(command: str, rollcall: Rollcall) -> None:
    done = rollcall(command, "shop", *GIVEN)

    assert done.returncode == 0, done.stderr
    assert "rollcall " in done.stdout and "shop" in done.stdout


@pytest.mark.usefixtures("engine")
def test_a_target_whose_container_is_not_there_is_critical_in_json_too(folder: Path, rollcall: Rollcall) -> None:
    text = CONFIG.replace("container: pg", "container: no-such-container-anywhere")
    (folder / "targets.yaml").write_text(text)

    done = rollcall("verify", "shop", *GIVEN, "--json")

    assert done.returncode == 2, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "critical"
    assert "container.missing" in {finding["code"] for finding in result["findings"]}


def test_the_program_itself_ends_with_the_same_sentence_and_code(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployments", "verify", "shoop", *GIVEN],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rollcall: There is no target 'shoop' in the configuration; it has: shop.\n"


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("command", "code", "unbuffered", "both"),
    [
        ("verify shop", 2, "", False),
        ("verify shop --json", 2, "1", True),
        ("backups shop", 0, "1", False),
        ("history shop --json", 0, "", True),
        ("backup shop", 1, "", True),
        ("--help", 0, "", False),
    ],
)
def test_a_reader_who_went_away_changes_no_exit_code(
    folder: Path, unread: int, command: str, code: int, unbuffered: str, both: bool
) -> None:
    """As in `rollcall verify shop | head -1`, and with `2>&1` before the bar."""
    text = CONFIG.replace("container: pg", "container: no-such-container-anywhere")
    (folder / "targets.yaml").write_text(text)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROLLCALL_"))}
    own = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder), "ROLLCALL_CONFIG": str(folder / "targets.yaml")}

    done = subprocess.run(
        [sys.executable, "-m", "deployments", *command.split()],
        stdout=unread,
        stderr=unread if both else subprocess.PIPE,
        text=True,
        timeout=120,
        cwd=folder,
        env=known | own | {"PYTHONUNBUFFERED": unbuffered},
        check=False,
    )

    assert done.returncode == code, done.stderr
    assert "Traceback" not in (done.stderr or "") and "Exception ignored" not in (done.stderr or "")


def test_an_error_that_nothing_translated_is_a_sentence_without_its_text(
    rollcall: Rollcall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_config: str | None) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(app, "load", broken)

    done = rollcall("backups", "shop")

    expected = "rollcall: KeyError: this is a defect; run again with ROLLCALL_DEBUG=1 to see where.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)

    monkeypatch.setenv("ROLLCALL_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["rollcall", "backups", "shop"])
    with pytest.raises(KeyError, match="hunter2"):
        main()


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 424242)

    assert app.who() == "uid 424242"


def test_doctor_diagnoses_everything_where_the_engine_and_a_secret_are_missing(
    folder: Path, rollcall: Rollcall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://x")  # the library leaks the socket of one that is well-formed
    monkeypatch.setenv("NOTIFY", "nonsense with hunter2")
    far = "  far: {type: s3, bucket: b, access_key_id: {env: UNSET_A}, secret_access_key: {env: UNSET_B}}\n"
    notify = "notify:\n- {url: {env: NOTIFY}}\n- {block: slack-webhook/oncall}\n"
    notify += f"api: {{port: {free_port()}}}\n"
    text = CONFIG.replace("targets:", f"{far}targets:").replace("[local]", "[far, local]") + notify
    (folder / "targets.yaml").write_text(text)

    done = rollcall("doctor", *GIVEN, "--json")

    assert done.returncode == 2, done.stderr
    well = {each["subject"]: each["well"] for each in json.loads(done.stdout)}
    assert well == {
        "engine": False,
        "history": True,
        "notify[0]": False,
        "notify[1]": False,
        "shop: storage far": False,
        "shop: storage local": True,
        "shop: volume": False,
        "shop: database": False,
        "status API": True,
        "shop: schedules": False,
    }
    assert "hunter2" not in done.stdout + done.stderr


def test_no_command_waits_for_what_only_others_need() -> None:
    """Each costs a check from cron up to two seconds of imports."""
    heavy = ("prefect", "fastapi", "prometheus_client", "httpx", "pandas", "matplotlib", "boto3", "apprise")
    program = f"import sys, deployments.cli, flows.verify; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_status_api_loads_nothing_to_ask_a_target_with() -> None:
    """It answers from the history alone, also where no engine, database or storage does."""
    asking = ("docker", "psycopg", "boto3", "prefect", "flows", "tasks.containers", "tasks.databases", "tasks.storage")
    program = f"import sys, deployments.status_server; print([name for name in {asking} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


STOPPED_AT_ONCE = """
import sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "deployments.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from deployments.__main__ import main
main()
"""


def test_ctrl_c_while_it_still_loads_is_one_sentence() -> None:
    ran = subprocess.run([sys.executable, "-c", STOPPED_AT_ONCE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, "rollcall: Stopped by hand, before anything began.\n")


@pytest.mark.parametrize(
    ("logger", "shown"),
    [("prefect.flow_runs", False), ("prefect.task_runs", False), ("prefect.runner", True), ("rollcall", True)],
)
def test_what_prefect_says_of_a_run_is_not_for_the_terminal(logger: str, shown: bool) -> None:
    record = logging.LogRecord(logger, logging.ERROR, __file__, 1, "Encountered exception", None, None)
    assert cli._is_no_run_of_prefect(record) is shown
