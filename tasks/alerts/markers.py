"""Which failures were told while the history could not be used, as on a full or damaged disk: a small file for each.

A scheduled run is a process of its own, and each would tell the same again. Where no file can be written either, a
process remembers what it told itself.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from tasks.history.records import Telling, ToldFailure

FOLDER = "told"
_own: dict[Path, ToldFailure] = {}


def recall(state: Path, telling: Telling) -> ToldFailure | None:
    """When just this was told last, as far as anybody knows."""
    path = _path(state, telling)
    known = [_own[path]] if path in _own else []
    # A file that was cut short by a full disk says nothing.
    with suppress(OSError, ValueError):
        known.append(ToldFailure.model_validate_json(path.read_bytes()))
    return max(known, key=lambda each: each.told_at, default=None)


def keep(state: Path, told: ToldFailure, every: timedelta) -> None:
    """Put down what was told, and remove what is older than `every`, which silences nothing any more."""
    path = _path(state, told)
    _own[path] = told
    with suppress(OSError):
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        _remove_old(path.parent, told.told_at - every)
        path.write_text(told.model_dump_json(), encoding="utf-8")


def _path(state: Path, of: Telling | ToldFailure) -> Path:
    key = json.dumps([of.target, of.what, of.fingerprint])
    return state / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _remove_old(folder: Path, before: datetime) -> None:
    for each in folder.glob("*.json"):
        with suppress(OSError):
            if each.stat().st_mtime < before.timestamp():
                each.unlink()
