"""What a backup leaves out of the cluster it was taken of: noted in its manifest, and read there by whoever must know
whether it has every row. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.checks.look import Seen
from tasks.config import Target
from tasks.databases.cluster_state import PREPARED, not_carried
from tasks.databases.identity import closed
from tasks.errors import DatabaseError
from tasks.models import Manifest, Tally

# What an entry of a manifest's `omitted` begins with.
FILE, ROLES, DATABASES, TABLES = "file ", "roles:", "databases:", "tables:"


def omissions(
    rules: Target,
    seen: Seen,
    missing_files: Sequence[str],
    tallies: Mapping[str, Tally],
    lost: Mapping[str, DatabaseError],
) -> list[str]:
    """What a backup that is taken now leaves out, an entry each. tallies: by database; lost: what could not be taken,
    and why."""
    found = [f"{FILE}{path}: it does not exist" for path in missing_files]
    if not rules.roles:
        found.append(f"{ROLES} left out by the configuration")
    narrowed = [name for name in seen.others if name not in seen.closed]
    if rules.databases is not None:
        without = f", without {', '.join(narrowed)}" if narrowed else ""
        found.append(f"{DATABASES} narrowed by the configuration to {', '.join(seen.databases)}{without}")
    found += _of_closed(seen.closed)
    found += [f"{DATABASES} without {name}, which could not be backed up: {error}" for name, error in lost.items()]
    found += not_carried(seen.cluster)
    return found + [
        f"{TABLES} {', '.join(tally.not_dumped)} of {name}: of an extension, with rows, and pg_dump leaves them out"
        for name, tally in tallies.items()
        if tally.not_dumped
    ]


def omitted(manifest: Manifest) -> list[str]:
    """The entries of a manifest, and what one of before these were written leaves out all the same."""
    return list(dict.fromkeys([*manifest.omitted, *_of_closed(closed_in(manifest))]))


def closed_in(manifest: Manifest) -> list[str]:
    """Databases of the cluster that allowed no connections, so that they are in no backup."""
    known: Mapping[str, Mapping[str, object]] = manifest.cluster.get("databases") or {}
    return [name for name in closed(known) if name not in {manifest.database, *manifest.databases}]


def lacks_rows(manifest: Manifest) -> bool:
    """Whether the cluster held rows, or may have, that the backup does not hold."""
    return any(each.startswith((DATABASES, TABLES, PREPARED)) for each in omitted(manifest))


def is_whole(manifest: Manifest) -> bool:
    """Whether every row and every role of the cluster is in it."""
    return not lacks_rows(manifest) and not any(each.startswith(ROLES) for each in manifest.omitted)


def _of_closed(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{DATABASES} without {', '.join(names)}, for ALLOW_CONNECTIONS is false there and nobody can dump that"]
