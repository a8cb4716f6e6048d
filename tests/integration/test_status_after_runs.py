"""What the status API says after real backups, checks and drills of a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.status_server import serve_api
from flows import drill as drill_flow
from tasks.restore.drill import DrillResult
from tests.bed.postgres import PostgresServer
from tests.bed.target import NAME, Target, target_for


@pytest.fixture
def target(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer], tmp_path: Path
) -> Target:
    made = fresh_database(postgres17)
    made.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
    return target_for(made, tmp_path, databases=[])


@contextmanager
def served(target: Target) -> Iterator[str]:
    settings = target.config
    api = serve_api(settings.model_copy(update={"api": settings.api.model_copy(update={"port": 0})}))
    try:
        yield api.url
    finally:
        api.stop()


def status(target: Target) -> Any:
    with served(target) as url:
        return httpx.get(f"{url}/api/system-metrics", timeout=60, trust_env=False).json()


def metric(target: Target, name: str) -> list[float]:
    with served(target) as url:
        families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=60, trust_env=False).text)
    return [sample.value for family in families for sample in family.samples if sample.name == name]


def drill(target: Target) -> DrillResult:
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    result: DrillResult = run(NAME, str(target.file))
    return result


@pytest.mark.slow
def test_the_incident_and_the_way_out_of_it_show_after_each_run(target: Target) -> None:
    manifest = target.backup()
    told = status(target)["targets"][NAME]
    assert told["last_backup_at"] == manifest.created_at.isoformat().replace("+00:00", "Z")
    assert metric(target, "rollcall_last_backup_size_bytes") == [sum(each.bytes for each in manifest.objects)]
    assert metric(target, "rollcall_last_backup_uncompressed_bytes") == [
        sum(each.raw_bytes for each in manifest.objects)
    ]
    assert metric(target, "rollcall_last_backup_duration_seconds") == [round(sum(manifest.timings.values()), 3)]

    target.verify()
    assert status(target)["db"] == {"healthy": True, "experts": 85}
    assert status(target)["targets"][NAME]["identity_ok"] is True

    proven = drill(target).proven_at
    assert proven is not None
    assert status(target)["targets"][NAME]["last_proven_at"] == proven.isoformat().replace("+00:00", "Z")

    right = target.file.read_text()
    document = json.loads(right)
    document["targets"][NAME]["volume"] = "another_volume"
    target.file.write_text(json.dumps(document))
    target.verify()
    wrong = status(target)
    assert (wrong["db"]["healthy"], wrong["targets"][NAME]["identity_ok"]) == (False, False)
    assert wrong["targets"][NAME]["last_proven_at"] is not None

    target.file.write_text(right)
    target.verify()
    assert status(target)["db"]["healthy"] is True


def test_a_backup_shows_until_somebody_removes_it(target: Target) -> None:
    taken = target.backup().created_at
    assert status(target)["targets"][NAME]["last_backup_at"] == taken.isoformat().replace("+00:00", "Z")
    shutil.rmtree(target.path(NAME))
    target.verify()
    told = status(target)["targets"][NAME]
    assert (told["last_backup_at"], told["verdict"]) == (None, "warning")
    assert [each["code"] for each in told["findings"]] == ["backup.missing"]


def test_a_check_that_cannot_be_done_shows_at_once(target: Target) -> None:
    target.verify()
    shutil.move(target.folder / "password", target.folder / "moved")
    with pytest.raises(Exception, match="password"):
        target.verify()
    told = status(target)["targets"][NAME]
    assert (told["verdict"], told["stale"]) == ("warning", False)
    assert told["findings"][-1]["code"] == "check.failed"
    assert status(target)["db"] == {"healthy": False, "experts": 85}
