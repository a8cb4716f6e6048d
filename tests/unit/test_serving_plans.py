"""What came due while a renewal was tried is started, though the try that is through is not the one that began it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deployments.serving import plans
from deployments.serving.left_over import Run
from deployments.serving.plans import Plans
from deployments.serving.wanted import Wanted, wanted
from tasks.config import load
from tasks.errors import RollcallError

CONFIG = """
storages: {local: {type: local, path: ./backups}}
schedules: {backup: "* * * * *", verify: never, drill: never}
targets: {shop: {container: c, volume: v, database: d, user: u, storages: [local]}}
"""


class Away:
    """Prefect's API in the place of one that fails at the wrong moment, which no real one does when asked to."""

    def __init__(self) -> None:
        self.since = datetime.now(UTC) - timedelta(hours=1)
        self.fails = False
        self.started: list[str] = []

    def schedules_before(self, asked: list[Wanted]) -> dict[str, datetime]:
        return {each.name: self.since for each in asked if each.cron}

    def next_run(self, _: UUID) -> datetime:
        if self.fails:
            raise RollcallError("Prefect's API does not answer any more.")
        return datetime.now(UTC) + timedelta(minutes=1)

    def runs_due(self, _deployed: Mapping[UUID, Wanted], _now: datetime) -> list[Run]:
        return []

    def start_now(self, _: UUID, key: str) -> None:
        self.started.append(key)


@pytest.fixture
def asked(tmp_path: Path) -> list[Wanted]:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    return wanted(load(str(tmp_path / "targets.yaml")), tmp_path / "targets.yaml")


def test_what_fell_between_is_started_by_the_try_that_is_through(
    asked: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away()
    monkeypatch.setattr(plans, "applied", lambda: away)
    mine = Plans(threading.Event())
    deployed = {uuid4(): each for each in asked}
    mine.note(asked)
    away.since, away.fails = datetime.now(UTC) + timedelta(hours=1), True  # as a deployment that is made anew
    with pytest.raises(RollcallError):
        mine.complete(deployed)
    assert not mine.done and away.started == []

    mine.note(asked)
    away.fails = False
    mine.complete(deployed)
    assert mine.done and len(away.started) == 1
    assert mine.next_runs.keys() == {"backup/shop"}

    mine.note(asked)
    mine.complete(deployed)
    assert len(away.started) == 1, "what a try that is through has noted is over"


def test_what_came_due_while_prefect_had_lost_its_deployments_is_made_up_for(
    asked: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away()
    monkeypatch.setattr(plans, "applied", lambda: away)
    monkeypatch.setattr(away, "schedules_before", lambda _: {})
    mine = Plans(threading.Event())
    mine.note(asked, {"backup/shop": datetime.now(UTC) - timedelta(minutes=5)})
    mine.complete({uuid4(): each for each in asked})
    assert len(away.started) == 1
