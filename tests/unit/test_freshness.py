"""When `verify` warns that no backup was proven."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.checks.shelves import freshness_findings
from tasks.config import Config, load
from tasks.models import Difference, Identity, Manifest, Tally
from tasks.storage.catalogue import Catalogue, Entry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return configured(tmp_path)


def configured(folder: Path, **rules: object) -> Config:
    target: dict[str, object] = {"container": "c", "volume": "v", "database": "d", "storages": ["a"]}
    target |= {"max_age_hours": 50_000, "prove_every_days": 30} | rules
    document = {"storages": {"a": {"type": "local", "path": "a"}}, "targets": {"t": target}}
    (folder / "targets.yaml").write_text(json.dumps(document))
    return load(str(folder / "targets.yaml"))


def entry(age: float, proven: float | None = None, *, quarantined: bool = False) -> Entry:
    """Ages in days."""
    identity = Identity(
        container="c", volume="v", system_identifier="1", timeline=1, checkpoint_lsn="0/1", server_version="17"
    )
    manifest = Manifest(
        id=f"b{age}",
        target="t",
        created_at=NOW - timedelta(days=age),
        verdict="critical" if quarantined else "healthy",
        quarantined=quarantined,
        method="dump",
        server_version="17",
        database="d",
        objects=[],
        tally=Tally(counts={}),
        identity=identity,
    )
    return Entry(manifest, ["a"], None if proven is None else NOW - timedelta(days=proven))


VIEW = Difference(kind="definition", database="d", object="view public.v")
ROWS_ONLY = replace(entry(31), rows_proven_at=NOW - timedelta(days=1), differences=[VIEW])

CASES = [
    ("only the rows are proven", [entry(1), ROWS_ONLY], "and 1 of its definitions differs); run"),
    ("none yet is old enough", [entry(29), entry(1)], None),
    ("old ones and no proof", [entry(1), entry(31)], "none was ever proven"),
    ("a fresh proof", [entry(1), entry(31, 29)], None),
    ("only an old proof", [entry(1), entry(40, 31)], "the last proof is of 2026-10-22"),
    ("of several proofs the last counts", [entry(1, 0.5), entry(40, 31)], None),
    ("the proof of a quarantined one does not count", [entry(1, 0.5, quarantined=True), entry(31)], "none was ever"),
    ("a proof of the future does not count", [entry(1), entry(31, -365)], "none was ever proven"),
    ("a clock that is a little ahead does no harm", [entry(1), entry(31, -0.001)], None),
    ("a quarantined one is not old enough", [entry(1), entry(60, quarantined=True)], None),
]


@pytest.mark.parametrize(("entries", "told"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_a_backup_that_nobody_proved_for_long_is_a_warning(
    config: Config, entries: list[Entry], told: str | None
) -> None:
    found = [
        each for each in freshness_findings(config, "t", Catalogue(entries), NOW) if each.code == "backup.unproven"
    ]
    assert [each.severity for each in found] == ([] if told is None else ["warning"])
    assert told is None or told in found[0].message


@pytest.mark.parametrize(("days", "warned"), [(0, False), (5, True), (100, False)])
def test_how_often_is_set_for_each_target(tmp_path: Path, days: int, warned: bool) -> None:
    found = freshness_findings(configured(tmp_path, prove_every_days=days), "t", Catalogue([entry(31)]), NOW)
    assert ("backup.unproven" in [each.code for each in found]) == warned


def test_without_a_key_the_schedules_say_how_often(tmp_path: Path) -> None:
    def codes(age: float, **schedules: str) -> set[str]:
        config = configured(tmp_path, max_age_hours=None, prove_every_days=None, schedules=schedules)
        return {each.code for each in freshness_findings(config, "t", Catalogue([entry(age)]), NOW)}

    assert codes(1.05) == set()
    assert codes(1.1) == {"backup.stale"}
    assert codes(15) == {"backup.stale", "backup.unproven"}
    assert codes(6, backup="0 2 * * 1") == set()
    assert codes(15, backup="0 2 1 * *", drill="0 4 1 * *") == set()
    assert codes(800, backup="never", drill="never") == set()


def test_no_backup_at_all_is_missed_where_one_is_expected(tmp_path: Path) -> None:
    def codes(*entries: Entry, **rules: object) -> list[str]:
        config = configured(tmp_path, **{"max_age_hours": None, "schedules": {"backup": "never"}} | rules)
        return [each.code for each in freshness_findings(config, "t", Catalogue(list(entries)), NOW)]

    assert codes(schedules={}) == codes(max_age_hours=26) == ["backup.missing"]
    assert codes() == codes(entry(1, quarantined=True)) == []
