"""Load a backup into a scratch server in degrees: one object that cannot be made again takes nothing else with it.

Everything goes in at once first, by several jobs. What fails of the last section, which holds no rows, is tried again
by itself. Where rows or what they need fail, the database is made once more, section by section with one job: an
order, a search path or a constraint may have been the cause.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.alerts.progress import meter
from tasks.config import Config
from tasks.containers.leashed import ProgramFailed
from tasks.containers.scratch import Scratch
from tasks.containers.scratch_settings import PORT
from tasks.databases import archive, archive_errors, extensions, load
from tasks.databases.archive import Entry, Hindrance, Paths
from tasks.databases.archive_errors import Failure
from tasks.databases.connect import Login, connect
from tasks.errors import DoesNotRestore
from tasks.models import Difference, DifferenceKind, Manifest
from tasks.restore.fetch import Fetched, bytes_in, of_role, unpack

log = logging.getLogger("rollcall")

MOST_JOBS = 4
MOST_NAMED = 3
UNPACK = 0.1  # of a database's own part


class Backup:
    """A backup on its way into a scratch server."""

    def __init__(self, config: Config, target: str, manifest: Manifest, fetched: Sequence[Fetched]) -> None:
        self.target, self.manifest, self.fetched = target, manifest, fetched
        self.deadline = config.target(target).deadline
        self.user = str(manifest.cluster["bootstrap_user"])
        self.major = load.major_of(manifest.server_version)
        self.tallies = {manifest.database: manifest.tally, **manifest.databases}
        self.files = {each.name: each.file.read_bytes() for each in of_role(fetched, "config")}
        # postgresql.auto.conf comes after postgresql.conf, and wins (PostgreSQL documentation, Setting Parameters).
        texts = [self.files[name].decode(errors="replace") for name in ("postgresql.conf", "postgresql.auto.conf")
                 if name in self.files]  # fmt: skip
        self.settings = load.settings_in(texts)
        # The server's own word counts more; a role that may not read all of it leaves some to the files.
        self.server_settings = {**self.settings, **load.server_settings(manifest)}
        self.globals = [
            load.loadable_globals(each.file.read_bytes(), self.user) for each in of_role(fetched, "globals")
        ]


class Loaded(NamedTuple):
    """What could not be made again as it was, and what was made in another way than pg_restore's, a sentence each."""

    not_made: list[Difference]
    notes: list[str]


def jobs() -> int:
    """How many programs work at once."""
    return max(1, min(MOST_JOBS, os.cpu_count() or 1))


def login_to(server: Scratch, database: str) -> Login:
    """How to log in to a database of a scratch server."""
    return Login(str(server.socket), PORT, server.user, None, database, {"role": "none", **load.NO_LIBRARIES})


def load_databases(backup: Backup, server: Scratch, archives: Path) -> Loaded:
    """Every database, one after the other: only one unpacked archive needs room at a time. Raise DoesNotRestore where
    rows, or what all else needs, cannot be loaded."""
    dumps = of_role(backup.fetched, "dump")
    raw = [each.object.raw_bytes or each.object.bytes for each in dumps]
    loaded = Loaded([], [])
    for number, each in enumerate(dumps, 1):
        file, name = archives / "archive", str(each.object.database)
        place = f"{name}, {number} of {len(dumps)}" if len(dumps) > 1 else name
        with meter().stage(share=raw[number - 1] / max(1, sum(raw))):
            log.info("%s: unpacking %s", backup.target, place)
            _unpack(each, place, file, raw[number - 1])
            log.info("%s: loading %s (%.0f MB)", backup.target, place, file.stat().st_size / 1e6)
            found = _load(backup, server, name, place, file)
            loaded = Loaded(loaded.not_made + found.not_made, loaded.notes + found.notes)
            file.unlink()
    return loaded


def _load(backup: Backup, server: Scratch, name: str, place: str, file: Path) -> Loaded:
    size = file.stat().st_size
    # On the disk, indexes make up for the text that numbers are in an archive, more or less.
    with meter().stage(f"loading {place}", 1 - UNPACK, done=server.newest_bytes, total=lambda: size):
        return _Database(backup, server, name, file.parent).load()


def _unpack(each: Fetched, place: str, file: Path, raw_bytes: int) -> None:
    with meter().stage(f"unpacking {place}", UNPACK, done=lambda: bytes_in(file.parent), total=lambda: raw_bytes):
        unpack(each, file)
    file.chmod(0o644)  # The server's user reads it; nobody else passes through the folder above.
    each.file.unlink()


