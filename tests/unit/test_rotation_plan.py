"""Rotation is planned for each storage by what that storage holds: none is emptied for what another has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.backups.file import plan_rotation
from tasks.config import Retention
from tasks.models import Identity, Manifest, Tally
from tasks.storage.catalogue import Catalogue, Entry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULE = Retention(last=3, daily=3, weekly=0, monthly=0, quarantined_days=5)


def entry(age: int, *storages: str, cluster: str = "1", quarantined: bool = False, proven: bool = False) -> Entry:
    created = NOW - timedelta(days=age)
    manifest = Manifest(
        id=f"{created:%Y%m%d}-{cluster}",
        target="t",
        created_at=created,
        verdict="critical" if quarantined else "healthy",
        quarantined=quarantined,
        method="dump",
        server_version="17",
        database="d",
        objects=[],
        tally=Tally(counts={}),
        identity=Identity(
            container="c", volume="v", system_identifier=cluster, timeline=1, checkpoint_lsn="0/1", server_version="17"
        ),
    )
    return Entry(manifest, list(storages), created if proven else None)


def deleted(entries: list[Entry], storage: str) -> set[int]:
    """Ages, in days, of what would be deleted."""
    plan = plan_rotation(Catalogue(entries), storage, RULE, NOW)
    return {(NOW - each.manifest.created_at).days for each in entries if each.manifest.id in plan}


def test_a_storage_that_missed_the_newest_keeps_its_own_newest() -> None:
    entries = [*(entry(age, "a") for age in range(5)), *(entry(age, "a", "b") for age in range(5, 9))]
    assert deleted(entries, "a") == {3, 4, 5, 6, 7, 8}
    assert deleted(entries, "b") == {8}


def test_another_cluster_under_the_same_name_displaces_nothing() -> None:
    entries = [
        *(entry(age, "a", cluster="2") for age in range(5)),
        *(entry(age, "a", cluster="1") for age in range(5, 8)),
    ]
    assert deleted(entries, "a") == {3, 4}


def test_a_backup_proven_anywhere_stays_everywhere() -> None:
    entries = [*(entry(age, "a") for age in range(5)), entry(9, "a", proven=True)]
    assert deleted(entries, "a") == {3, 4}


def test_quarantined_ones_go_by_their_own_time_and_never_while_they_are_all() -> None:
    good = [entry(age, "a") for age in range(2)]
    bad = [entry(age, "a", cluster="9", quarantined=True) for age in (3, 7)]
    assert deleted([*good, *bad], "a") == {7}
    assert deleted(bad, "a") == set()
