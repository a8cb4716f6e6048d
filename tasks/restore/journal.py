"""The journal of a restore: what is about to be done, what is done, and whether it is committed; fsynced line by line.

Prefect's hooks and transactions do not survive a killed process; this file does. It holds no secret: names, ids and
folder numbers only. One per target, `STATE/restores/TARGET.journal`; when the restore has come to an end either way, it
is renamed to `STATE/restores/TARGET/RUN.journal` and stays as the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from tasks.containers.engine import EngineIdentity
from tasks.errors import ConfigError, NeedsRecover
from tasks.models import Model
from tasks.restore.plan import Plan

Event = Literal["planned", "starting", "done", "undoing", "undone", "committed", "ended"]


class Before(Model):
    """The target's container as the restore found it."""

    running: bool
    looping: bool = False  # It ended by itself, and the engine restarted it again and again.
    healthy: bool  # It runs, and its healthcheck, where it has one, is green.
    restart_policy: dict[str, Any]


class Header(Model):
    """What the journal begins with: the run, the approved plan, who approved it, how helpers are labelled, how the
    container was, and on which engine all of it is."""

    run: str
    plan: Plan
    approved_by: str
    owner: str
    staging: str
    begun_at: datetime
    before: Before
    engine: EngineIdentity


class Line(Model):
    """One line after the first. facts: what is needed to undo or finish the step, known before the step begins."""

    at: datetime
    event: Event
    step: str = ""
    facts: dict[str, Any] = {}


class Journal:
    """An active journal: read whole at opening, appended to from then on.

    A last line that was torn by a power loss counts as not written: what it was about had not begun.
    """

    def __init__(self, path: Path, header: Header, lines: list[Line]) -> None:
        self.path, self.header, self.lines = path, header, lines

    @classmethod
    def begin(cls, state: Path, header: Header) -> Self:
        """Start the journal of a new restore. Raise NeedsRecover if an earlier one of this target has not ended."""
        path = active_path(state, header.plan.target)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            journal = cls(path, header, [])
            text = f"{header.model_dump_json()}\n"
            partial = path.with_suffix(".new")
            write_durably(partial, text)
            if path.exists():
                raise NeedsRecover(interrupted(header.plan.target))
            partial.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            raise ConfigError(
                f"The journal {path} cannot be written: {error.strerror}; nothing was touched."
            ) from error
        return journal

    @classmethod
    def active(cls, state: Path, target: str) -> Self | None:
        """The journal of an interrupted restore of `target`; None where there is none.

        Raise NeedsRecover where its first line cannot be read.
        """
        path = active_path(state, target)
        try:
            first, *rest = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise NeedsRecover(
                f"The journal {path} cannot be read ({error}); mend that, then recover again."
            ) from error
        try:
            header = Header.model_validate_json(first)
        except ValidationError as error:
            raise NeedsRecover(
                f"The journal {path} is damaged in its first line: look at the containers and volumes that carry the "
                "label io.rollcall.run by hand, then move the file away."
            ) from error
        return cls(path, header, _whole(rest))

    def write(self, event: Event, step: str = "", facts: Mapping[str, Any] | None = None) -> None:
        """Append one line; it is on the disk when this returns. Raise NeedsRecover if it cannot be."""
        line = Line(at=datetime.now(UTC), event=event, step=step, facts=dict(facts or {}))
        try:
            # After a torn line a new one must not be glued to it.
            torn = self.path.read_bytes()[-1:] != b"\n"
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if torn else "") + f"{line.model_dump_json()}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise NeedsRecover(f"The journal {self.path} cannot be written: {error.strerror}.") from error
        self.lines.append(line)

    def end(self) -> Path:
        """The restore has come to its end: keep the journal as the record. Return where it is."""
        self.write("ended")
        record = self.path.with_suffix("") / f"{self.header.run}.journal"
        try:
            record.parent.mkdir(exist_ok=True, mode=0o700)
            self.path.rename(record)
            sync_folder(record.parent)
            sync_folder(self.path.parent)
        except OSError as error:
            raise NeedsRecover(f"The journal cannot be moved to {record}: {error.strerror}.") from error
        return record

    @property
    def facts(self) -> dict[str, Any]:
        """All facts so far, later ones over earlier ones."""
        return {key: value for line in self.lines for key, value in line.facts.items()}

    @property
    def committed(self) -> bool:
        """Whether the restore counts: from then on it is finished, before it is undone."""
        return any(line.event == "committed" for line in self.lines)

    @property
    def touched(self) -> bool:
        """Whether anything but a staging volume was touched."""
        return any(line.event == "starting" and line.step != "rebuild" for line in self.lines)

    @property
    def undoing(self) -> bool:
        """Whether it was being undone: then it is not taken up again."""
        return any(line.event in ("undoing", "undone") for line in self.lines)

    def started(self) -> list[str]:
        """The steps that were begun and are not undone, in order."""
        names = list(dict.fromkeys(line.step for line in self.lines if line.event == "starting"))
        undone = {line.step for line in self.lines if line.event == "undone"}
        return [name for name in names if name not in undone]

    def is_done(self, step: str) -> bool:
        """Whether the step came to its end."""
        return any(line.event == "done" and line.step == step for line in self.lines)


def active_path(state: Path, target: str) -> Path:
    """Where the journal of a restore that has not ended is."""
    return state / "restores" / f"{target}.journal"


def interrupted(target: str) -> str:
    """The sentence about a restore that has not ended."""
    return f"A restore of {target} was interrupted and has not ended. Finish or undo it: rollcall recover {target}"


def interrupted_beside(other: str, target: str) -> str:
    """The sentence about a restore of `other`, which shares a container or a volume with `target`."""
    return (
        f"A restore of {other}, which is on the container or volume of {target} too, has not ended. If none is at work "
        f"any more, finish or undo it: rollcall recover {other}"
    )


def beside(state: Path, target: str, others: Iterable[str]) -> str | None:
    """The same, if one of `others`, the targets that share something with it, has such a restore; else None."""
    found = [each for each in others if each != target and active_path(state, each).exists()]
    return interrupted_beside(found[0], target) if found else None


def _whole(lines: list[str]) -> list[Line]:
    """The lines that are whole."""
    found: list[Line] = []
    for text in lines:
        if not text:
            continue
        try:
            found.append(Line.model_validate_json(text))
        except ValidationError:
            # A torn line was followed by whole ones when a later recover went on: those count.
            continue
    return found


def write_durably(path: Path, text: str) -> None:
    """Write a file of ours alone; it is on the disk when this returns. Raise OSError."""
    with path.open("w", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries onto the disk. Raise OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
