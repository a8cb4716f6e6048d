"""Schemas as plain data: a short hash by object, one fingerprint over all, and the difference of two."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HASH_LENGTH = 12

_LITERAL = r"'(?:[^']|'')*'::character varying"
_VARCHAR_LIST = re.compile(rf"\(ARRAY\[({_LITERAL}(?:, {_LITERAL})*)\]\)::text\[\]")


@dataclass(frozen=True)
class SchemaDifference:
    """Sorted names of objects: only in the later schema, only in the earlier, in both but not the same."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def describe_difference(before: Mapping[str, str], after: Mapping[str, str]) -> SchemaDifference:
    """What changed between two `Tally.schema_objects`; false where nothing did."""
    return SchemaDifference(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
    )


def hashed(definitions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Objects by name with the hash of their definition; several of one name are hashed together."""
    parts: dict[str, list[str]] = {}
    for name, definition in definitions:
        parts.setdefault(name, []).append(settled(definition))
    return {name: _digest(parts[name])[:HASH_LENGTH] for name in sorted(parts)}


def fingerprint(schema_objects: Mapping[str, str]) -> str:
    """The SHA-256, in hex, over all objects and their hashes, whatever their order."""
    return _digest(sorted(schema_objects.items()))


def settled(definition: str) -> str:
    """The definition in the form it has after a dump and a restore.

    PostgreSQL prints `status IN ('a', 'b')` over a varchar as a cast of the whole list, reads that back as a
    cast of each element, and prints it so from then on. Without this a restored schema would differ from its
    source.
    """
    return _VARCHAR_LIST.sub(_cast_each, definition)


def _cast_each(match: re.Match[str]) -> str:
    elements = re.findall(_LITERAL, match.group(1))
    return "ARRAY[" + ", ".join(f"({element})::text" for element in elements) + "]"


def _digest(data: object) -> str:
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