class _Database:
    """One database and its archive."""

    def __init__(self, backup: Backup, server: Scratch, name: str, archives: Path) -> None:
        self._backup, self._server, self._name, self._archives = backup, server, name, archives
        self._into = (name, backup.user)
        self._notes: list[str] = []
        self._changed: list[Failure] = []
        self._versions: Mapping[str, str] = {}
        self._refused = ""  # why the extensions could not be made in these versions
        self._known: Paths | None = None

    def load(self) -> Loaded:
        """All of it. Raise DoesNotRestore where rows, or what all else needs, cannot be loaded."""
        failed: list[Failure] = []
        try:
            self._make()
        except ProgramFailed as error:
            failed = self._in_degrees(error.said)
        other = self._changed + self._in_another_version()
        not_made = [self._difference(each, "missing") for each in failed]
        return Loaded(not_made + [self._difference(each, "definition") for each in other], self._notes)

    def _make(self) -> None:
        """All at once; where extensions were of another version than the image's own, in three parts. Raise
        ProgramFailed."""
        with connect(login_to(self._server, "template1")) as connection:
            self._versions = extensions.older(connection, self._backup.tallies[self._name])
        if not self._in_parts("", jobs(), self._run):
            self._run(archive.whole_command(*self._into, jobs()))

    def _in_parts(self, section: str, at_once: int, run: Callable[[Sequence[str]], str]) -> list[str]:
        """The database and its schemas, its extensions in their versions, then all else of a section, or of all; what
        was said of each part, nothing where there are no such versions, or they cannot be made."""
        if not self._versions:
            return []
        listed = self._listed(section)
        first = [entry for entry in listed if archive.is_first(entry)]
        self._choose(first)
        said = run(archive.first_command(*self._into))
        self._choose([entry for entry in listed if entry.text.startswith("EXTENSION ")])
        self._refused = self._by_script(edit=extensions.edit(self._versions))
        if self._refused:
            return []
        self._choose([entry for entry in listed if entry not in first])
        return [said, run(archive.chosen_command(*self._into, at_once))]

    def _in_another_version(self) -> list[Failure]:
        why = f"it could not be made in the version that it had: {self._refused}"
        return [Failure(Entry(0, f"extension {name}"), why) for name in self._versions if self._refused]

    def _difference(self, failure: Failure, kind: DifferenceKind) -> Difference:
        objects = self._backup.tallies[self._name].schema_objects
        name = archive.object_of(failure.entry, objects)
        return Difference(kind=kind, database=self._name, object=name, why=failure.why)

    def _in_degrees(self, said: str) -> list[Failure]:
        """What cannot be made after all. said: what pg_restore said of the database as a whole."""
        script = self._run(archive.script_command(archive.POST_DATA))
        found = archive_errors.outcome_of_jobs(said, script, self._listed(archive.POST_DATA))
        return self._by_section() if found.strays or not found.failed else self._again(found.failed, archive.POST_DATA)

    def _by_section(self) -> list[Failure]:
        log.info("%s: loading %s once more, with one job", self._backup.target, self._name)
        failed: list[Failure] = []
        for section in (archive.PRE_DATA, archive.DATA, archive.POST_DATA):
            parts = self._in_parts(section, 1, self._restore) if section == archive.PRE_DATA else []
            said = parts or [self._restore(archive.section_command(*self._into, section))]
            found = archive_errors.outcome("\n".join(said), self._listed(section))
            if found.strays:
                raise self._does_not(found.strays[0])
            failed += self._again(found.failed, section)
            if section == archive.DATA:
                self._require_rows(failed)
        return failed

    def _require_rows(self, failed: Sequence[Failure]) -> None:
        """Whatever of a section of rows is missing is never given up."""
        rows = {entry.number for entry in self._listed(archive.DATA)}
        if rows & {each.entry.number for each in failed}:
            named = [f"{archive.title(each.entry)} ({each.why})" for each in failed]
            more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
            raise self._does_not("; ".join(named[:MOST_NAMED]) + more)

    def _again(self, failed: list[Failure], section: str) -> list[Failure]:
        """Try again what failed of a section, as long as that helps; what is left."""
        if not failed:
            return []
        last = self._without_event_triggers() if section == archive.POST_DATA else []
        loosened: dict[Hindrance, str] = {}
        of_database = [each.entry for each in failed if archive.is_of_database(each.entry)]
        left, before = [each for each in failed if each.entry not in (*last, *of_database)], 0
        while left and len(left) != before:
            before = len(left)
            left = self._one_by_one([each.entry for each in left])
            left = [each for each in left if not self._in_a_path(each)]
            if len(left) == before:
                left = [each for each in left if not self._loosened(each, loosened)]
        self._validate(loosened)
        return left + self._one_by_one(last) + self._properties(of_database)

    def _properties(self, entries: Sequence[Entry]) -> list[Failure]:
        failed = []
        for entry in entries:
            self._choose([entry])
            refused = archive_errors.errors(self._run(archive.properties_command(*self._into)))
            failed += [Failure(entry, "; ".join(refused))] if refused else []
        return failed

    def _without_event_triggers(self) -> list[Entry]:
        """Drop those that are there already; the entries that make them."""
        last = [entry for entry in self._listed(archive.POST_DATA) if archive.is_last(entry)]
        if last:
            self._psql(archive.DROP_EVENT_TRIGGERS)
        return last

    def _one_by_one(self, entries: Sequence[Entry]) -> list[Failure]:
        if not entries:
            return []
        self._choose(entries)
        said = self._restore(archive.chosen_command(*self._into))
        found = archive_errors.outcome(said, entries)
        if found.strays:
            raise self._does_not(found.strays[0])
        return [each for each in found.failed if "already exists" not in each.why]

    def _in_a_path(self, failure: Failure) -> bool:
        """Whether it could be made in a search path of the database's own, where pg_restore's is empty."""
        self._choose([failure.entry])
        for path in archive.search_paths(failure.entry, self._paths()):
            if not self._by_script(path=path):
                self._notes.append(
                    f"In {self._name}, {archive.title(failure.entry)} was made with the search path {path}, as a plain "
                    f"pg_restore, whose is empty, cannot make it ({failure.why})."
                )
                return True
        return False

    def _loosened(self, failure: Failure, loosened: dict[Hindrance, str]) -> bool:
        """Whether a foreign key could be made for new rows, or rows loaded without the constraints of their table."""
        self._choose([failure.entry])
        if failure.entry.text.startswith("FK CONSTRAINT "):
            if self._by_script(edit=archive.NOT_VALID):
                return False
            self._changed.append(Failure(failure.entry, f"{archive.FOR_NEW_ROWS}: {failure.why}"))
            return True
        found = self._hindering(failure.entry)
        before = "".join(each.dropped() for each in found)
        after = archive.STANDARD_STRINGS + "".join(each.made_again() for each in found)
        paths = ["", *archive.search_paths(failure.entry, self._paths())]
        if not found or all(self._by_script(path=path, before=before, after=after) for path in paths):
            return False
        loosened.update(dict.fromkeys(found, failure.why))
        return True

    def _validate(self, loosened: Mapping[Hindrance, str]) -> None:
        """Check what was loosened, now that all rows are there; note what does not hold for them."""
        for each, why in loosened.items():
            entry = Entry(0, each.object)
            paths = ["", *archive.search_paths(entry, self._paths())]
            if all(self._psql(each.validated(), path) for path in paths):
                self._changed.append(Failure(entry, f"{archive.FOR_NEW_ROWS}: {why}"))

    def _hindering(self, entry: Entry) -> list[Hindrance]:
        with connect(login_to(self._server, self._name)) as connection:
            connection.execute(archive.STANDARD_STRINGS)
            rows = connection.execute(archive.HINDERING, {"entry": entry.text}).fetchall()
        return [Hindrance(*row) for row in rows]

    def _paths(self) -> Paths:
        if self._known is None:
            command = [*archive.psql(*self._into), "--tuples-only", "--no-align"]
            self._known = Paths(**json.loads(self._run(command, archive.PATHS)))
        return self._known

    def _listed(self, section: str) -> list[Entry]:
        return archive.entries(self._run(archive.list_command(section)))

    def _choose(self, entries: Sequence[Entry]) -> None:
        file = self._archives / "chosen"
        file.write_text(archive.chosen(entries), encoding="utf-8")
        file.chmod(0o644)

    def _by_script(self, *, path: str = "", before: str = "", edit: str = "", after: str = "") -> str:
        """Why the chosen entries cannot be made by psql; empty where they were."""
        command = archive.by_script_command(*self._into, before=before, edit=edit, after=after)
        return self._reason(command, None, path)

    def _psql(self, script: str, path: str = "") -> str:
        """Why the script fails; empty where it does not."""
        return self._reason(archive.psql(*self._into), script, path)

    def _reason(self, command: Sequence[str], script: str | None, path: str) -> str:
        try:
            self._run(command, script, path)
        except ProgramFailed as error:
            return archive_errors.words(error.said) or error.words
        return ""

    def _restore(self, command: Sequence[str]) -> str:
        """What pg_restore said of what it could not restore; empty where it restored all. Raise DoesNotRestore where it
        did not come to its end."""
        try:
            self._run(command)
        except ProgramFailed as error:
            if "errors ignored on restore" in error.said:
                return error.said
            raise self._does_not(archive_errors.first_words(error.said) or error.words) from error
        return ""

    def _run(self, command: Sequence[str], script: str | None = None, path: str = "") -> str:
        given = None if script is None else [script.encode()]
        environment: Mapping[str, str] = load.session_environment(self._backup.major, path)
        return self._server.run(command, given, self._backup.deadline, environment)

    def _does_not(self, words: str) -> DoesNotRestore:
        return DoesNotRestore(
            f"The database {self._name} of backup {self._backup.manifest.id} cannot be restored: {words}."
        )
