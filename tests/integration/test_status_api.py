"""The status API over real HTTP, answering from a real history; its targets' containers do not exist."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from deployments.status_answers import SystemMetrics
from deployments.status_server import ServedApi, serve_api
from tasks.config import Config, load
from tasks.errors import ConfigError, RollcallError, SecretError
from tasks.history.backups import remember_stored
from tasks.history.records import Observation, Run, StoredBackup
from tasks.history.store import History, open_history
from tasks.models import Finding, Identity
from tasks.sections import Schedules

TOKEN = "s3cret-token"
Serve = Callable[[Config], ServedApi]
WRONG_VOLUME = Finding(code="volume.mismatch", severity="critical", message="It mounts another volume.")
NO_COPY = Finding(code="storage.unreachable", severity="warning", message="The storage offsite does not answer.")
RIGHT = Identity(
    container="knowledge_postgres",
    volume="atra_knowledge_postgres_data",
    system_identifier="7300000000000000001",
    timeline=1,
    checkpoint_lsn="16/B374D848",
    server_version="16.4",
)


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asked the Docker engine would fail."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    def make(*targets: str, **api: Any) -> Config:
        rules = {"container": "nowhere", "volume": "v", "database": "d", "host": "127.0.0.1", "port": 1}
        document = {
            "storages": {"local": {"type": "local", "path": "/nowhere/at/all"}},
            "api": api,
            "targets": {name: {**rules, "storages": ["local"]} for name in targets},
        }
        (tmp_path / "targets.yaml").write_text(json.dumps(document))
        settings = load(str(tmp_path / "targets.yaml"))
        # A free port, which no configuration may ask for: nobody would find it.
        return settings.model_copy(update={"api": settings.api.model_copy(update={"port": 0})})

    return make


@pytest.fixture
def serve() -> Iterator[Serve]:
    served: list[ServedApi] = []

    def start(settings: Config) -> ServedApi:
        served.append(serve_api(settings))
        return served[-1]

    yield start
    for each in served:
        each.stop()
        each.thread.join(60)
        assert not each.thread.is_alive()


def record(settings: Config, target: str, age: timedelta = timedelta(minutes=5), **given: Any) -> None:
    fields: dict[str, Any] = {
        "target": target,
        "checked_at": datetime.now(UTC) - age,
        "kind": "verify",
        "verdict": "healthy",
        "counts": {"public.experts": 85, "public.knowledge_nodes": 26_337},
        "identity": RIGHT,
        "accepted": True,
    }
    with open_history(settings.history) as history:
        history.record(Observation.model_validate(fields | given))


def back_up(history: History, target: str, at: datetime, proven_at: datetime | None = None) -> None:
    backup = StoredBackup(
        target=target, id="b1", created_at=at, quarantined=False, stored={"local": 9_500_000}, raw_bytes=27_000_000,
        seconds=3.5, proven_at=proven_at,
    )  # fmt: skip
    remember_stored(history, target, [backup], complete=True)


def answer(api: ServedApi, path: str = "/api/system-metrics", **given: Any) -> httpx.Response:
    return httpx.get(api.url + path, timeout=60, trust_env=False, **given)


def metrics(api: ServedApi) -> dict[tuple[str, ...], float]:
    """Value by name and label values (in the labels' order of name)."""
    response = answer(api, "/metrics")
    assert response.status_code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_the_only_target_is_the_db_that_the_old_dashboard_reads(configured: Any, serve: Serve) -> None:
    settings = configured("knowledge_os")
    record(settings, "knowledge_os")
    at = datetime.now(UTC) - timedelta(hours=2)
    with open_history(settings.history) as history:
        back_up(history, "knowledge_os", at, proven_at=at + timedelta(hours=1))
    response = answer(serve(settings))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["db"] == {"healthy": True, "experts": 85, "knowledge_nodes": 26_337}
    told = SystemMetrics.model_validate(body).targets["knowledge_os"]
    assert (told.verdict, told.identity_ok, told.counts["public.experts"]) == ("healthy", True, 85)
    assert (told.last_backup_at, told.last_proven_at) == (at, at + timedelta(hours=1))


def test_the_incident_shows_in_the_old_fields_and_the_new(configured: Any, serve: Serve) -> None:
    settings = configured("knowledge_os")
    counts = {"public.experts": 1, "public.knowledge_nodes": 27}
    record(settings, "knowledge_os", verdict="critical", findings=[WRONG_VOLUME], counts=counts, accepted=False)
    body = answer(serve(settings)).json()
    assert body["db"] == {"healthy": False, "experts": 1, "knowledge_nodes": 27}
    told = body["targets"]["knowledge_os"]
    assert (told["verdict"], told["identity_ok"]) == ("critical", False)
    assert told["findings"][0]["message"] == WRONG_VOLUME.message


def test_an_old_check_and_none_at_all_are_not_healthy(configured: Any, serve: Serve) -> None:
    settings = configured("old", "new", stale_after_hours=2)
    record(settings, "old", timedelta(hours=2, minutes=1))
    body = answer(serve(settings)).json()
    old, new = body["targets"]["old"], body["targets"]["new"]
    assert (old["verdict"], old["stale"], old["findings"][0]["code"]) == ("warning", True, "check.stale")
    assert (new["verdict"], new["checked_at"], new["findings"][0]["code"]) == ("warning", None, "check.missing")


def test_of_several_targets_db_is_the_one_that_is_named(configured: Any, serve: Serve) -> None:
    settings = configured("a", "b")
    record(settings, "a", counts={"public.x": 1})
    record(settings, "b", counts={"public.x": 2})
    record(settings, "removed", counts={"public.x": 3})
    api = serve(settings)
    assert answer(api).json()["db"] is None
    assert answer(api, params={"target": "b"}).json()["db"] == {"healthy": True, "x": 2}
    assert list(answer(api, params={"target": "b"}).json()["targets"]) == ["a", "b"]
    for unknown in ("removed", "", "b\n"):
        response = answer(api, params={"target": unknown})
        assert response.status_code == 404
        assert response.json() == {"detail": f"There is no target {unknown!r} in the configuration; it has: a, b."}


def test_a_check_that_comes_while_it_runs_is_told_within_moments(configured: Any, serve: Serve) -> None:
    settings = configured("shop")
    api = serve(settings)
    assert answer(api).json()["db"] == {"healthy": False}
    record(settings, "shop", counts={"public.x": 2})
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while (seen := answer(api).json()["db"]) == {"healthy": False}:
        assert datetime.now(UTC) < deadline
    assert seen == {"healthy": True, "x": 2}


def test_a_history_that_cannot_be_read_is_503_and_never_an_old_answer(configured: Any, serve: Serve) -> None:
    settings = configured("shop")
    record(settings, "shop")
    api = serve(settings)
    assert (answer(api, "/healthz").status_code, answer(api, "/healthz").json()) == (200, {"status": "ok"})
    with open_history(settings.history) as history, history.writing() as connection:
        connection.execute(text("UPDATE rollcall_schema SET version = 99"))
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while answer(api, "/healthz").status_code == 200:
        assert datetime.now(UTC) < deadline
    for path in ("/api/system-metrics", "/metrics"):
        response = answer(api, path)
        assert response.status_code == 503
        assert "written by a newer Rollcall" in response.json()["detail"]
    told = answer(api, "/healthz").json()["detail"]
    assert told == "The history cannot be read; the log of `rollcall serve` says why."


def test_metrics_hold_what_the_history_knows(configured: Any, serve: Serve) -> None:
    settings = configured("shop", "new")
    now = datetime.now(UTC)
    record(settings, "shop", verdict="warning", findings=[NO_COPY, NO_COPY], counts={'public."O\\r""d\n"': 3})
    with open_history(settings.history) as history:
        back_up(history, "shop", now - timedelta(hours=1))
        started = now - timedelta(minutes=30)
        history.record_run(
            Run(target="shop", kind="drill", started_at=started, ended_at=now, outcome="not proven", message="b1")
        )
    found = metrics(serve(settings))
    assert found["rollcall_target_verdict", "shop", "warning"] == 1
    assert (
        found["rollcall_target_verdict", "shop", "healthy"] == found["rollcall_target_verdict", "new", "healthy"] == 0
    )
    assert found["rollcall_target_findings", "storage.unreachable", "warning", "shop"] == 2
    assert found["rollcall_target_findings", "check.missing", "warning", "new"] == 1
    assert found["rollcall_table_rows", 'public."O\\r""d\n"', "shop"] == 3
    assert found["rollcall_target_identity_ok", "shop"] == 1
    assert found["rollcall_last_backup_timestamp_seconds", "shop"] == (now - timedelta(hours=1)).timestamp()
    assert found["rollcall_last_backup_size_bytes", "local", "shop"] == 9_500_000
    assert found["rollcall_last_backup_duration_seconds", "shop"] == 3.5
    assert (found["rollcall_last_drill_ok", "shop"], found["rollcall_last_drill_duration_seconds", "shop"]) == (0, 1800)
    assert found["rollcall_check_max_age_seconds", "shop"] == 75 * 60
    assert found["rollcall_backup_max_age_seconds", "shop"] == 26 * 3600
    never = {name for name, *labels in found if "new" in labels}
    assert not never & {"rollcall_last_check_timestamp_seconds", "rollcall_last_backup_timestamp_seconds"}


def test_what_is_never_scheduled_has_no_age_that_is_too_old(configured: Any, serve: Serve) -> None:
    never = Schedules(backup="never", verify="never", drill="never")
    settings = configured("shop").model_copy(update={"schedules": never})
    record(settings, "shop", timedelta(days=400))
    api = serve(settings)
    assert not [name for name, *_ in metrics(api) if name.endswith("max_age_seconds")]
    assert answer(api).json()["targets"]["shop"]["stale"] is False


def test_metrics_keep_the_conventions(configured: Any, serve: Serve) -> None:
    settings = configured("shop")
    record(settings, "shop")
    response = answer(serve(settings), "/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    assert len(families) > 15
    bounded = {
        "target",
        "table",
        "storage",
        "verdict",
        "code",
        "severity",
        "container",
        "volume",
        "database",
        "version",
    }
    for family in families:
        assert re.fullmatch(r"rollcall_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert {label for sample in family.samples for label in sample.labels} <= bounded
        timed = re.search(r"duration|timestamp|age", family.name)
        assert timed is None or family.name.endswith("_seconds")
        assert re.search(r"size|bytes", family.name) is None or family.name.endswith("_bytes")


def test_without_the_token_only_health_is_told(configured: Any, serve: Serve, monkeypatch: Any) -> None:
    monkeypatch.setenv("STATUS_TOKEN", f"{TOKEN}\n")
    api = serve(configured("shop", token={"env": "STATUS_TOKEN"}))
    assert answer(api, "/healthz").status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/api/system-metrics", "/metrics"):
        assert answer(api, path, headers=right).status_code == 200
        for wrong in (
            {},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Basic {TOKEN}"},
            {"X-Token": TOKEN},
        ):
            response = answer(api, path, headers=wrong)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in response.text


def test_a_header_that_is_no_text_is_refused_like_any_other(configured: Any, serve: Serve, monkeypatch: Any) -> None:
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    api = serve(configured("shop", token={"env": "STATUS_TOKEN"}))
    assert answer(api, headers={"Authorization": b"Bearer \xff\xfe"}).status_code == 401


def test_it_only_reads(configured: Any, serve: Serve) -> None:
    api = serve(configured("shop"))
    description = answer(api, "/openapi.json").json()
    assert {tuple(methods) for methods in description["paths"].values()} == {("get",)}
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{api.url}/api/system-metrics", timeout=60, trust_env=False).status_code == 405
    assert answer(api, "/docs").status_code == 404


def test_the_description_explains_every_answer_with_an_example(configured: Any, serve: Serve) -> None:
    description = answer(serve(configured("shop")), "/openapi.json").json()
    assert sorted(description["paths"]) == ["/api/system-metrics", "/healthz", "/metrics"]
    schemas = description["components"]["schemas"]
    for name in ("SystemMetrics", "TargetStatus", "Database", "Health", "Problem"):
        assert schemas[name]["description"]
        assert schemas[name]["examples"]
    SystemMetrics.model_validate(schemas["SystemMetrics"]["examples"][0])
    assert schemas["Database"]["additionalProperties"] == {"type": "integer"}
    assert all(get["summary"] for path in description["paths"].values() for get in path.values())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_it_is_not_shown_to_other_machines_without_a_token(configured: Any, host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        serve_api(configured("shop", host=host))
    assert str(caught.value) == (
        f"api.host {host} can be reached from other machines and api.token is not set: set it, or listen on "
        "127.0.0.1, or set api.allow_without_token: true if something in front of it asks who is there."
    )


@pytest.mark.parametrize("more", [{"token": {"env": "STATUS_TOKEN"}}, {"allow_without_token": True}])
def test_it_may_be_with_a_token_or_when_that_is_said(
    configured: Any, serve: Serve, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    api = serve(configured("shop", host="0.0.0.0", **more))
    assert answer(api, "/healthz").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_loopback_has_many_names(configured: Any, serve: Serve, host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("This machine has no IPv6.")
    assert answer(serve(configured("shop", host=host)), "/healthz").status_code == 200


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_an_address_that_is_taken_or_none_is_one_sentence(configured: Any, serve: Serve) -> None:
    settings = configured("shop")
    port = int(serve(settings).url.rpartition(":")[2])
    taken = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    with pytest.raises(RollcallError) as caught:
        serve_api(taken)
    assert str(caught.value) == (
        f"The status API cannot listen on 127.0.0.1, port {port}: address already in use; "
        "set api.host and api.port to an address that is free."
    )
    with pytest.raises(ConfigError, match=r"api\.host no\.such\.host\.invalid is no address of this machine"):
        serve_api(configured("shop", host="no.such.host.invalid"))


@pytest.mark.parametrize("token", ["", "two words", "naïve"])
def test_a_token_that_nobody_could_send_is_refused_at_the_start(
    configured: Any, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("STATUS_TOKEN", token)
    with pytest.raises(ConfigError, match=r"api\.token is empty, or holds what no HTTP header can"):
        serve_api(configured("shop", token={"env": "STATUS_TOKEN"}))
    monkeypatch.delenv("STATUS_TOKEN")
    with pytest.raises(SecretError, match="STATUS_TOKEN is not set"):
        serve_api(configured("shop", token={"env": "STATUS_TOKEN"}))
