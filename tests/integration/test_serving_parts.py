"""What goes on beside the runs of a serve: a thread that dies is started again, and what cannot be is told."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from deployments.serving import beside as parts
from deployments.serving import configured
from deployments.serving.beside import CONFIGURATION, RUNNER, WATCHER, Beside, beside, does_not_run, runs_again
from deployments.status_answers import PartState
from deployments.status_server import ServedApi, serve_api
from deployments.watcher import watch
from tasks.alerts.message import Message
from tasks.config import Config, load
from tasks.errors import RollcallError
from tests.bed.progress import wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.serving import own_ports
from tests.bed.watched import told

CONFIG = """
notify: [{{url: {{file: {folder}/hook}}}}]
api: {{port: {port}}}
storages: {{local: {{type: local, path: ./backups}}}}
targets: {{shop: {{container: rollcall-nobody, volume: rollcall-none, database: d, user: u, storages: [local]}}}}
"""

ENDED = "The watcher of rollcall serve ended (SystemExit); starting it again."
RUNS_AGAIN = "The watcher of rollcall serve runs again."


@pytest.fixture
def settings(tmp_path: Path, http_recorder: HttpRecorder) -> Config:
    (tmp_path / "backups").mkdir()
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    port = own_ports()["api"]["port"]
    (tmp_path / "targets.yaml").write_text(CONFIG.format(folder=tmp_path, port=port))
    return load(str(tmp_path / "targets.yaml"))


def file_of(settings: Config) -> str:
    return str(settings.state.parent / "targets.yaml")


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


def kill(thread: threading.Thread) -> None:
    """End a thread from outside, as nothing but a defect in its depths would."""
    raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    assert raised == 1
    thread.join(60)
    assert not thread.is_alive()


@dataclass
class Clock:
    """A time that stands still until it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Work:
    """Ends at once, or goes on until it is let go."""

    stopping: threading.Event
    begun: int = 0
    fails: Exception | None = None
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.begun += 1
        if self.fails:
            raise self.fails
        self.let_go.wait(300)


def ended(here: Beside, name: str) -> None:
    here._parts[name].thread.join(60)  # type: ignore[union-attr]


