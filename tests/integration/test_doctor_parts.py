"""The doctor's single parts on real ones: clocks, room, the watcher outside, the status API, what runs by itself."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from deployments.doctor_prefect import without_server
from deployments.doctor_status_api import status_api_diagnosis
from deployments.serving.service import only_service
from deployments.status_server import serve_api
from tasks.config import Config, load
from tasks.doctor.clocks import clock_diagnoses, now
from tasks.doctor.diagnosis import Diagnosis
from tasks.doctor.outside import ping_diagnoses
from tasks.doctor.shelf import shelf_diagnoses
from tasks.history.backups import remember_stored
from tasks.history.records import Observation, StoredBackup
from tasks.history.store import open_history
from tasks.models import Identity, Manifest, StoredObject, Tally
from tasks.storage import open_storage
from tasks.storage.catalogue import write_manifest
from tasks.storage.contract import put_bytes
from tests.bed.ports import free_port
from tests.bed.recorder import HttpRecorder
from tests.bed.s3 import S3Endpoint

HOUR = timedelta(hours=1)
SECRET = "5f0c-hunter2"
IDENTITY = Identity(
    container="c", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17.2"
)


def configured(folder: Path, sections: dict[str, Any] | None = None, **rules: Any) -> Config:
    """One target `t` on a local storage `near`."""
    target = {"container": "nobody", "volume": "v", "database": "d", "storages": ["near"]} | rules
    storages = {"near": {"type": "local", "path": "near"}}
    document: dict[str, Any] = {"storages": storages, "targets": {"t": target}} | (sections or {})
    (folder / "targets.yaml").write_text(json.dumps(document))
    return load(str(folder / "targets.yaml"))


# Clocks


def with_bucket(folder: Path, server: S3Endpoint, bucket: str) -> Config:
    (folder / "secret").write_text(server.secret_key)
    (folder / "key").write_text(server.access_key)
    far = {
        "type": "s3", "bucket": bucket, "endpoint_url": server.endpoint_url, "region": "us-east-1",
        "access_key_id": {"file": "key"}, "secret_access_key": {"file": "secret"},
    }  # fmt: skip
    return configured(folder, {"storages": {"far": far}}, storages=["far"])


@pytest.mark.parametrize(("ahead", "well"), [(timedelta(0), True), (HOUR, False), (-HOUR, False)])
def test_the_clocks_of_the_engine_and_of_an_s3_server_are_compared_with_ours(
    engine: docker.DockerClient, s3_server: S3Endpoint, s3_bucket: str, tmp_path: Path, ahead: timedelta, well: bool
) -> None:
    found = list(clock_diagnoses(with_bucket(tmp_path, s3_server, s3_bucket), lambda: now() + ahead))
    assert [(each.subject, each.well) for each in found] == [("engine: clock", well), ("storage far: clock", well)]
    assert well or all(re.search(r" 3,(5\d\d|600) s apart", each.words) for each in found)


def test_the_clock_of_a_server_that_refuses_us_is_read_all_the_same(
    engine: docker.DockerClient, s3_server: S3Endpoint, tmp_path: Path
) -> None:
    config = with_bucket(tmp_path, s3_server, "no-such-bucket")
    (tmp_path / "secret").write_text("wrong")
    assert [each.well for each in clock_diagnoses(config)] == [True, True]


def test_a_storage_that_is_away_says_no_time(engine: docker.DockerClient, tmp_path: Path) -> None:
    away = S3Endpoint(f"http://127.0.0.1:{free_port()}", "key", "secret")
    found = list(clock_diagnoses(with_bucket(tmp_path, away, "bucket")))
    assert [each.subject for each in found] == ["engine: clock"]


# Room


def backed_up(config: Config, packed: int, raw: int) -> None:
    """A backup that says that it has so many bytes; nobody reads its dump here, which has none."""
    at = datetime.now(UTC)
    dump = StoredObject(
        storage="near", key="t/b1/d.dump", bytes=packed, sha256="0" * 64, role="dump", database="d", raw_bytes=raw
    )
    manifest = Manifest(
        id="b1", target="t", created_at=at, verdict="healthy", quarantined=False, method="dump", server_version="17",
        database="d", objects=[dump], tally=Tally(counts={}), identity=IDENTITY,
    )  # fmt: skip
    near = open_storage("near", config.storages["near"])
    put_bytes(near, dump.key, b"")
    write_manifest(near, manifest)


@pytest.mark.parametrize(
    ("packed", "raw", "lacking"),
    [
        (1, 1, set()),
        (7, 0, {"room in near", "room in the state folder"}),
        (1, 9, {"room in the state folder"}),
    ],
)
def test_room_for_the_next_dump_and_for_what_a_restore_fetches(
    small_disk: Callable[[int], Path], packed: int, raw: int, lacking: set[str]
) -> None:
    """On a disk of 8 MiB, a backup of so many MiB, packed and unpacked."""
    config = configured(small_disk(8))
    Path(config.storages["near"].path).mkdir()  # type: ignore[union-attr]
    backed_up(config, packed << 20, raw << 20)
    found = {each.subject.removeprefix("t: "): each for each in shelf_diagnoses(config, "t")}
    assert found.keys() == {"room in near", "room in the state folder"}
    assert {subject for subject, each in found.items() if not each.well} == lacking


# The watcher outside


def outside(config: Config) -> dict[str, Diagnosis]:
    return {each.subject: each for each in ping_diagnoses(config, "t")}


def test_the_watcher_outside_is_reached_and_not_called(
    http_recorder: HttpRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PING", f"{http_recorder.url}{SECRET}")
    monkeypatch.setenv("PING_DRILL", f"http://127.0.0.1:{free_port()}/{SECRET}")
    found = outside(configured(tmp_path, ping={"url": {"env": "PING"}, "drill": {"env": "PING_DRILL"}}))
    assert {subject: each.well for subject, each in found.items()} == {
        "t: ping of backup, verify": True,
        "t: ping of drill": False,
    }
    assert "cannot be reached (ConnectionRefusedError)" in found["t: ping of drill"].words
    assert (http_recorder.paths, http_recorder.messages) == ([], [])
    assert not any(SECRET in each.words for each in found.values())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "The environment variable PING is not set"),
        (SECRET, "holds no URL"),
        (f"https://127.0.0.1:99999/{SECRET}", "a port that cannot be"),
        (f"https://127.0.0.1/{SECRET}/start", "ends with /start, which is added to it"),
        ("https://{plain}/" + SECRET, "cannot be reached (SSLError)"),
    ],
)
def test_a_url_that_cannot_be_called_is_told(
    url: str | None, said: str, http_recorder: HttpRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PING", raising=False)
    if url:
        monkeypatch.setenv("PING", url.format(plain=http_recorder.url.split("/")[2]))
    (told,) = outside(configured(tmp_path, ping={"url": {"env": "PING"}})).values()
    assert not told.well
    assert said in told.words
    assert SECRET not in told.words


@pytest.mark.parametrize("proxy", ["http://me:hunter2@proxy.example:99999", "proxy.example:port", "http://[::1"])
def test_a_proxy_that_cannot_be_is_told(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PING", f"https://hc.example/{SECRET}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    (told,) = outside(configured(tmp_path, ping={"url": {"env": "PING"}})).values()
    assert not told.well
    assert told.words == "The proxy for https:// that the environment names has an address that cannot be."


def test_nobody_outside_is_no_diagnosis(tmp_path: Path) -> None:
    assert outside(configured(tmp_path)) == {}


# The status API


def test_the_status_api_has_its_port_or_answers_there(tmp_path: Path) -> None:
    config = configured(tmp_path, {"api": {"port": free_port()}})
    assert "is free for it" in status_api_diagnosis(config).words
    served = serve_api(config)
    try:
        stranger = status_api_diagnosis(config)
        assert not stranger.well, "an API answers, and no serve of this configuration runs"
        with only_service(config.state):
            mine = status_api_diagnosis(config)
        assert (mine.well, mine.words) == (True, f"It answers on 127.0.0.1, port {config.api.port}.")
    finally:
        served.stop()


def test_another_program_on_the_status_apis_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = configured(tmp_path, {"api": {"port": other.getsockname()[1]}})
        told = status_api_diagnosis(config)
    assert not told.well
    assert "address already in use" in told.words
    assert "It is not this configuration's rollcall serve that listens there." in told.words


@pytest.mark.parametrize(
    ("api", "said"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines and api.token is not set"),
        ({"token": {"env": "UNSET"}}, "The environment variable UNSET is not set"),
        ({"host": "192.0.2.1"}, "can be reached from other machines"),
    ],
)
def test_where_the_status_api_may_not_listen_is_told(
    api: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    told = status_api_diagnosis(configured(tmp_path, {"api": {"port": free_port()} | api}))
    assert not told.well
    assert said in told.words


# What runs by itself, where no server is known


def test_without_a_server_it_counts_what_was_done_lately(tmp_path: Path) -> None:
    config = configured(tmp_path)
    at = datetime.now(UTC)

    def told(later: timedelta = timedelta(0)) -> Diagnosis:
        return next(without_server(config, at + later))

    def done(checks: list[timedelta], backups: list[timedelta]) -> None:
        """So long ago."""
        with open_history(config.history) as history:
            for ago in checks:
                seen = Observation(
                    target="t", checked_at=at - ago, kind="verify", verdict="healthy", identity=IDENTITY, accepted=True
                )
                history.record(seen)
            stored = [
                StoredBackup(
                    target="t", id=f"b{ago}", created_at=at - ago, quarantined=False, stored={"near": 1}, raw_bytes=1,
                    seconds=1,
                )
                for ago in backups
            ]  # fmt: skip
            remember_stored(history, "t", stored, complete=True)

    assert "there was no check and no good backup lately: nothing runs by itself" in told().words
    # What a person may have typed a minute ago, and then once more.
    done([timedelta(0)], [timedelta(0)])
    assert "nothing here shows that backup and verify go on by themselves" in told().words
    done([timedelta(minutes=1)], [timedelta(0), timedelta(minutes=2)])
    assert not told().well
    done([timedelta(minutes=15)], [timedelta(0)])
    assert "nothing here shows that backup goes on by itself" in told().words
    done([], [timedelta(0), 24 * HOUR])
    assert told().well
    # Of long ago.
    done([], [timedelta(0), 90 * HOUR])
    assert "nothing here shows that backup goes on by itself" in told().words
    by_hand = configured(tmp_path, schedules={"backup": "never"})
    assert next(without_server(by_hand, at)).well
    done([], [timedelta(0), 24 * HOUR])
    assert "there was no check lately" in told(2 * HOUR).words
    assert "there was no check and no good backup lately" in told(27 * HOUR).words
    never = configured(tmp_path, schedules=dict.fromkeys(("backup", "verify", "drill"), "never"))
    assert next(without_server(never, at)).words == "By the configuration, nothing runs by itself."
