"""The watcher on the real engine: what happens to a target is noticed, checked and told, once and at once."""

from __future__ import annotations

import gc
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments import watcher
from deployments.watcher import watch
from tasks.checks.lock import only_run
from tasks.config import load
from tasks.restore.journal import active_path
from tasks.watching import decide, new_volumes
from tasks.watching.look_alike import KEY_LABEL, PROJECT_LABEL
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.private_engine import PrivateEngine, private_engine
from tests.bed.progress import ROOT, wait_until
from tests.bed.proxy import UnixProxy
from tests.bed.recorder import HttpRecorder
from tests.bed.watched import RIGHT, WRONG, Incident, configure, told, wait_for_line
from tests.bed.watched import watching as process_watching

Watch = Callable[[Path], list[str]]
FLAPS = 20


@pytest.fixture
def incident(bed: Bed) -> Iterator[Incident]:
    made = Incident(bed, f"knowledge{secrets.token_hex(3)}_os")
    yield made
    made.remove()


@pytest.fixture
def watching() -> Iterator[Watch]:
    """Starts a watcher in a thread; its lines are in the list. It has ended when the test has."""
    stop, threads = threading.Event(), list[threading.Thread]()

    def start(config: Path) -> list[str]:
        lines: list[str] = []
        arguments = (load(str(config)), stop, str(config))
        threads.append(threading.Thread(target=watch, args=arguments, kwargs={"say": lines.append}))
        threads[-1].start()
        wait_for_line(lines, "watching")
        return lines

    yield start
    stop.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    gc.collect()


def checked(lines: list[str], since: int = 0) -> int:
    """Wait for a check's outcome; return how many lines there are then."""
    wait_for_line(lines, "checked in", since=since)
    return len(lines)


def test_a_wrong_volume_under_the_containers_name_is_told_at_once(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen = checked(lines)
    assert told(http_recorder, "CRITICAL") == []

    incident.up(incident.wrong, WRONG)
    accepted = incident.accepting()
    wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
    print(f"\ntold {time.time() - accepted:.2f} s after it accepted connections", *lines, sep="\n")
    assert "CRITICAL" in told(http_recorder, "wrong volume")[0]
    assert wait_for_line(lines, "started", f"on {incident.wrong}", since=seen)

    seen = checked(lines, seen)
    with incident.connect() as connection:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: connection.execute(others).fetchone() == (0,), 60, "no session but this one")

    incident.up(incident.pinned)
    better = "what is left is that there is no backup"
    wait_until(lambda: bool(told(http_recorder, "BETTER")), 120, better, lambda: " | ".join(lines))
    assert len(told(http_recorder, "CRITICAL", "another database cluster")) == 1


def test_a_second_server_on_the_pinned_volume_is_told_at_once_until_it_stops(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, bed: Bed, tmp_path: Path
) -> None:
    box = incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen = checked(lines)
    name = bed.name("stranger")
    sleeping = {"entrypoint": "sh", "command": ["-c", "sleep 2; exec docker-entrypoint.sh postgres"]}
    other = bed.client.containers.run(
        box.image, name=name, labels=bed.labels, volumes_from=[incident.container], detach=True, **sleeping
    )
    try:
        began = time.monotonic()
        wait_until(lambda: bool(told(http_recorder, "another server")), 60, "the alert", lambda: " | ".join(lines))
        print(
            f"\ntold {time.monotonic() - began:.1f} s after the stranger's start, which waits for 2", *lines, sep="\n"
        )
        assert "CRITICAL" in told(http_recorder, "another server")[0]
        assert wait_for_line(lines, "a second server", incident.pinned, name, since=seen)
        checked(lines, seen)
    finally:
        other.remove(force=True)
    wait_until(lambda: bool(told(http_recorder, "BETTER")), 60, "what is left", lambda: " | ".join(lines))


def with_silent_storage(config: Path, port: int, timeout: float) -> Path:
    """The configuration, with a second storage behind a port at which nobody answers."""
    document = json.loads(config.read_text())
    key = {"file": str(config.parent / "hook")}
    document["storages"]["offsite"] = {
        "type": "s3", "bucket": "b", "endpoint_url": f"http://127.0.0.1:{port}", "timeout": timeout,
        "access_key_id": key, "secret_access_key": key,
    }  # fmt: skip
    for target in document["targets"].values():
        target["storages"].append("offsite")
    config.write_text(json.dumps(document))
    return config


