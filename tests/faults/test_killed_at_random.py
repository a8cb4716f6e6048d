"""Commands killed with SIGKILL at random moments, inside and between calls of an engine that takes its time; then what
the documentation says to do next. The database runs afterwards, on the right volume, whole, and goes on running.

ROLLCALL_KILLS: how many kills in all (40). ROLLCALL_KILLS_REPORT: a file that gets a line for each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from docker.errors import DockerException

from tests.bed.labels import Bed
from tests.bed.postgres import PASSWORD, USER, PostgresServers
from tests.bed.progress import BedError
from tests.faults.restore_scene import BAD, Scene, Scenes, Situation, content
from tests.faults.slow_stop import Slow, clients_connected, slow_image
from tests.faults.test_down_killed import asked
from tests.faults.victim import Outcome, Process, Runs
from tests.integration.down_scene import CONTENT, DownScene, down_scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

CELLS = 11
KILLS = max(1, int(os.environ.get("ROLLCALL_KILLS", "40")) // CELLS)
PATIENCE = 30.0  # seconds, after what is to be done next, for the database to serve


@dataclass
class Tally:
    """What came of the kills of one kind. span: seconds that a run takes that nobody kills, as far as it is known."""

    kind: str
    span: float
    kills: int = 0
    wrong: list[str] = field(default_factory=list)

    def struck(self, running: Process) -> bool:
        """Kill the run at a random moment of its span; False where it had ended before."""
        struck_at = time.monotonic() + random.uniform(0, self.span)
        while time.monotonic() < struck_at:
            if (code := running.poll()) is not None:
                self.span = max(1.0, time.monotonic() - running.started)
                assert code == 0, running.ended_with(code).stderr
                return False
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        while running.poll() is None:
            time.sleep(0.01)
        self.kills += 1
        return True

    def note(self, at: float, wrong: str = "") -> None:
        """Count one kill."""
        self.wrong += [wrong] if wrong else []
        if path := os.environ.get("ROLLCALL_KILLS_REPORT"):
            line = {"kind": self.kind, "after": round(at, 2), "wrong": wrong}
            with Path(path).open("a") as report:
                report.write(json.dumps(line) + "\n")

    def must_be_clean(self) -> None:
        """Fails where anything was wrong."""
        print(f"\n{self.kind}: {self.kills} kills, {len(self.wrong)} wrong")
        assert self.wrong == []


def wrong_with(check: Callable[[], object], seconds: float, until: float) -> str:
    """Why `check` does not hold after so many seconds, or does not go on holding `until` that moment; empty if it
    does."""
    given_up, held = time.monotonic() + seconds, False
    while True:
        try:
            check()
            held = True
        except (AssertionError, BedError, psycopg.Error, DockerException) as error:
            if held or time.monotonic() > given_up:
                return f"{'no longer' if held else 'never'}: {type(error).__name__} {str(error)[:300]}"
        if held and time.monotonic() > until:
            return ""
        time.sleep(0.5)


def recovered(made: Scene) -> str:
    """What is wrong with `recover`'s own word; empty if nothing is."""
    outcome: Outcome = made.recover()
    if outcome.code != 0 or "Traceback" in outcome.stderr:
        return f"recover: exit {outcome.code}: {outcome.stderr[-500:]}"
    return ""


def spoil_again(made: Scene) -> None:
    """After a restore that came to its end: what is there now needs one again."""
    server = made.servers.ready(made.server)
    server.execute(*BAD.strip().split(";\n"))
    made.old = content(server)
    made.forget_kept()


@contextmanager
def slow_scene(
    scenes: Scenes, bed: Bed, servers: PostgresServers, situation: Situation, slow: Slow, seconds: float
) -> Iterator[Scene]:
    """A target whose server takes so many seconds to stop."""
    with ExitStack() as stack:
        image = stack.enter_context(slow_image(bed, 17, slow, seconds))
        made = stack.enter_context(scenes(situation, 17, image=image))
        if slow == "smart":
            stack.enter_context(clients_connected(servers, made, seconds))
        yield made


@pytest.mark.parametrize(
    ("situation", "slow", "seconds"),
    [
        ("restore", "entry point", 1.0),
        ("restore", "entry point", 5.0),
        ("restore", "entry point", 20.0),
        ("restore", "smart", 5.0),
        ("reattach", "entry point", 5.0),
        ("reattach", "entry point", 20.0),
    ],
)
def test_a_restore_killed_at_random(
    scenes: Scenes, bed: Bed, postgres: PostgresServers, situation: Situation, slow: Slow, seconds: float
) -> None:
    tally = Tally(f"restore-volume, {situation}, {slow} {seconds:g} s", span=12 + 1.2 * seconds)
    while tally.kills < KILLS:
        with slow_scene(scenes, bed, postgres, situation, slow, seconds) as made:
            while tally.kills < KILLS and _one_restore(tally, made, seconds):
                pass
    tally.must_be_clean()


