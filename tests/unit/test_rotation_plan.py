"""Rotation is planned for each storage by what that storage holds: none is emptied for what another has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.backups.file import plan_rotation
from tasks.config import Retention
from tasks.models import BEFORE_A_RESTORE, Identity, Manifest, Tally
from tasks.storage.catalogue import Catalogue, Entry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULE = Retention(last=3, daily=3, weekly=0, monthly=0, quarantined_days=5)


def entry(
    age: float, *storages: str, cluster: str = "1", quarantined: bool = False, proven: bool = False, occasion: str = ""
) -> Entry:
    created = NOW - timedelta(days=age)
    manifest = Manifest(
        id=f"{created:%Y%m%dT%H}-{cluster}",
        occasion=occasion,
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


def deleted(entries: list[Entry], storage: str, rule: Retention = RULE) -> set[float]:
    """Ages, in days, of what would be deleted."""
    plan = plan_rotation(Catalogue(entries), storage, rule, NOW)
    return {(NOW - each.manifest.created_at) / timedelta(days=1) for each in entries if each.manifest.id in plan}


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


def test_a_quarantined_one_that_is_its_clusters_only_proven_one_stays_whatever_another_cluster_has() -> None:
    entries = [
        *(entry(age, "a", cluster="2", proven=True) for age in range(2)),
        entry(100, "a", quarantined=True, proven=True),
        entry(101, "a", quarantined=True),
        entry(120, "a"),
    ]
    assert deleted(entries, "a") == {101}


def test_the_newest_of_a_cluster_that_has_no_good_one_stays() -> None:
    entries = [entry(0, "a", cluster="2"), *(entry(age, "a", quarantined=True) for age in (100, 101))]
    assert deleted(entries, "a") == {101}


def test_a_backup_before_a_restore_takes_nobodys_place_and_stays_as_long_as_a_quarantined_one() -> None:
    rule = Retention(last=1, daily=2, weekly=0, monthly=0, quarantined_days=5)
    regular = [entry(age, "a") for age in (0.5, 1.5, 2.5)]
    safety = [entry(age, "a", occasion=BEFORE_A_RESTORE) for age in (0.25, 1.25, 7)]
    assert deleted(regular, "a", rule) == {2.5}
    assert deleted([*safety, *regular], "a", rule) == {2.5, 7}


def test_a_backup_before_a_restore_is_not_the_newest_good_one() -> None:
    regular, safety = entry(1, "a"), entry(0, "a", occasion=BEFORE_A_RESTORE)
    assert Catalogue([safety, regular]).newest_good == regular.manifest.id
    assert Catalogue([safety]).newest_good is None


def test_a_proof_of_another_storages_copy_displaces_no_proof_of_this_ones() -> None:
    own = replace(entry(8, "a", "b", proven=True), proven_in=["b"])
    others = replace(entry(6, "a", "b", proven=True), proven_in=["a"])
    entries = [*(entry(age, "a", "b") for age in range(3)), others, entry(7, "a", "b"), own]
    assert deleted(entries, "b") == {7}
    assert deleted(entries, "a") == {7, 8}
