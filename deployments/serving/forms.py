"""The forms that Prefect's UI shows before a run: the flows' own parameters, purely changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.storage.catalogue import Catalogue

LATEST = "latest"
FIRST = ("target", "dry_run")
MOST_TOLD = 10  # backups that a help text names


@dataclass(frozen=True)
class Choice:
    """One backup that a form offers."""

    id: str
    quarantined: bool = False
    proven: bool = False


def choices(found: Catalogue) -> list[Choice]:
    """What the catalogue holds, newest first."""
    return [
        Choice(each.manifest.id, quarantined=each.manifest.quarantined, proven=each.proven_at is not None)
        for each in found.backups
    ]


def shaped(schema: dict[str, Any], target: str, backups: Sequence[Choice] | None) -> dict[str, Any]:
    """The form of a deployment of `target`: its own name and its backups to choose from, no path to mistype.

    The target is fixed: a run started under one target's name must not work on another. The configuration's path is
    the deployment's, and is not asked for. backups: None leaves the backup a field to type into.
    """
    shaped = copy.deepcopy(schema)
    fields = shaped["properties"]
    fields["target"] = {**fields["target"], "enum": [target]}
    fields.pop("config", None)
    if "backup" in fields and backups is not None:
        fields["backup"] = _backup_field(fields["backup"], backups)
    shaped["properties"] = _in_order({name: _plain(field) for name, field in fields.items()})
    return shaped


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """A field that may be left out as one of its plain type: the UI would offer None as a type to choose, and say of an
    empty one that it "is type None". What is left empty is not sent, and so is as it is by default."""
    types = [each for each in field.get("anyOf", []) if each != {"type": "null"}]
    if len(types) != 1 or len(types) == len(field["anyOf"]):
        return field
    kept = {name: value for name, value in field.items() if name != "anyOf"}
    if kept.get("default", ...) is None:
        del kept["default"]
    return {**kept, **types[0]}


def _in_order(fields: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The switch that makes a run safe stands first, below the target: it must not be overlooked."""
    names = [name for name in FIRST if name in fields]
    names += [name for name in fields if name not in names]
    return {name: {**fields[name], "position": place} for place, name in enumerate(names)}


def _backup_field(field: dict[str, Any], backups: Sequence[Choice]) -> dict[str, Any]:
    """A drop-down; what cannot be seen from an id is in the help text."""
    kept = {name: value for name, value in field.items() if name not in {"anyOf", "type", "default"}}
    told = [
        "Newest first.",
        _told("Proven by a drill", [each.id for each in backups if each.proven]),
        _told("Quarantined, because something was wrong when they were taken", _quarantined(backups)),
    ]
    text = " ".join(field["description"].split())
    default = {"default": field["default"]} if field.get("default") is not None else {}
    return {
        **kept,
        **default,
        "type": "string",
        "enum": [LATEST, *(each.id for each in backups)],
        "description": " ".join([text, *filter(None, told)]),
    }


def _quarantined(backups: Sequence[Choice]) -> list[str]:
    return [each.id for each in backups if each.quarantined]


def _told(words: str, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - MOST_TOLD} older ones" if len(ids) > MOST_TOLD else ""
    return f"{words}: {', '.join(ids[:MOST_TOLD])}{more}."
