"""Which backup a restore takes by itself, and which good ones it passes over."""

from datetime import UTC, datetime
from typing import Any

from tasks.models import BEFORE_A_RESTORE, Identity, Manifest, Tally
from tasks.restore.facts import Passed
from tasks.restore.source import entry_called, passed_over
from tasks.storage.catalogue import Catalogue, Entry

IDENTITY = Identity(
    container="pg", volume="data", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17"
)


def taken(day: int, *, proven: bool = False, **more: Any) -> Entry:
    manifest = Manifest(
        id=f"{day}", target="k", created_at=datetime(2026, 2, day, tzinfo=UTC), verdict="healthy", method="dump",
        server_version="17", database="k", objects=[], tally=Tally(counts={}), identity=IDENTITY,
        **({"quarantined": False} | more),
    )  # fmt: skip
    return Entry(manifest, ["near"], datetime(2026, 2, 20, tzinfo=UTC) if proven else None)


def test_the_newest_proven_one_is_taken_and_newer_good_ones_are_counted() -> None:
    bad, aside = taken(9, quarantined=True), taken(8, occasion=BEFORE_A_RESTORE)
    found = Catalogue(backups=[bad, aside, taken(7), taken(6), taken(5, proven=True), taken(4, proven=True)])
    chosen = entry_called(found, "k", None)
    assert chosen.manifest.id == "5"
    assert entry_called(found, "k", "latest").manifest.id == "7"
    assert passed_over(found, chosen) == Passed(number=2, newest="7", created_at=datetime(2026, 2, 7, tzinfo=UTC))


def test_nothing_is_passed_over_where_the_newest_is_taken() -> None:
    for found in (Catalogue(backups=[taken(7, proven=True), taken(6)]), Catalogue(backups=[taken(7), taken(6)])):
        assert passed_over(found, entry_called(found, "k", None)) is None
