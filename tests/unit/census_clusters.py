"""Clusters and expectations for the tests of the census: those of the incident."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.config import Target
from tasks.containers.clusters import ClusterVolume
from tasks.containers.control_file import ControlFile
from tasks.containers.volumes import Volume
from tasks.history.records import Baseline
from tasks.restore.ranking import Expected

PINNED = "7000000000000000001"
OTHER = "7000000000000000002"
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
FULL = {"public.experts": 85, "public.knowledge_nodes": 26337}
EMPTY = {"public.experts": 1, "public.knowledge_nodes": 27}
HISTORY = Baseline(FULL, FULL)


def cluster(volume: str = "some", identifier: str = OTHER, hours: float = 0, size: int | None = 1) -> ClusterVolume:
    when = FEBRUARY + timedelta(hours=hours)
    return ClusterVolume(
        volume=Volume(name=volume, driver="local", labels={}, options={}, created_at="", mountpoint="", users=[]),
        path="",
        major="17",
        control=ControlFile(
            system_identifier=identifier,
            control_version=1700,
            catalog_version=202406281,
            state="shut down",
            checkpoint_lsn="0/1500718",
            timeline=1,
            changed_at=when,
            checkpoint_at=when,
        ),
        bytes=size,
    )


def expected(pinned: str | None = PINNED, baseline: Baseline = HISTORY, **tables: int) -> Expected:
    rules: dict[str, Any] = {"experts": {"min": 80}, "knowledge_nodes": {"min": 10000}}
    if tables:
        rules = {name: {"min": least} for name, least in tables.items()}
    target = Target.model_validate(
        {"container": "c", "volume": "right", "database": "d", "storages": ["s"], "tables": rules}
    )
    return Expected("knowledge_os", target, pinned, baseline)
