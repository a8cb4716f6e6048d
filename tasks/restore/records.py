"""The journals of restores that have ended, read as records of what was made live and what was rebuilt."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from tasks.containers.other_files import as_text
from tasks.containers.scratch_place import Place
from tasks.restore.journal import Header, Journal, Line, active_path
from tasks.restore.only_copy import Record

log = logging.getLogger("rollcall")

STARTS = ("start container", "start replacement")


def read_records(state: Path, target: str) -> list[Record]:
    """Every restore of the target that has ended, the oldest first; none at all if the record of one cannot be read:
    what it would tell may be what the others hang on."""
    found = []
    for path in _paths(state, target):
        try:
            found.append(record_of(_read(path)))
        except (OSError, ValueError):
            log.warning("The record of a restore, %s, cannot be read: no record of %s is relied on.", path, target)
            return []
    return sorted(found, key=lambda each: each.begun_at)


def records_of_all(state: Path, targets: Iterable[str]) -> list[Record]:
    """The same of every target on one volume: what a restore of one makes live is live for all. None at all if those of
    one target cannot be read."""
    found = {target: read_records(state, target) for target in targets}
    if any(not records and _paths(state, target) for target, records in found.items()):
        return []
    return sorted((each for records in found.values() for each in records), key=lambda each: each.begun_at)


def _paths(state: Path, target: str) -> list[Path]:
    return sorted(active_path(state, target).with_suffix("").glob("*.journal"))


def _read(path: Path) -> Journal:
    first, *rest = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return Journal(path, Header.model_validate_json(first), [Line.model_validate_json(each) for each in rest])


def record_of(journal: Journal) -> Record:
    """What a journal tells of a restore that has ended."""
    source = journal.header.plan.source
    rebuilt_at = _at(journal, "done", "rebuild")
    return Record(
        run=journal.header.run,
        begun_at=journal.header.begun_at,
        committed_at=_at(journal, "committed"),
        source_volume=source.name if source is not None and source.kind == "volume" else None,
        rebuilt_cluster=journal.facts.get("rebuilt", {}).get("system_identifier") if rebuilt_at else None,
        rebuilt_at=rebuilt_at,
        taken_over=_taken_over(journal),
        served=any(line.event == "starting" and line.step in STARTS for line in journal.lines),
    )


def _taken_over(journal: Journal) -> list[str]:
    """What the kept volume and the live one both hold: copied from the pinned volume, whose data became the kept one's.
    What another volume gave says nothing of files that have the same name there."""
    plan = journal.header.plan
    if plan.taken_over_from != plan.pinned:
        return []
    below = Place(destination=plan.destination, pgdata=plan.pgdata).below
    return [posixpath.join(below, as_text(each)) for each in journal.facts.get("taken_over", [])]


def _at(journal: Journal, event: str, step: str | None = None) -> datetime | None:
    """When that was written first; None if it never was."""
    return next((line.at for line in journal.lines if line.event == event and step in (None, line.step)), None)