def test_a_watcher_that_is_killed_is_started_again_and_watches(
    settings: Config, stopping: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FIRST_WAIT", 0.2)
    monkeypatch.setattr(parts, "STEADY", 1.0)
    caplog.set_level(logging.INFO, "rollcall")
    here, lines = beside(settings, stopping), list[str]()

    def watching() -> int:
        here.mend()
        return sum(line.startswith("watching") for line in lines)

    here.go_on(WATCHER, lambda: watch(settings, stopping, file_of(settings), say=lines.append))
    wait_until(lambda: watching() == 1, 60, "the watch", lambda: " | ".join(lines))
    assert here.states() == {WATCHER: PartState(True, 0)}

    for times in (1, 2):
        kill(here._parts[WATCHER].thread)  # type: ignore[arg-type]
        here.mend()
        assert not here.states()[WATCHER].up
        wait_until(lambda: watching() == times + 1, 60, "the watch again", lambda: " | ".join(lines))  # noqa: B023
        wait_until(lambda: watching() and here.states()[WATCHER].up, 120, "that it is up")
        assert here.states() == {WATCHER: PartState(True, times)}
    said = [each.getMessage() for each in caplog.records if "rollcall serve" in each.getMessage()]
    assert said == [ENDED, RUNS_AGAIN] * 2

    stopping.set()
    here.join(60)
    assert not here._parts[WATCHER].thread.is_alive()  # type: ignore[union-attr]


def test_a_watcher_that_cannot_be_kept_running_is_told_and_so_is_that_it_runs_again(
    settings: Config, stopping: threading.Event, http_recorder: HttpRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place for locks is a file: a real fault that goes away again."""
    monkeypatch.setattr(parts, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(parts, "STEADY", 2.0)
    settings.state.mkdir()
    (settings.state / "locks").touch()
    here, lines = beside(settings, stopping), list[str]()
    here.go_on(WATCHER, lambda: watch(settings, stopping, file_of(settings), say=lines.append))

    def mended(words: str) -> Callable[[], bool]:
        return lambda: here.mend() or bool(told(http_recorder, words))

    wait_until(mended("FAILED rollcall serve: its watcher does not run"), 120, "the message")
    assert "The state folder" in http_recorder.messages[0]["message"]
    (settings.state / "locks").unlink()
    wait_until(
        mended("RECOVERED rollcall serve: its watcher runs again"), 60, "the good news", lambda: " | ".join(lines)
    )
    assert len(told(http_recorder, "rollcall serve")) == 2
    assert here.states()[WATCHER].up
    stopping.set()
    here.join(60)


def test_a_status_api_that_is_killed_answers_again_at_its_port_and_tells_of_the_others(
    settings: Config, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FIRST_WAIT", 0.1)
    here, apis = beside(settings, stopping), list[ServedApi]()

    def start() -> threading.Thread:
        apis.append(serve_api(settings, here.states))
        return apis[-1].thread

    def health() -> httpx.Response:
        return httpx.get(f"{apis[-1].url}/healthz", timeout=60, trust_env=False)

    here.keep("status API", start)
    work = Work(stopping)
    here.go_on(WATCHER, work)
    assert health().status_code == 200
    apis[0].server.should_exit = True  # As after a signal that was meant for somebody else.
    apis[0].thread.join(60)
    wait_until(lambda: here.mend() or len(apis) > 1, 120, "the API again")
    assert apis[0].url == apis[1].url

    work.let_go.set()
    ended(here, WATCHER)
    assert health().status_code == 503
    assert "Does not run: " in health().json()["detail"] and WATCHER in health().json()["detail"]
    metrics = httpx.get(f"{apis[-1].url}/metrics", timeout=60, trust_env=False).text
    assert f'rollcall_serve_part_up{{part="{WATCHER}"}} 0.0' in metrics
    assert 'rollcall_serve_part_restarts_total{part="status API"} 1.0' in metrics
    apis[1].stop()


def test_the_waits_double_up_to_a_minute_and_people_are_told_once_an_hour(stopping: threading.Event) -> None:
    clock, sent, tried = Clock(), list[tuple[float, str]](), list[float]()
    begun = threading.Event()

    def tell(message: object) -> list[str]:
        sent.append((clock.now, str(message)))
        begun.set()
        return []

    def start() -> threading.Thread:
        tried.append(clock.now)
        raise RollcallError("Its port is taken.")

    here = Beside(stopping, tell, 3600.0, clock)
    gone = threading.Thread(target=str)
    gone.start()
    gone.join()
    here.keep("status API", start, gone)
    for now in range(2 * 3600):
        clock.now = float(now)
        here.mend()
        for thread in threading.enumerate():
            if thread.name == "rollcall-tell":
                thread.join(60)
    assert tried[:8] == [1, 4, 9, 18, 35, 68, 129, 190], "1, 2, 4, … seconds, seen at the next look"
    assert {later - earlier for earlier, later in pairwise(tried[8:])} == {61.0}
    assert sent[0][0] < 30
    assert len(sent) == 2
    assert all("Its port is taken" in words for _, words in sent)


def test_what_takes_long_to_begin_is_not_well_again_before_it_has_begun(stopping: threading.Event) -> None:
    """A server that takes a minute to find out that it cannot start is down all that time, and told after a minute."""
    clock, sent, ready = Clock(), list[str](), threading.Event()

    def tell(message: Message) -> list[str]:
        sent.append(message.title)
        return []

    here, work = Beside(stopping, tell, 3600.0, clock), Work(stopping)
    here.go_on("Prefect server", work, ready.is_set)
    for now in (0.0, 100.0):
        clock.now = now
        work.let_go.set()
        ended(here, "Prefect server")
        here.mend()  # It has ended.
        work.let_go.clear()
        clock.now = now + 2.5
        here.mend()  # It is started again.
        clock.now = now + 90.0
        here.mend()
        assert not here.states()["Prefect server"].up
    wait_until(lambda: len(sent) == 1, 60, "the message after the second end")
    ready.set()
    here.mend()
    assert here.states()["Prefect server"].up
    wait_until(lambda: "RECOVERED" in sent[-1], 60, "the good news")
    work.let_go.set()


def test_what_ends_again_and_again_is_told_though_it_runs_well_in_between(stopping: threading.Event) -> None:
    clock, sent = Clock(), list[str]()

    def tell(message: Message) -> list[str]:
        sent.append(f"{clock.now:.0f} {message.title}")
        return []

    here, work = Beside(stopping, tell, 3600.0, clock), Work(stopping)
    here.go_on(WATCHER, work)

    def at(now: float) -> None:
        clock.now = now
        here.mend()
        for thread in threading.enumerate():
            if thread.name == "rollcall-tell":
                thread.join(60)

    for times in range(6):
        begin = 30.0 * times
        work.let_go.set()
        ended(here, WATCHER)
        at(begin)
        work.let_go.clear()
        at(begin + 1.5)
        assert not here.states()[WATCHER].up
        at(begin + 25)
        assert here.states()[WATCHER].up
    assert [each.split(" rollcall")[0] for each in sent] == ["90 FAILED"], "at the fourth end, and once"
    at(910)
    assert len(sent) == 1, "four ends in the last quarter of an hour"
    at(970)
    assert sent[1:] == ["970 RECOVERED rollcall serve: its watcher runs again"]
    work.let_go.set()


def test_what_runs_and_does_not_get_ready_is_told_after_a_minute(stopping: threading.Event) -> None:
    clock, sent = Clock(), list[str]()
    here, work = Beside(stopping, lambda message: sent.append(message.body) or [], 3600.0, clock), Work(stopping)
    gone = threading.Thread(target=str)
    gone.start()
    gone.join()
    again = threading.Thread(target=work)

    def start() -> threading.Thread:
        again.start()
        return again

    here.keep(RUNNER, start, gone, lambda: False, lambda: "ExceptionGroup")
    for now in (0.0, 1.5, 50.0):
        clock.now = now
        here.mend()
    assert sent == [] and not here.states()[RUNNER].up
    clock.now = 61.0
    here.mend()
    wait_until(lambda: len(sent) == 1, 60, "the message")
    assert "ExceptionGroup" in sent[0] and "No scheduled backup" in sent[0]
    work.let_go.set()


def test_what_is_yet_to_begin_is_down_until_it_does(stopping: threading.Event) -> None:
    here, work = Beside(stopping, lambda _: []), Work(stopping)
    here.expect(WATCHER, RUNNER)
    here.go_on(WATCHER, work)
    assert here.states() == {WATCHER: PartState(True, 0), RUNNER: PartState(False, 0)}
    here.mend()
    work.let_go.set()


def test_a_start_that_meets_a_defect_keeps_no_other_part_from_being_mended(stopping: threading.Event) -> None:
    clock = Clock()
    here, work = Beside(stopping, lambda _: [], 3600.0, clock), Work(stopping, fails=ValueError("x"))
    gone = threading.Thread(target=str)
    gone.start()
    gone.join()

    def start() -> threading.Thread:
        raise KeyError("x")

    here.keep(RUNNER, start, gone)
    here.go_on(WATCHER, work)
    ended(here, WATCHER)
    for now in (0.0, 1.5):
        clock.now = now
        here.mend()
    assert work.begun == 2
    assert not here.states()[RUNNER].up


def test_a_mistake_in_the_configuration_is_told_by_the_last_good_one(
    settings: Config, stopping: threading.Event, http_recorder: HttpRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(parts, "STEADY", 2.0)
    monkeypatch.setattr(configured, "LOOK_SECONDS", 0.1)
    file = Path(file_of(settings))
    good = file.read_text()
    here = beside(settings, stopping)
    here.go_on(CONFIGURATION, lambda: configured.keep_reading(file, settings.targets, stopping))
    for bad, why in ((good.replace("notify", "notfy"), "notfy"), (good.replace("shop:", "store:"), "no target shop")):
        http_recorder.messages.clear()
        parts_of = here._parts[CONFIGURATION]
        put(file, bad)
        wait_until(
            lambda: here.mend() or bool(told(http_recorder, "its configuration cannot be read")), 120, "the message"
        )
        assert why in parts_of.why
        assert not here.states()[CONFIGURATION].up
        put(file, good)
        monkeypatch.setattr(parts, "FALLS_WINDOW", 0.0)
        wait_until(
            lambda: here.mend() or bool(told(http_recorder, "its configuration can be read again")), 120, "good news"
        )
        assert here.states()[CONFIGURATION].up


def put(file: Path, text: str) -> None:
    """All at once: who looks in between reads no half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_nothing_is_started_again_once_all_is_to_stop(stopping: threading.Event) -> None:
    here, work = Beside(stopping, lambda _: []), Work(stopping, fails=ValueError("x"))
    here.go_on("work", work)
    ended(here, "work")
    stopping.set()
    for _ in range(3):
        here.mend()
    assert work.begun == 1


def test_the_messages_fit_on_a_phone() -> None:
    for message in (
        does_not_run(WATCHER, "x" * 500),
        does_not_run(RUNNER, "y"),
        does_not_run("status API", "y"),
        does_not_run(CONFIGURATION, "x" * 500),
        runs_again(CONFIGURATION),
        runs_again(WATCHER),
    ):
        assert max(map(len, [message.title, *message.body.split("\n")])) <= 90