def _one_restore(tally: Tally, made: Scene, seconds: float) -> bool:
    """One restore, killed, and recovered from; whether the scene is good for another one."""
    source = () if made.situation == "reattach" else ("--backup", "latest")
    running = made.victim.start("restore-volume", made.victim.name, "--yes", "--json", *source)
    killed = tally.struck(running)
    at = time.monotonic()
    if killed:
        wrong = recovered(made) or wrong_with(made.serves_as_it_must, PATIENCE, at + seconds + 3)
        tally.note(at - running.started, wrong)
        if wrong:
            return False
    if made.state() == "old":
        made.forget_kept()
        return True
    if made.situation == "restore":
        spoil_again(made)
        return True
    return False


@pytest.mark.parametrize("command", ["drill", "backup"])
def test_a_drill_or_backup_killed_at_random(scenes: Scenes, bed: Bed, postgres: PostgresServers, command: str) -> None:
    """The next run is what is to be done next."""
    tally = Tally(command, span=10)
    with slow_scene(scenes, bed, postgres, "restore", "entry point", 1.0) as made:
        while tally.kills < KILLS:
            running = made.victim.start(command, made.victim.name, "--json")
            if tally.struck(running):
                at = time.monotonic()
                tally.note(
                    at - running.started, _next_run(made, command) or wrong_with(made.is_consistent, PATIENCE, at)
                )
    tally.must_be_clean()


def _next_run(made: Scene, command: str) -> str:
    """What is wrong with it, or what it leaves; empty if nothing is."""
    outcome = made.victim.start(command, made.victim.name, "--json").ended()
    wanted = 0 if command == "drill" else 2  # What is there now is critical: rows are gone.
    if outcome.code != wanted or "Traceback" in outcome.stderr:
        return f"the next {command}: exit {outcome.code}: {outcome.stderr[-500:]}"
    return f"left: {made.staging()}" if made.staging() else ""


def _down(runs: Runs, scene: DownScene, *options: str) -> Process:
    """Start a `down` with the words on standard input."""
    output = Path(tempfile.mkdtemp(prefix="run-", dir=scene.config.parent))
    request = {**asked(scene, "nowhere", *options), **{name: str(output / name) for name in ("stdout", "stderr")}}
    pid = runs.ask(request)
    return Process(pid, lambda: runs.ask({"pid": pid}), output, output)


@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0])
def test_a_down_killed_at_random(
    runs: Runs, bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """What is to be done next: in turn, `down` again, and what brings the project back."""
    tally = Tally(f"down, entry point {seconds:g} s", span=12 + 1.5 * seconds)
    with (
        slow_image(bed, 17, "entry point", seconds) as image,
        down_scene(bed, tmp_path, monkeypatch, image) as made,
    ):
        before = made.ask(CONTENT)
        while tally.kills < KILLS:
            running = _down(runs, made, "--yes")
            if tally.struck(running):
                at = time.monotonic()
                again = tally.kills % 2 == 0
                wrong = _ended(_down(runs, made, "--yes")) if again else ""
                made.project.compose("stop", "--timeout", "60")
                made.project.up()
                wrong = wrong or wrong_with(lambda: _serves(made, before), PATIENCE, at + seconds + 3)
                tally.note(at - running.started, wrong)
            else:
                made.project.up()
                made.ask("SELECT 1")
    tally.must_be_clean()


def _ended(running: Process) -> str:
    """What is wrong with a `down` that is to come to its end; empty if nothing is."""
    outcome = running.ended()
    return "" if outcome.code == 0 else f"down again: exit {outcome.code}: {outcome.stderr[-500:]}"


def _serves(made: DownScene, before: str) -> None:
    """Asked once: what waits until it answers would see no moment in which it does not."""
    line = ["psql", "-h", "127.0.0.1", "-U", USER, "-d", "knowledge_os", "-Atc", CONTENT]
    code, said = made.client.containers.get(made.container).exec_run(line, environment={"PGPASSWORD": PASSWORD})
    assert (code, said.decode().strip()) == (0, before)
    assert made.runs() == ["app", "db"]
