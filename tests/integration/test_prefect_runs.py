"""What Prefect adds, on a real server: schedules that fire, runs that can be looked at, and the same results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.config import Config
from tasks.doctor.diagnosis import Diagnosis
from tasks.doctor.schedules import schedule_diagnoses
from tests.bed.ports import free_port
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.prefect_server import Prefect
from tests.bed.progress import ROOT, wait_until
from tests.bed.proxy import TcpProxy
from tests.bed.serving import BIN, clean_environment
from tests.bed.target import NAME, Target, target_for

ROWS = 42
SCHEDULE_SECONDS = 300  # the server's scheduler looks every minute


def program(name: str, *arguments: str, env: dict[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / name, *arguments], capture_output=True, text=True, timeout=240, env=env, cwd=cwd, check=False
    )


@pytest.fixture(scope="module")
def deployed(prefect_server: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Prefect:
    """The server, with everything in prefect.yaml deployed from a copy of the checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("flows", "tasks", "deployments"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "prefect.yaml", checkout)
    env = prefect_server.environment | {"PWD": str(checkout)}
    pool = program("prefect", "work-pool", "create", "rollcall", "--type", "process", env=env, cwd=checkout)
    assert pool.returncode == 0, pool.stderr
    done = program("prefect", "--no-prompt", "deploy", "--all", env=env, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = prefect_server.ask("deployments/filter")
    assert {
        each["pull_steps"][0]["prefect.deployments.steps.set_working_directory"]["directory"] for each in found
    } == {str(checkout)}
    return prefect_server


PUBLISH = """
import sys
from deployments.serving.applied import OwnArtifact
for texts in sys.argv[1:]:
    page = OwnArtifact()
    for each in texts:
        page.publish("page", each, "A page.")
"""


def test_a_page_of_no_run_has_one_version_and_those_of_runs_stay(prefect_server: Prefect) -> None:
    """Prefect never clears away what belongs to no run; three serves have published here, one after the other."""
    ask = prefect_server.ask
    flow = ask("flows/", name="writes-pages")
    run = ask("flow_runs/", flow_id=flow["id"], state={"type": "COMPLETED"})
    ask("artifacts/", key="page", type="markdown", data="run", flow_run_id=run["id"])
    done = subprocess.run(
        [sys.executable, "-c", PUBLISH, "abc", "d", "ef"],
        env=prefect_server.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = ask("artifacts/filter", sort="CREATED_DESC")
    assert [each["data"] for each in found if each["key"] == "page"] == ["f", "run"]
    assert ask("artifacts/page/latest")["data"] == "f"


def test_one_command_deploys_all_flows_with_help_for_their_forms(deployed: Prefect) -> None:
    found = {each["name"]: each for each in deployed.ask("deployments/filter")}

    assert {name: each["entrypoint"] for name, each in found.items()} == {
        "backup": "flows/backup.py:backup",
        "verify": "flows/verify.py:verify",
        "drill": "flows/drill.py:drill",
        "restore-volume": "flows/restore_volume.py:restore_volume",
        "recover": "flows/recover.py:recover",
    }
    assert found["restore-volume"]["schedules"] == found["recover"]["schedules"] == []
    assert found["restore-volume"]["parameters"]["dry_run"] is True, "the form is safe as it comes"
    for each in found.values():
        assert each["parameters"]["target"] == "knowledge_os"
        assert "rollcall" in each["tags"] and each["work_pool_name"] == "rollcall" and each["description"]
        fields = each["parameter_openapi_schema"]["properties"]
        assert "Name of the target" in fields["target"]["description"]


@pytest.mark.parametrize(
    ("deployment", "step", "at"),
    [
        ("backup", timedelta(days=1), {(2, 0)}),
        ("verify", timedelta(minutes=15), {(h, m) for h in range(24) for m in (0, 15, 30, 45)}),
    ],
)
def test_a_cron_schedule_makes_runs_at_its_times(
    deployed: Prefect, deployment: str, step: timedelta, at: set[tuple[int, int]]
) -> None:
    """With a wrong SQLAlchemy beside Prefect nothing is ever scheduled, and nothing but this says so."""
    runs: list[dict[str, Any]] = []

    def scheduled() -> bool:
        runs[:] = deployed.ask(
            "flow_runs/filter", deployments={"name": {"any_": [deployment]}}, sort="EXPECTED_START_TIME_ASC"
        )
        return len(runs) >= 3

    wait_until(scheduled, SCHEDULE_SECONDS, f"three scheduled runs of {deployment}")

    times = [datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in runs]
    assert {run["state"]["type"] for run in runs} == {"SCHEDULED"}
    assert {(time.hour, time.minute) for time in times} <= at
    assert {later - earlier for earlier, later in pairwise(times)} == {step}
    made = deployed.ask("deployments/filter", deployments={"name": {"any_": [deployment]}})[0]["created"]
    # The first time after it was deployed, which may have passed since.
    assert datetime.fromisoformat(made) - timedelta(minutes=1) < times[0] <= datetime.now(UTC) + step


@dataclass(frozen=True)
class Outcome:
    """What a backup and a check of one target printed, and what they logged."""

    manifest: dict[str, Any]
    check: dict[str, Any]
    log: str


def backup_and_verify(target: Target, env: dict[str, str]) -> Outcome:
    printed, log = [], ""
    for command in ("backup", "verify"):
        done = program("rollcall", command, NAME, "--config", str(target.file), "--json", env=env)
        assert done.returncode == 0, done.stderr
        printed.append(json.loads(done.stdout))
        log += done.stderr
    return Outcome(printed[0], printed[1], log)


@pytest.fixture(scope="module")
def shop(_shared: PostgresServers) -> PostgresServer:
    server = _shared(version=15, command=["-c", "fsync=off"])
    server.execute(
        f"CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, {ROWS}) n", "CREATE SEQUENCE tickets"
    )
    return server


@pytest.fixture(scope="module")
def tracked(prefect_server: Prefect, shop: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    target = target_for(shop, tmp_path_factory.mktemp("tracked"))
    return backup_and_verify(target, prefect_server.environment)


@pytest.fixture(scope="module")
def direct(shop: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    target = target_for(shop, tmp_path_factory.mktemp("direct"))
    home = tmp_path_factory.mktemp("no-prefect")
    return backup_and_verify(target, clean_environment() | {"PREFECT_HOME": str(home)})


def comparable(manifest: dict[str, Any]) -> dict[str, Any]:
    """The fields that two backups of the same rows share."""
    own = {"id", "created_at", "timings", "objects"}
    moves = {"checkpoint_lsn", "settled_xid"}  # A server that nobody writes to has housekeeping of its own.
    parts = sorted((each["role"], each["database"] or "", each["storage"]) for each in manifest["objects"])
    identity = {name: value for name, value in manifest["identity"].items() if name not in moves}
    kept = {name: value for name, value in manifest.items() if name not in own}
    return kept | {"identity": identity, "parts": parts, "steps": list(manifest["timings"])}


def test_a_tracked_backup_and_a_direct_one_file_the_same_manifest(tracked: Outcome, direct: Outcome) -> None:
    assert comparable(tracked.manifest) == comparable(direct.manifest)
    assert tracked.manifest["tally"]["counts"]["public.orders"] == ROWS
    assert tracked.manifest["verdict"] == "healthy"


def test_a_tracked_check_and_a_direct_one_find_the_same(tracked: Outcome, direct: Outcome) -> None:
    for field in ("target", "verdict", "findings", "counts"):
        assert tracked.check[field] == direct.check[field]
    assert tracked.check["counts"]["public.orders"] == ROWS


def test_a_tracked_run_can_be_read_by_its_names(prefect_server: Prefect, tracked: Outcome) -> None:
    runs = prefect_server.ask("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
    names = {each["name"] for each in runs}
    assert {f"backup {NAME}", f"verify {NAME}"} <= names

    (backup,) = [each for each in runs if each["name"] == f"backup {NAME}"]
    tasks: list[dict[str, Any]] = []

    def recorded() -> bool:
        """The server learns of tasks from events, which it works off when it has the time."""
        tasks[:] = prefect_server.ask("task_runs/filter", task_runs={"flow_run_id": {"any_": [backup["id"]]}})
        named = {each["name"].rpartition("-")[0] for each in tasks}
        return {"look at container", "take database", "read back objects", "write manifests"} <= named and {
            each["state"]["type"] for each in tasks
        } == {"COMPLETED"}

    wait_until(recorded, 120, "the end of every task", lambda: f"{[(each['name'], each['state']) for each in tasks]}")


def test_a_tracked_run_leaves_reports_and_events(prefect_server: Prefect, tracked: Outcome) -> None:
    reports = {each["key"]: each["data"] for each in prefect_server.ask("artifacts/filter")}
    assert tracked.manifest["id"] in reports[f"backup-{NAME}"]
    assert "public.orders" in reports[f"verify-{NAME}"]

    def emitted() -> bool:
        found = prefect_server.ask("events/filter", filter={"event": {"prefix": ["rollcall."]}})
        return {"rollcall.backup.stored", "rollcall.verify.healthy"} <= {each["event"] for each in found["events"]}

    wait_until(emitted, 120, "an event of the backup and one of the check")


CHECKED_TWICE = """
import contextlib, sys
from deployments.__main__ import main
for _ in range(2):  # a picture of the history needs two points
    with contextlib.suppress(SystemExit):
        main()
print([name for name in ("matplotlib", "pandas", "matplotlib.pyplot", "fastapi", "prefect.server", "prefect.runner",
                         "prefect_docker", "apprise", "boto3") if name in sys.modules], file=sys.stderr)
"""


def test_a_tracked_check_loads_what_it_needs_and_no_more(
    prefect_server: Prefect, shop: PostgresServer, tmp_path: Path
) -> None:
    """Each of these takes between a quarter of a second and a second to load; the picture needs one of them."""
    arguments = ["verify", NAME, "--config", str(target_for(shop, tmp_path).file)]
    ran = program(sys.executable, "-c", CHECKED_TWICE, *arguments, env=prefect_server.environment)
    assert ran.stderr.splitlines()[-1] == "['matplotlib']", ran.stderr


def test_no_secret_reaches_prefect(prefect_server: Prefect, tracked: Outcome, shop: PostgresServer) -> None:
    kept = [prefect_server.ask(f"{what}/filter") for what in ("flow_runs", "task_runs", "artifacts", "logs")]

    assert shop.password not in json.dumps(kept)


def test_an_api_that_does_not_answer_costs_one_warning_and_no_backup(shop: PostgresServer, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}/api"
    env = clean_environment() | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": dead}
    target = target_for(shop, tmp_path / "target")

    outcome = backup_and_verify(target, env)

    assert outcome.manifest["tally"]["counts"]["public.orders"] == ROWS
    for line in outcome.log.splitlines():
        assert "Traceback" not in line
    assert outcome.log.count(f"The Prefect API at {dead} does not answer; the run goes on untracked.") == 2


# Seconds, of a first wait of 0.4: our own jitter only adds, Prefect's (clamped_poisson_interval) takes a third at most.
SHORTEST = {"direct": 0.39, "tracked": 0.25}
RETRIES = """
import json, sys, time
if sys.argv[1] == "tracked":
    import prefect
from tasks import errors, orchestration

error = getattr(errors, sys.argv[2])
calls = []

def fail_twice():
    calls.append(time.monotonic())
    if len(calls) < 3:
        raise error("No answer.")
    return len(calls)

attempt = orchestration.task(fail_twice, name="attempt", retry=orchestration.Retry(times=3, first_wait=0.4))

@orchestration.flow(name="retries", run_name="retries of {word}")
def retries(word: str) -> str:
    try:
        return f"returned {attempt()}"
    except errors.RollcallError as failure:
        return f"raised {type(failure).__name__}"

print(json.dumps({"outcome": retries("it"), "gaps": [b - a for a, b in zip(calls, calls[1:])]}))
"""


@pytest.mark.parametrize("way", ["direct", "tracked"])
@pytest.mark.parametrize(
    ("error", "outcome", "gaps"),
    [
        ("StorageUnreachable", "returned 3", 2),  # transient: after two failures the third call succeeds
        ("LoginRefused", "raised LoginRefused", 0),  # lasting: asking again cannot help
    ],
)
def test_what_may_pass_is_tried_again_with_growing_waits_and_what_may_not_is_not(
    prefect_server: Prefect, tmp_path: Path, way: str, error: str, outcome: str, gaps: int
) -> None:
    script = tmp_path / "retries.py"
    script.write_text(RETRIES)
    env = prefect_server.environment | {"PYTHONPATH": str(ROOT)}

    done = program("python", str(script), way, error, env=env)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outcome"] == outcome
    assert len(found["gaps"]) == gaps
    if gaps:
        # No busy machine waits less; how much longer it takes says nothing.
        assert found["gaps"][0] > SHORTEST[way]
        assert found["gaps"][1] > 2 * SHORTEST[way]


def test_the_doctor_sees_what_is_scheduled_and_what_is_not(deployed: Prefect) -> None:
    def told(target: str, **schedules: str) -> Diagnosis:
        rules = {"container": "c", "volume": "v", "database": "d", "storages": ["a"], "schedules": schedules}
        storages = {"a": {"type": "local", "path": "a"}}
        config = Config.model_validate({"storages": storages, "targets": {target: rules}})
        return schedule_diagnoses(config, lambda path, body: deployed.ask(path.lstrip("/"), **body))[0]

    wait_until(lambda: told("knowledge_os").well, SCHEDULE_SECONDS, "runs that are scheduled")
    assert told("nobody").words.startswith("Backup has no deployment; verify has no deployment; drill has no")
    never = told("nobody", backup="never", verify="never", drill="never")
    assert (never.well, never.words) == (True, "By the configuration, backup, verify, drill: never.")
    other = told("knowledge_os", backup="0 3 * * *")
    assert other.words.startswith(
        "Backup is scheduled otherwise (0 2 * * * UTC) than the configuration says (0 3 * * * "
    )


BAR = """
import sys
import prefect
from tasks import orchestration
from tasks.alerts import progress

def dump(target):
    with progress.shown("backup", target, bar_seconds=0.1):
        with progress.meter().stage("dumping shop", done=lambda: 250, total=lambda: 1000):
            print("begun", flush=True)
            sys.stdin.readline()
    print("done", flush=True)
    sys.stdin.readline()

task = orchestration.task(dump, name="take database")

@orchestration.flow(name="bar", run_name="bar of {target}")
def bar(target: str) -> None:
    task(target)

bar(sys.argv[1])
"""


@contextmanager
def dumping(script: Path, target: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that dumps for as long as nobody writes it a line; it says when it begins and when it is done."""
    script.write_text(BAR)
    with subprocess.Popen(
        [BIN / "python", script, target], env=env | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def bars(server: Prefect, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask("artifacts/filter", artifacts={"key": {"any_": [key]}})
    return found


def test_a_long_dump_has_a_bar_that_says_how_far_it_is_and_in_the_end_that_it_is_done(
    prefect_server: Prefect, tmp_path: Path
) -> None:
    with dumping(tmp_path / "bar.py", "My Shop", prefect_server.environment) as process:
        wait_until(lambda: bool(bars(prefect_server, "progress-backup-my-shop")), 180, "a bar")
        (shown,) = bars(prefect_server, "progress-backup-my-shop")
        assert (shown["type"], shown["data"]) == ("progress", 25.0)
        assert shown["description"].startswith("My Shop: dumping shop: 250 bytes of about 1.0 kB")
        assert shown["task_run_id"] is not None
        go_on(process)
        assert process.stdout is not None and process.stdout.readline() == "done\n"
        # The run waits two seconds at most for the bar to be told.
        wait_until(lambda: bars(prefect_server, "progress-backup-my-shop")[0]["data"] == 100, 120, "a full bar")
        (shown,) = bars(prefect_server, "progress-backup-my-shop")
        assert shown["description"].startswith("My Shop: done in ")
        go_on(process)
        assert process.wait(180) == 0


@pytest.mark.slow
def test_a_server_that_hangs_does_not_hold_up_a_dump(prefect_server: Prefect, tmp_path: Path) -> None:
    proxy = TcpProxy(("127.0.0.1", prefect_server.port))
    proxy.start()
    env = prefect_server.environment | {"PREFECT_API_URL": f"http://127.0.0.1:{proxy.port}/api"}
    try:
        with dumping(tmp_path / "bar.py", "stalled", env) as process:
            wait_until(lambda: bool(bars(prefect_server, "progress-backup-stalled")), 180, "a bar")
            proxy.stall()
            go_on(process)
            # While it stalls: were the bar waited for, this line would never come.
            assert process.stdout is not None and process.stdout.readline() == "done\n"
            proxy.resume()
            go_on(process)
            assert process.wait(180) == 0
    finally:
        proxy.stop()
