"""The history in both of its databases, and what it says when one of them fails."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import URL, inspect

from tasks.errors import HistoryError
from tasks.history.records import Alert, Observation, Pin, Run, Telling
from tasks.history.store import History, open_history
from tasks.history.telling import ALERT, begin_alert, end_alert
from tasks.models import Finding, Identity, Manifest, Tally
from tests.bed.postgres import PostgresServer

NOW = datetime(2026, 2, 1, 2, 0, tzinfo=UTC)
E, K = "public.experts", "public.knowledge_nodes"
SEEN = Identity(
    container="knowledge_postgres",
    volume="atra_knowledge_postgres_data",
    system_identifier="7300000000000000001",
    timeline=1,
    checkpoint_lsn="16/B374D848",
    server_version="16.4",
)


def url_of(server: PostgresServer) -> str:
    url = URL.create("postgresql+psycopg", server.user, server.password, server.host, server.port, server.database)
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/history.db"
    fresh: Callable[[PostgresServer], PostgresServer] = request.getfixturevalue("fresh_database")
    return url_of(fresh(request.getfixturevalue("postgres17")))


@pytest.fixture
def history(url: str) -> Iterator[History]:
    with open_history(url) as opened:
        yield opened


def seen(day: int, experts: int, nodes: int = 26_337, **more: Any) -> Observation:
    given: dict[str, Any] = {
        "target": "knowledge_os",
        "checked_at": NOW + timedelta(days=day),
        "kind": "verify",
        "verdict": "healthy",
        "counts": {E: experts, K: nodes},
        "identity": SEEN,
        "accepted": True,
    }
    return Observation.model_validate(given | more)


def manifest(day: int, experts: int, **more: Any) -> Manifest:
    given: dict[str, Any] = {
        "id": f"backup-{day}",
        "target": "knowledge_os",
        "created_at": NOW + timedelta(days=day),
        "verdict": "healthy",
        "quarantined": False,
        "method": "dump",
        "server_version": "16.4",
        "database": "knowledge_os",
        "objects": [],
        "tally": Tally(counts={E: experts}, schema_objects={"table public.experts": "1"}),
        "identity": SEEN,
    }
    return Manifest.model_validate(given | more)


def test_an_observation_comes_back_as_it_was(history: History) -> None:
    finding = Finding(code="schema.changed", severity="warning", message="Straße ü 表", table=E)
    full = seen(
        0,
        85,
        kind="backup",
        verdict="warning",
        findings=[finding],
        schema_objects={"table public.experts": "abc"},
        schema_fingerprint="f" * 64,
        backup_id="b1",
    )
    bare = Observation(target="other", checked_at=NOW, kind="verify", verdict="critical", accepted=False)
    history.record(full)
    history.record(bare)
    assert history.observations("knowledge_os") == [full]
    assert history.latest("other") == bare
    assert history.latest("nobody") is None
    assert history.targets() == ["knowledge_os", "other"]


def test_times_of_any_zone_come_back_in_utc(history: History) -> None:
    tokyo = datetime.fromisoformat("2026-02-01T11:00:00.123456+09:00")
    history.record(seen(0, 85, checked_at=tokyo))
    latest = history.latest("knowledge_os")
    assert latest is not None
    assert latest.checked_at == tokyo
    assert latest.checked_at.utcoffset() == timedelta(0)


def test_recording_the_same_observation_twice_keeps_it_once(history: History) -> None:
    once = seen(0, 85)
    history.record(once)
    history.record(once)
    assert len(history.observations("knowledge_os")) == 1


def test_observations_since_a_moment_come_oldest_first(history: History) -> None:
    for day in (3, 1, 2):
        history.record(seen(day, 80 + day))
    found = history.observations("knowledge_os", since=NOW + timedelta(days=2))
    assert [each.counts[E] for each in found] == [82, 83]


def test_the_baseline_is_of_accepted_observations_only(history: History) -> None:
    history.record(seen(0, 90))
    history.record(seen(1, 85))
    history.record(seen(2, 1, accepted=False, verdict="critical"))
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=2), window_days=30)
    assert (baseline.last[E], baseline.highest[E]) == (85, 90)
    assert history.baseline("other", NOW, window_days=30).last == {}


def test_the_last_accepted_tally_outlives_the_window(history: History) -> None:
    history.record(seen(0, 90))
    history.record(seen(1, 85))
    history.record(seen(200, 1, accepted=False))
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=300), window_days=30)
    assert (baseline.last[E], baseline.highest.get(E)) == (85, None)


def test_accepting_everything_moves_baseline_identity_schema_and_pin(history: History) -> None:
    history.record(seen(0, 85, schema_objects={"table a": "1"}))
    new = SEEN.model_copy(update={"system_identifier": "8", "checkpoint_lsn": "0/1"})
    history.record(seen(1, 3, accepted=False, identity=new, schema_objects={"table a": "2"}))
    history.accept("knowledge_os", {E: 3}, new, "planned", "ann", NOW + timedelta(days=1, hours=1))
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=2), window_days=30)
    assert (dict(baseline.last), dict(baseline.highest)) == ({E: 3}, {E: 3})
    assert history.last_identity("knowledge_os") == new
    assert history.last_schema("knowledge_os") == {"table a": "2"}
    pin = history.pin("knowledge_os")
    assert pin is not None
    assert (pin.system_identifier, pin.volume, pin.reason) == ("8", SEEN.volume, "planned")


@pytest.mark.parametrize("table", [None, "experts"])
def test_what_was_made_while_the_clock_was_ahead_neither_undoes_an_acceptance_nor_outlives_a_later_check(
    history: History, table: str | None
) -> None:
    ahead = SEEN.model_copy(update={"checkpoint_lsn": "17/0"})
    history.record(seen(0, 85, schema_objects={"table a": "1"}))
    history.record(seen(365, 85, identity=ahead, schema_objects={"table a": "2"}))
    back = SEEN.model_copy(update={"checkpoint_lsn": "15/0"})
    history.accept("knowledge_os", {E: 3, K: 26_337}, back, "purge", "ann", NOW + timedelta(days=1), table=table)
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=2), window_days=30)
    assert (baseline.last[E], baseline.highest[E]) == (3, 3)
    assert history.last_identity("knowledge_os") == (ahead if table else back)
    assert history.last_schema("knowledge_os") == {"table a": "2"}

    late = history.observations("knowledge_os")[0].model_copy(update={"id": "a backup that had begun before"})
    history.record(late)
    assert history.baseline("knowledge_os", NOW + timedelta(days=2), window_days=30).last[E] == 3
    now = seen(2, 4)
    history.record(now)
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=3), window_days=30)
    assert (baseline.last[E], baseline.highest[E]) == (4, 4)
    assert history.latest("knowledge_os", "verify") == history.last_accepted("knowledge_os") == now
    assert history.last_identity("knowledge_os") == SEEN


def test_an_acceptance_of_the_future_is_followed_by_the_checks_after_it(history: History) -> None:
    history.record(seen(0, 85))
    future = datetime.now(UTC) + timedelta(days=365)
    history.accept("knowledge_os", {E: 3, K: 26_337}, SEEN, "purge", "ann", future)
    newer = SEEN.model_copy(update={"checkpoint_lsn": "17/0"})
    history.record(seen(2, 4, identity=newer))
    assert history.baseline("knowledge_os", NOW + timedelta(days=3), window_days=30).last[E] == 4
    assert history.last_identity("knowledge_os") == newer


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_history_is_upgraded_with_all_that_is_in_it(url: str, version: int) -> None:
    with open_history(url) as history:
        history.record(seen(0, 85))
        history.accept("knowledge_os", {E: 3, K: 26_337}, SEEN, "purge", "ann", NOW + timedelta(days=1))
        with history.writing() as connection:
            connection.exec_driver_sql("DROP INDEX observations_in_order")
            connection.exec_driver_sql("ALTER TABLE acceptances DROP COLUMN last_observation")
            connection.exec_driver_sql("ALTER TABLE alerts DROP COLUMN missed")
            for gone in ("being_told", "backups")[: 3 - version]:
                connection.exec_driver_sql(f"DROP TABLE {gone}")
            connection.exec_driver_sql(f"UPDATE rollcall_schema SET version = {version}")
    for _ in range(2):
        with open_history(url) as history:
            assert history.baseline("knowledge_os", NOW + timedelta(days=2), window_days=30).last[E] == 3
    with open_history(url) as history:
        history.record(seen(2, 4))
        history.accept("knowledge_os", {E: 5, K: 26_337}, SEEN, "purge", "ann", NOW + timedelta(days=1))
        assert history.baseline("knowledge_os", NOW + timedelta(days=3), window_days=30).last[E] == 5
        with history.reading() as connection:
            indexes = inspect(connection).get_indexes("observations")
    assert "observations_in_order" in [each["name"] for each in indexes]


def test_accepting_one_table_leaves_the_others_and_the_pin(history: History) -> None:
    history.record(seen(0, 85))
    history.accept("knowledge_os", {E: 1, K: 27}, SEEN, "purge", "ann", NOW + timedelta(hours=1), table="experts")
    baseline = history.baseline("knowledge_os", NOW + timedelta(days=1), window_days=30)
    assert dict(baseline.last) == {E: 1, K: 26_337}
    assert history.pin("knowledge_os") is None
    assert [each.table for each in history.acceptances("knowledge_os")] == [E]


def test_accepting_a_dropped_table_forgets_it_and_an_unknown_one_is_refused(history: History) -> None:
    history.record(seen(0, 85))
    history.accept("knowledge_os", {K: 26_337}, None, "dropped", "ann", NOW + timedelta(hours=1), table="experts")
    assert E not in history.baseline("knowledge_os", NOW + timedelta(days=1), window_days=30).last
    with pytest.raises(HistoryError, match="no table expert in knowledge_os"):
        history.accept("knowledge_os", {K: 1}, None, "slip", "ann", NOW, table="expert")


def test_the_identity_to_compare_with_is_the_last_accepted_one(history: History) -> None:
    assert history.last_identity("knowledge_os") is None
    history.record(seen(0, 85))
    history.record(seen(1, 85, identity=None))
    old = SEEN.model_copy(update={"checkpoint_lsn": "0/1"})
    history.record(seen(2, 85, accepted=False, identity=old))
    assert history.last_identity("knowledge_os") == SEEN


def last_alert(history: History, telling: Telling) -> Alert | None:
    """What whoever decides is shown."""
    seen: list[Alert | None] = []
    begin_alert(history, telling, seen.append)
    return seen[0]


def test_pins_alerts_and_runs_are_kept(history: History) -> None:
    pin = Pin(target="t", system_identifier="7", volume=None, pinned_at=NOW, reason="first sight")
    history.set_pin(pin)
    history.set_pin(pin.model_copy(update={"volume": "v"}))
    assert history.pin("t") == pin.model_copy(update={"volume": "v"})
    told = Alert(target="t", verdict="critical", fingerprint="a", sent_at=NOW, delivered=True)
    telling = Telling(target="t", what=ALERT, verdict="critical", fingerprint="a", since=NOW)
    for delivered in (False, True):
        begun = begin_alert(history, telling, lambda _last: "new")
        assert begun is not None
        end_alert(history, begun[1], delivered=delivered)
    assert last_alert(history, telling) == told
    assert last_alert(history, telling.model_copy(update={"target": "other"})) is None
    run = Run(target="t", kind="backup", started_at=NOW, ended_at=None, outcome="started")
    history.record_run(run)
    history.record_run(run.model_copy(update={"kind": "verify", "ended_at": NOW}))
    assert history.runs("t", "backup") == [run]
    assert len(history.runs("t")) == 2


def test_history_is_rebuilt_from_manifests_and_again_changes_nothing(history: History) -> None:
    backups = [
        manifest(2, 86, identity=SEEN.model_copy(update={"system_identifier": "9"})),
        manifest(1, 85),
        manifest(3, 1, quarantined=True, verdict="critical"),
        manifest(4, 1, target="another"),
    ]
    history.record(seen(1, 85, kind="backup", backup_id="backup-1"))
    assert history.rebuild("knowledge_os", backups) == 1
    before = history.observations("knowledge_os")
    assert [each.counts[E] for each in before] == [85, 86]
    pin = history.pin("knowledge_os")
    assert pin is not None
    assert pin.system_identifier == "9"
    assert history.rebuild("knowledge_os", backups) == 0
    assert history.observations("knowledge_os") == before
    assert history.pin("knowledge_os") == pin
    assert history.baseline("knowledge_os", NOW + timedelta(days=5), 30).highest[E] == 86


def test_rebuilding_leaves_a_newer_pin_alone(history: History) -> None:
    pin = Pin(target="knowledge_os", system_identifier="9", volume="v", pinned_at=NOW + timedelta(days=9), reason="")
    history.set_pin(pin)
    history.rebuild("knowledge_os", [manifest(1, 85)])
    assert history.pin("knowledge_os") == pin


def test_the_frame_has_a_column_for_each_table(history: History) -> None:
    history.record(seen(0, 85))
    history.record(seen(1, 86, counts={E: 86}))
    frame = history.frame("knowledge_os")
    assert list(frame.columns) == [E, K]
    assert frame.index.name == "checked_at"
    assert frame.index[0] == pd.Timestamp(NOW)
    assert frame[E].tolist() == [85, 86]
    assert frame[K].isna().tolist() == [False, True]
    assert history.frame("nobody").empty
    assert history.rows_over_time("knowledge_os") == (list(frame.index), {E: [85, 86], K: [26_337, None]})


def test_opening_again_finds_everything(url: str) -> None:
    with open_history(url) as first:
        first.record(seen(0, 85))
    with open_history(url) as second:
        assert len(second.observations("knowledge_os")) == 1


def test_many_writers_at_once_lose_nothing_and_open_a_new_history_together(url: str) -> None:
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            with open_history(url, busy_seconds=30) as mine:
                for number in range(10):
                    mine.record(seen(number, worker, schema_objects={"table a": "1"}))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert failures == []
    with open_history(url) as opened:
        assert len(opened.observations("knowledge_os")) == 40


def test_a_new_sqlite_history_is_opened_by_many_at_the_same_instant(tmp_path: Path) -> None:
    """The folder, the file and its journal mode are each made by one of them, and none of the others fails at it."""
    crowd = 8
    for attempt in range(25):
        together = threading.Barrier(crowd)

        def open_it(
            url: str = f"sqlite:///{tmp_path}/{attempt}/history.db", start: threading.Barrier = together
        ) -> bool:
            start.wait(120)
            with open_history(url, busy_seconds=30) as mine:
                return mine.targets() == []

        with ThreadPoolExecutor(crowd) as pool:
            assert all(each.result(300) for each in [pool.submit(open_it) for _ in range(crowd)])


def test_a_newer_schema_is_refused(url: str) -> None:
    with open_history(url) as opened, opened._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE rollcall_schema SET version = 99")
    with pytest.raises(HistoryError, match="written by a newer Rollcall"):
        open_history(url)


def test_a_sqlite_history_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state" / "history.db"
    with open_history(f"sqlite:///{path}") as opened:
        opened.record(seen(0, 85))
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert set(modes) == {"history.db", "history.db-wal", "history.db-shm"}
        assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_locked_sqlite_history_is_said_after_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with open_history(f"sqlite:///{path}", busy_seconds=0.2) as opened:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(HistoryError, match="another process keeps it locked"):
                opened.record(seen(0, 85))
            assert opened.observations("knowledge_os") == []
        finally:
            other.close()
        opened.record(seen(0, 85))


def test_a_read_only_sqlite_history_can_be_read_and_says_why_not_written(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with open_history(f"sqlite:///{path}") as opened:
        opened.record(seen(0, 85))
    with open_history(f"sqlite:///file:{path}?mode=ro&uri=true") as opened:
        assert len(opened.observations("knowledge_os")) == 1
        with pytest.raises(HistoryError, match="it is read-only"):
            opened.record(seen(1, 85))


@pytest.mark.parametrize("content", [b"this is no database at all, " * 100, None], ids=["text", "torn"])
def test_a_damaged_sqlite_history_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "history.db"
    with open_history(f"sqlite:///{path}") as opened:
        opened.record(seen(0, 85))
    whole = path.read_bytes()
    path.write_bytes(content or whole[:100] + os.urandom(len(whole) - 100))
    with pytest.raises(HistoryError, match=r"damaged.*rebuild"):
        open_history(f"sqlite:///{path}")


def test_a_path_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"cannot be opened: (not a directory|file exists)"):
        open_history(f"sqlite:///{tmp_path}/file/history.db")
    with pytest.raises(HistoryError, match="cannot be opened"):
        open_history(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense with s3cret",
        "postgresql+nonsense://u:s3cret@h/d",
        "postgresql+psycopg://u:s3cret@127.0.0.1:1/d",
        "postgresql+psycopg://u@127.0.0.1:1/d?password=s3cret",
        "postgresql+psycopg://u:s3cret@127.0.0.1:notaport/d",
        "mysql+pymysql://u:s3cret@127.0.0.1/d",
    ],
)
def test_a_history_that_cannot_be_reached_is_said_without_the_password(url: str) -> None:
    with pytest.raises(HistoryError) as raised:
        open_history(url, busy_seconds=2)
    assert "s3cret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_wrong_password_is_said_without_it(postgres17: PostgresServer) -> None:
    wrong = URL.create("postgresql", postgres17.user, "s3cret word", postgres17.host, postgres17.port, "postgres")
    with pytest.raises(HistoryError, match="password authentication failed") as raised:
        open_history(wrong.render_as_string(hide_password=False))
    assert "s3cret" not in str(raised.value)
