"""Whether a new volume looks like a pinned one: the same service's data, started from another Compose project. Pure.

Compose calls a volume PROJECT_KEY, and leaves both in labels. In the incident the pinned `atra_knowledge_postgres_data`
(project atra, key knowledge_postgres_data) met `knowledge_os_postgres_data` (project knowledge_os, key postgres_data).
So two things must come together. The *keys agree*: one ends with the other, and what it has more is the target's own
name. And they are *kin*: the new name holds a word that is the target's own (of its name, container, database, key),
where words that any database may have count for nothing, nor does the pinned volume's project: what else that project
makes is its own affair. So neither `shop_postgres_data`, another product's database, nor `knowledge_os_redis_data`,
another service's data, nor `atra_blog_postgres_data`, another database of the project, looks like it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

PROJECT_LABEL = "com.docker.compose.project"
KEY_LABEL = "com.docker.compose.volume"

STORE = frozenset({"data", "volume", "volumes", "vol", "storage", "store", "persistent", "files", "dir"})
SERVER = frozenset(
    {
        *("postgres", "postgresql", "postgis", "pgvector", "timescale", "timescaledb", "pg", "pgdata", "pgsql", "sql"),
        *("db", "dbdata", "database", "databases", "primary", "main", "default", "app", "server", "service"),
    }
)
GENERIC = STORE | SERVER
VERSION = re.compile(r"(?:pg|postgres|v)?\d+")


@dataclass(frozen=True)
class VolumeName:
    """A volume as far as its name goes. key: its name in the compose file, where Compose made it."""

    name: str
    key: str | None = None


def volume_name(name: str, labels: Mapping[str, str] | None) -> VolumeName:
    """From the engine's JSON of a volume."""
    return VolumeName(name, (labels or {}).get(KEY_LABEL))


def own_words(*names: str) -> frozenset[str]:
    """What is the target's own in its names: words that tell it from any other database."""
    return frozenset(word for name in names for word in _words(name) if not _is_generic(word))


def looks_like(new: VolumeName, pinned: VolumeName, own: frozenset[str]) -> bool:
    """Whether `new` may be taken, or was made, for `pinned`; `own` are the target's own words."""
    if new.name == pinned.name or _is_anonymous(new.name):
        return False
    words = _words(new.name)
    if not own.intersection(words):
        return False
    return _keys_agree(new, pinned, own, words)


def _keys_agree(new: VolumeName, pinned: VolumeName, own: frozenset[str], words: Sequence[str]) -> bool:
    theirs = _words(pinned.key or pinned.name)
    ours = _words(new.key) if new.key else words
    common = _common_end(ours, theirs)
    # Of a pinned volume without labels it is not known where the key begins: what is before may be the project's.
    more = [*ours[: len(ours) - len(common)], *(theirs[: len(theirs) - len(common)] if pinned.key else ())]
    if not common or not all(_is_harmless(word, own) for word in more):
        return False
    # `data` alone is anybody's: then no word of the project may be foreign either.
    return not STORE.issuperset(common) or all(_is_harmless(word, own) for word in words)


def _is_harmless(word: str, own: frozenset[str]) -> bool:
    return word in own or _is_generic(word)


def _common_end(one: Sequence[str], other: Sequence[str]) -> list[str]:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other), strict=False))
    return [word for word, _ in pairs][::-1]


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def _is_generic(word: str) -> bool:
    return word in GENERIC or VERSION.fullmatch(word) is not None


def _is_anonymous(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None
