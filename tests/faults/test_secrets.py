"""A secret is nowhere but where the configuration says that it is: not in an argument list, a log, a file, a container.

The dump and the globals hold what the database holds, password verifiers too; everything else is searched.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.errors import NotFound

from tests.bed.postgres import PostgresServer
from tests.bed.recorder import HttpRecorder
from tests.bed.s3 import S3Endpoint
from tests.faults.victim import Outcome, Victim, command_lines

pytestmark = pytest.mark.slow

PASSWORD = "hush-Xq7-database-password"
TOKEN = "hush-Zk3-notification-token"


class Watch:
    """What could be seen of a run from outside while it went on."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.seen: set[str] = set()
        self.helpers = 0
        self._stop = threading.Event()

    def look_at_processes(self) -> None:
        """Every argument list of the machine, every 20 ms."""
        while not self._stop.wait(0.02):
            self.seen.update(command_lines())

    def look_at_helpers(self) -> None:
        """All that the engine tells of this target's helper containers."""
        api = self.victim.engine.api
        while not self._stop.wait(0.05):
            for each in self.victim.helpers():
                try:
                    self.seen.add(json.dumps(api.inspect_container(each)))
                    self.helpers += 1
                except NotFound:  # It ended between the two calls.
                    continue

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Watch for the length of the block."""
        threads = [threading.Thread(target=each) for each in (self.look_at_processes, self.look_at_helpers)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in threads:
                each.join()


@pytest.fixture
def discreet(
    victim_of: Callable[[PostgresServer], Victim],
    small_database: PostgresServer,
    s3_server: S3Endpoint,
    s3_bucket: str,
    http_recorder: HttpRecorder,
) -> Iterator[Victim]:
    """A target whose password, S3 secret and notification URL are like nothing else on this machine."""
    victim = victim_of(small_database)
    role = f"watcher_{abs(hash(victim.name)):x}"
    small_database.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    victim.target.update(user=role, roles=True)
    victim.add_s3("offsite", s3_server, s3_bucket)
    victim.document["notify"] = [{"url": {"env": "FAULTS_NOTIFY"}}]
    victim.environment |= {"FAULTS_PASSWORD": PASSWORD, "FAULTS_NOTIFY": http_recorder.apprise_url + TOKEN}
    yield victim
    small_database.execute(f"DROP ROLE {role}")


def secrets_of(victim: Victim) -> list[str]:
    return [PASSWORD, TOKEN, victim.environment["FAULTS_S3_SECRET"]]


def all_runs(victim: Victim, *flags: str) -> list[Outcome]:
    """A backup, a verify, a backup that fails at the database and one that fails at the storage."""
    done = [victim.start("backup", victim.name, "--json", *flags, at=None).ended()]
    assert done[0].code == 0  # Prefect's own services may log a traceback as they stop: not went_well().
    done.append(victim.start("verify", victim.name, "--json", *flags, at=None).ended().went_well())
    if not flags:
        done.append(victim.backup(environment={"FAULTS_PASSWORD": PASSWORD + "-wrong"}).failed("password"))
        victim.target["storages"] = ["offsite"]
        victim.document["storages"]["offsite"]["endpoint_url"] = "http://127.0.0.1:9"
        done.append(victim.backup().failed("offsite"))
    return done


def written(victim: Victim) -> Iterator[tuple[Path, bytes]]:
    """Every file that the runs wrote, but the dump and the globals."""
    for path in victim.folder.rglob("*"):
        if path.is_file() and path.name != "globals.sql" and not path.name.endswith(".dump.zst"):
            yield path, path.read_bytes()


def nothing_tells(victim: Victim, watch: Watch, outcomes: list[Outcome]) -> None:
    """Fails where a secret is found, and if there was nothing to search."""
    files = dict(written(victim))
    assert {"history.db", "manifest.json", "stdout", "stderr"} <= {path.name for path in files}
    assert watch.helpers, "no helper container was seen"
    assert any("pg_dump" in each for each in watch.seen)
    for secret in secrets_of(victim):
        assert [each for each in watch.seen if secret in each] == []
        assert [path for path, content in files.items() if secret.encode() in content] == []
        assert [each.code for each in outcomes if secret in each.stdout + each.stderr] == []


def test_no_secret_is_seen_of_a_direct_run(discreet: Victim, http_recorder: HttpRecorder) -> None:
    watch = Watch(discreet)
    with watch.going_on():
        outcomes = all_runs(discreet)
    assert len(http_recorder.messages) >= 2
    nothing_tells(discreet, watch, outcomes)


def test_no_secret_is_seen_of_a_run_that_prefect_tracks(discreet: Victim) -> None:
    watch = Watch(discreet)
    with watch.going_on():
        outcomes = all_runs(discreet, "--prefect")
    assert list((discreet.folder / "prefect").rglob("*.db"))
    nothing_tells(discreet, watch, outcomes)