@pytest.mark.slow
def test_an_alert_does_not_wait_for_a_storage_that_does_not_answer(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    """The check itself tells what is certain, rows and all, before it asks; the storage's silence is no news then."""
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = configure(tmp_path, http_recorder, [incident])
        lines = watching(with_silent_storage(config, silent.getsockname()[1], timeout=1))
        seen = checked(lines)
        incident.up(incident.wrong, WRONG)
        wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
        assert not [line for line in lines[seen:] if "checked in" in line], "the storage is still waited for"
        checked(lines, seen)
    titles = told(http_recorder, "wrong volume")
    # On a machine with too much to do, even a count of a few rows takes longer than the watcher's first word.
    assert len(titles) == 1 + sum("told before a check has ended" in line for line in lines)
    assert "more" in titles[-1], "what it lacks"


@pytest.mark.slow
def test_the_first_check_ever_tells_a_wrong_volume_before_its_end(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    """Nobody knows then what the storages said before: the watcher tells what it has seen, the whole follows."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = configure(tmp_path, http_recorder, [incident])
        incident.up(incident.wrong, WRONG)
        lines = watching(with_silent_storage(config, silent.getsockname()[1], timeout=1))
        word = wait_for_line(lines, "told before a check has ended")
        checked(lines)
    assert lines.index(word) < lines.index(wait_for_line(lines, "checked in"))
    assert len(told(http_recorder, "wrong volume")) == 2


@pytest.mark.slow
def test_a_wrong_volume_is_told_though_no_check_comes_to_its_end(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    """The history cannot be used, so nothing can be judged or remembered; it is told once all the same."""
    config = configure(tmp_path, http_recorder, [incident])
    history = load(str(config)).state / "history.db"
    history.parent.mkdir()
    history.write_text("This is no database, and long enough to be taken for one." * 100)
    incident.up(incident.wrong, WRONG)
    lines = watching(config)
    wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
    wait_for_line(lines, "did not come to its end")
    wait_until(lambda: bool(told(http_recorder, "FAILED")), 120, "why there is no check", lambda: " | ".join(lines))
    assert len(told(http_recorder, "wrong volume")) == 1


@pytest.mark.slow
def test_an_alert_does_not_wait_for_another_check_that_is_under_way(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = configure(tmp_path, http_recorder, [incident])
        lines = watching(with_silent_storage(config, silent.getsockname()[1], timeout=10))
        time.sleep(2)  # The check has begun, and waits for the storage.
        incident.up(incident.wrong, WRONG)
        wait_for_line(lines, "told before a check has ended")
        assert not [line for line in lines if "checked in" in line]
    http_recorder.wait_for(1)
    assert told(http_recorder, "wrong volume")


@pytest.mark.slow
def test_a_restore_raises_no_false_alarm_and_is_checked_when_it_is_over(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    config = configure(tmp_path, http_recorder, [incident], retention={"last": 2})
    rollcall("backup", incident.name, config)
    lines = watching(config)
    with incident.connect() as connection:
        connection.execute("DELETE FROM experts WHERE id > 1")

    seen = len(lines)
    rollcall("restore-volume", incident.name, config, "--backup", "latest", "--yes")

    wait_for_line(lines, "its container started", since=seen)
    outcome = wait_for_line(lines, "checked in", since=seen)
    assert "healthy" in outcome or "backup." in outcome, " | ".join(lines)
    titles = told(http_recorder)
    assert not [title for title in titles if "stopped" in title or "unreachable" in title or "missing" in title], titles
    with incident.connect() as connection:
        assert connection.execute("SELECT count(*) FROM experts").fetchone() == (85,)


def rollcall(command: str, target: str, config: Path, *more: str) -> None:
    """Run a command as a process of its own; raise CalledProcessError if it does not end with 0."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    line = [sys.executable, "-m", "deployments", command, target, "--config", str(config), *more]
    subprocess.run(line, cwd=ROOT, env=env, check=True, timeout=240)


def test_a_removed_pinned_volume_is_told_at_once(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    checked(lines)

    incident.down()
    incident.remove_volume(incident.pinned)

    wait_for_line(lines, "was removed", incident.pinned)
    words = ("CRITICAL", "pinned volume missing")
    wait_until(lambda: bool(told(http_recorder, *words)), 120, "the alert", lambda: " | ".join(lines))


@pytest.mark.slow
def test_a_restart_in_place_is_checked_and_nobody_is_told(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    box = incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen, before = checked(lines), len(http_recorder.messages)

    box.restart()

    wait_for_line(lines, "warning (backup.missing)", since=seen)
    assert len(http_recorder.messages) == before


def test_a_volume_that_looks_like_the_pinned_one_is_told_once(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_volumes, "SETTLING", 1.0)
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    checked(lines)

    compose = {PROJECT_LABEL: incident.name, KEY_LABEL: "postgres_data"}
    incident.make_volume(f"shop_{incident.name[:5]}_redis_data")
    incident.make_volume(incident.wrong, **compose)
    incident.make_volume(f"{incident.name}-test_postgres_data", **compose)

    def noticed() -> int:
        return sum("was made, and looks like" in line for line in lines)

    wait_until(lambda: noticed() == 2, 120, "both look-alikes", lambda: " | ".join(lines))
    wait_until(lambda: bool(told(http_recorder, "like the pinned one")), 120, "the warning", lambda: " | ".join(lines))
    time.sleep(2)  # for a second one, which must not come
    assert len(told(http_recorder, "like the pinned one")) == 1
    assert told(http_recorder, "CRITICAL") == []
    assert noticed() == 2


@pytest.mark.slow
def test_a_container_that_starts_again_and_again_floods_nobody(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "DOWN_GRACE", 5.0)
    incident.make_volume(incident.pinned)
    incident.up(incident.pinned, command=["sh", "-c", "sleep 0.3; exit 1"], restart_policy={"Name": "always"})

    lines = watching(configure(tmp_path, http_recorder, [incident]))
    wait_until(lambda: sum("its container started" in line for line in lines) >= 6, 120, "six starts")

    checked(lines)
    assert sum("checked in" in line for line in lines) <= 2
    assert len(told(http_recorder, "CRITICAL")) == 1


@pytest.mark.slow
def test_nothing_is_checked_while_a_restore_is_at_work(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    """A restore stops and starts the container itself; when it is over, what it left is checked."""
    box = incident.up(incident.pinned, RIGHT)
    incident.accepting()
    config = configure(tmp_path, http_recorder, [incident])
    lines = watching(config)
    seen = checked(lines)

    state = load(str(config)).state
    journal = active_path(state, incident.name)
    journal.parent.mkdir(parents=True)
    with only_run(state, incident.name):
        journal.touch()
        box.restart()
        incident.accepting()
        wait_for_line(lines, "its container started", since=seen)
        time.sleep(2)  # for the check, which must not come
        assert not [line for line in lines[seen:] if "checked in" in line]
        journal.unlink()
    wait_for_line(lines, "warning (backup.missing)", since=seen)
    assert told(http_recorder, "CRITICAL") == []


def test_a_second_watcher_stands_by_until_the_first_has_ended(
    incident: Incident, http_recorder: HttpRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(tmp_path, http_recorder, [incident])
    monkeypatch.setattr(watcher, "STANDBY", 0.2)
    stop, lines = threading.Event(), list[str]()
    settings = load(str(config))
    with only_run(settings.state, "watcher/watch"):
        thread = threading.Thread(target=watch, args=(settings, stop, str(config)), kwargs={"say": lines.append})
        thread.start()
        wait_for_line(lines, "another watcher")
    wait_for_line(lines, "watching")
    stop.set()
    thread.join(120)
    assert not thread.is_alive()


@pytest.fixture
def engine_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnixProxy]:
    """What stands between the watcher and the engine, and can be cut or let hang."""
    with tempfile.TemporaryDirectory(prefix="rc-proxy-") as folder:
        proxy = UnixProxy(path=f"{folder}/s")
        proxy.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
        yield proxy
        proxy.stop()


# Docker's library leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "hanging"])
def test_what_happened_while_the_connection_was_lost_is_noticed(
    how: str, incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path, engine_proxy: UnixProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watcher, "LOOK_AGAIN", 1.0)
    monkeypatch.setattr(watcher, "ENGINE_SECONDS", 2.0)
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen = checked(lines)

    if how == "cut":
        engine_proxy.refuse()
        engine_proxy.cut()
    else:
        engine_proxy.stall()
    wait_for_line(lines, "the engine is lost")
    incident.up(incident.wrong, WRONG)
    incident.accepting()
    assert told(http_recorder, "CRITICAL") == []
    engine_proxy.start() if how == "cut" else engine_proxy.resume()

    wait_for_line(lines, "started on", incident.wrong, since=seen)
    wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_an_engine_that_is_away_for_long_is_told_once_and_so_is_its_return(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path, engine_proxy: UnixProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watcher, "TELL_LOST_AFTER", 2.0)
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    checked(lines)
    engine_proxy.refuse()
    engine_proxy.cut()
    wait_for_line(lines, "the engine is lost")
    time.sleep(1)
    assert told(http_recorder, "engine") == [], "a restart is no news"
    wait_until(lambda: bool(told(http_recorder, "CRITICAL", "engine does not answer")), 120, "the message")
    time.sleep(3)  # for a second one, which must not come
    engine_proxy.start()
    wait_until(lambda: bool(told(http_recorder, "RECOVERED", "engine answers again")), 120, "the good news")
    assert len(told(http_recorder, "engine")) == 2
    assert sum("the engine is lost" in line for line in lines) == 1


@pytest.mark.slow
def test_an_alarm_waits_behind_no_flood_of_events(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred volumes are made while a wrong one takes the pinned one's place; they are looked at as a few."""
    looks = list[int]()
    look = new_volumes.NewVolumes.look
    monkeypatch.setattr(new_volumes.NewVolumes, "look", lambda *given: looks.append(1) or look(*given))
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    seen = checked(lines)
    looks.clear()

    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(incident.make_volume, f"rollcall-bed-flood-{incident.name}-{each}") for each in range(200)]
        incident.up(incident.wrong, WRONG)
        accepted = incident.accepting()
        wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
        print(f"\ntold {time.time() - accepted:.2f} s after it accepted; {len(looks)} looks", *lines[seen:], sep="\n")
        assert [each.exception() for each in flood] == [None] * 200
    assert len(looks) < 100
    assert len(told(http_recorder, "CRITICAL", "wrong volume")) == 1


@pytest.mark.slow
def test_a_container_that_flaps_floods_nobody_and_what_follows_is_told(
    incident: Incident, http_recorder: HttpRecorder, watching: Watch, tmp_path: Path
) -> None:
    box = incident.up(incident.pinned, RIGHT)
    incident.accepting()
    lines = watching(configure(tmp_path, http_recorder, [incident]))
    checked(lines)
    before = len(http_recorder.messages)
    for _ in range(FLAPS):
        box.kill()
        box.start()
    accepted = incident.accepting()
    flapped = len(http_recorder.messages) - before
    assert flapped <= 4, told(http_recorder)

    incident.up(incident.wrong, WRONG)
    accepted = incident.accepting()
    wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
    checks = sum("checked in" in line for line in lines)
    print(f"\ntold {time.time() - accepted:.2f} s after it accepted; {flapped} messages, {checks} checks by then")


@pytest.mark.slow
def test_what_happened_while_nobody_watched_is_noticed_at_the_next_start(
    incident: Incident, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    config = configure(tmp_path, http_recorder, [incident])
    incident.up(incident.pinned, RIGHT)
    incident.accepting()
    with process_watching(config) as lines:
        checked(lines)
    with process_watching(config) as lines:
        time.sleep(1)  # for a check, which must not come: nothing has happened since the last one
        assert len(lines) == 1

    incident.up(incident.wrong, WRONG)
    incident.accepting()
    with process_watching(config) as lines:
        wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))


@pytest.mark.slow
def test_a_container_that_a_restarted_engine_starts_is_noticed(
    own_engine: PrivateEngine, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    """The wrong one, made while the watcher looked elsewhere, comes up with the engine."""
    client = own_engine.client()
    incident = Incident(Bed(client), f"knowledge{secrets.token_hex(3)}_os")
    always = {"restart_policy": {"Name": "always"}}
    try:
        incident.up(incident.pinned, RIGHT, **always)
        with process_watching(configure(tmp_path, http_recorder, [incident]), own_engine.host) as lines:
            checked(lines)
            own_engine.stop()
            wait_for_line(lines, "the engine is lost")
            own_engine.start()
            seen = lines.index(wait_for_line(lines, "all is watched again"))
            checked(lines)
            assert told(http_recorder, "CRITICAL") == []

            incident.up(incident.wrong, WRONG, **always)
            own_engine.restart()
            wait_until(lambda: bool(told(http_recorder, "wrong volume")), 120, "the alert", lambda: " | ".join(lines))
            assert len(lines) > seen
        incident.remove()
    finally:
        client.close()


@pytest.fixture
def own_engine() -> Iterator[PrivateEngine]:
    with private_engine(images.tag(17)) as engine:
        yield engine


@pytest.mark.slow
def test_a_check_is_untracked_even_where_prefect_is_loaded(
    incident: Incident, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    """`serve` has Prefect in the same process: its API, which does not answer here, is not asked."""
    config = configure(tmp_path, http_recorder, [incident])
    program = (
        "import prefect, sys; from deployments.watcher_case import verify_directly; "
        "import flows.verify; assert isinstance(flows.verify.verify, prefect.Flow); "
        "print(verify_directly(*sys.argv[1:]).verdict)"
    )
    env = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    line = [sys.executable, "-c", program, incident.name, str(config)]
    ran = subprocess.run(line, cwd=ROOT, env=env, check=True, timeout=120, capture_output=True, text=True)
    assert ran.stdout.strip() == "critical"


@pytest.mark.slow
def test_it_prints_a_document_a_line_for_programs(
    incident: Incident, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    with process_watching(configure(tmp_path, http_recorder, [incident]), more=["--json"]) as lines:
        wait_for_line(lines, "checked in")
    assert [json.loads(line)["noticed"] for line in lines]
