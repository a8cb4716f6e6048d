"""What pg_restore and psql say of an archive's entries that could not be restored. Pure.

Source: pg_backup_archiver.c and pg_backup_db.c (warn_or_exit_horribly, ExecuteSqlCommand); messages are in English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tasks.databases.archive import Entry

QUOTED = 124  # characters of a failed statement that pg_restore quotes


class Failure(NamedTuple):
    """An entry that was not restored, and the server's or the program's own words."""

    entry: Entry
    why: str


class Outcome(NamedTuple):
    """What pg_restore said. `strays`: errors of no known entry, in its own words."""

    failed: list[Failure]
    strays: list[str]


ERROR = "pg_restore: error: "


def outcome(said: str, listed: Sequence[Entry]) -> Outcome:
    """What a pg_restore of one job and `--verbose` could not restore."""
    known = {entry.number: entry for entry in listed}
    failed: dict[int, Failure] = {}
    strays, current = [], None
    for message in _messages(said):
        if found := re.match(r"pg_restore: from TOC entry (\d+); ", message):
            current = known.get(int(found[1]))
        elif message.startswith(ERROR):
            if current is None:
                strays.append(words(message))
            else:
                failed.setdefault(current.number, Failure(current, words(message)))
    return Outcome(list(failed.values()), strays)


def outcome_of_jobs(said: str, script: str, listed: Sequence[Entry]) -> Outcome:
    """The same of several jobs, which say the statement and no entry. script: what `script_command` prints."""
    known = {entry.number: entry for entry in listed}
    statements = _statements(script)
    failed: dict[int, Failure] = {}
    strays = []
    for message in _messages(said):
        if not message.startswith(ERROR):
            continue
        _, _, statement = message.partition("\nCommand was: ")
        beginning = statement.strip().removesuffix("...")[:QUOTED]
        numbers = [number for number, text in statements.items() if beginning and text.startswith(beginning)]
        if not numbers:
            strays.append(words(message))
        for number in numbers:
            failed.setdefault(number, Failure(known[number], words(message)))
    return Outcome(list(failed.values()), strays)


def _messages(said: str) -> list[str]:
    return re.split(r"^(?=pg_restore: )", said, flags=re.MULTILINE)


def _statements(script: str) -> dict[int, str]:
    """The SQL of each entry by its number."""
    parts = re.split(r"^-- TOC entry (\d+) \(class .*\n(?:--.*\n)*", script, flags=re.MULTILINE)
    return {int(number): text.strip() for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def words(message: str) -> str:
    """The reason in a message of pg_restore or psql, in one line: no detail or context, which may hold a row."""
    first = message.strip().partition("\n")[0]
    return re.sub(r"^.*(?:ERROR|FATAL|error): +", "", first).rstrip(".")


def errors(said: str) -> list[str]:
    """The reasons that psql printed, but for what is there already: --create always adds the database itself."""
    lines = re.findall(r"^psql:<stdin>:\d+: (?:ERROR|FATAL): .*$", said, re.MULTILINE)
    return [words(line) for line in lines if not line.endswith("already exists")]


def first_words(said: str) -> str:
    """The first reason that pg_restore gave: what follows is often only its consequence."""
    return next((words(message) for message in _messages(said) if message.startswith(ERROR)), "")
