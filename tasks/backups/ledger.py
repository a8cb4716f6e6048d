"""What one run has stored so far, and which storages still take part in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from tasks.backups.take import Part
from tasks.errors import DatabaseError, DatabaseUnreachable, StorageError
from tasks.models import StoredObject, Tally
from tasks.storage.catalogue import new_id


class Ledger:
    """The running account of a backup.

    storages: those that took every object so far; only they will get a manifest. failed: the others, and why.
    lost: databases that could not be taken, and why.
    timings: seconds by step. filed: whether a manifest makes it a backup.
    """

    def __init__(self, now: datetime, storages: Sequence[str]) -> None:
        self.id = new_id(now, secrets.token_hex(3))
        self.storages = list(storages)
        self.failed: dict[str, str] = {}
        self.lost: dict[str, DatabaseError] = {}
        self.parts: list[Part] = []
        self.timings: dict[str, float] = {}
        self.filed = False
        self._since = time.monotonic()

    def add(self, part: Part) -> None:
        """Enter what a step stored. Raise StorageError if no storage is left."""
        self.parts.append(part)
        self.drop(part.failed)

    def lose(self, database: str, error: DatabaseError) -> None:
        """Go on without a database that could not be taken. Raise `error` where no server answers any more."""
        if isinstance(error, DatabaseUnreachable):
            raise error
        self.lost[database] = error

    def require_content(self, database: str) -> None:
        """Raise why `database`, the target's own, could not be taken, if no other that was taken holds anything."""
        others = self.others(database).values()
        if database in self.lost and not any(each.counts or each.large_objects for each in others):
            raise self.lost[database]

    def drop(self, failed: Mapping[str, str]) -> None:
        """Leave out storages that failed. Raise StorageError if none is left."""
        self.failed.update(failed)
        self.storages = [name for name in self.storages if name not in self.failed]
        if not self.storages:
            raise StorageError(" ".join(f"{name}: {why}" for name, why in self.failed.items()))

    def file(self, failed: Mapping[str, str]) -> None:
        """The manifest is written, except in storages that failed. Raise StorageError if it is nowhere."""
        self.drop(failed)
        self.filed = True

    def lap(self, step: str) -> None:
        """Note the seconds since the last lap as those of `step`."""
        now = time.monotonic()
        self.timings[step] = round(now - self._since, 3)
        self._since = now

    @property
    def dumps(self) -> list[Part]:
        """The parts that hold a database."""
        return [part for part in self.parts if part.tally is not None]

    @property
    def objects(self) -> list[StoredObject]:
        """Every object in a storage that still takes part."""
        return [each for part in self.parts for each in part.objects if each.storage in self.storages]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(storage, key) of everything stored, wherever it is."""
        return [(each.storage, each.key) for part in self.parts for each in part.objects]

    @property
    def unlisted(self) -> list[str]:
        """Storages that hold something of this run that no manifest lists: all until it is filed, then those that
        dropped out. What is filed is a backup, and stays one whatever fails after."""
        return sorted({storage for storage, _ in self.keys if storage in self.failed or not self.filed})

    def tally_of(self, database: str) -> Tally:
        """The tally of one database; an empty one if it is lost. Raise KeyError if nobody tried to take it."""
        if database in self.lost:
            return Tally(counts={})
        return {part.database: part.tally for part in self.dumps if part.tally}[database]

    def others(self, database: str) -> dict[str, Tally]:
        """The tallies of all databases but this one, by name."""
        return {
            part.database: part.tally
            for part in self.dumps
            if part.database != database and part.database and part.tally
        }

    def replace(self, parts: Sequence[Part]) -> None:
        """Put dumps that were looked at once more in the place of what they were."""
        self.parts = [*(part for part in self.parts if part.tally is None), *parts]
