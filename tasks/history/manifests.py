"""What a manifest teaches history: the observations that a lost history is rebuilt from."""

from __future__ import annotations

from tasks.history.judge import is_accepted
from tasks.history.records import Observation
from tasks.models import Manifest, Tally


def other(target: str, database: str) -> str:
    """Under what another database of a target's cluster is remembered; no target's own name holds a slash."""
    return f"{target}/{database}"


def undumped(target: str) -> str:
    """Under what the rows of tables that are in no dump are accepted, of a target or of what `other` says; no target's
    own name holds a space."""
    return f"not dumped/{target}"


def observations_of(manifest: Manifest) -> list[Observation]:
    """One of the target's database, and one of each other database; accepted if they were when the backup was taken."""
    others = [_observation(manifest, other(manifest.target, name), tally) for name, tally in manifest.databases.items()]
    return [_observation(manifest, manifest.target, manifest.tally), *others]


def _observation(manifest: Manifest, target: str, tally: Tally) -> Observation:
    return Observation(
        id=f"{target}/{manifest.id}",
        target=target,
        checked_at=manifest.created_at,
        kind="manifest",
        verdict=manifest.verdict,
        findings=manifest.findings,
        counts=tally.counts,
        schema_objects=tally.schema_objects,
        schema_fingerprint=tally.schema_fingerprint,
        identity=manifest.identity,
        accepted=is_accepted(manifest.findings),
        backup_id=manifest.id,
    )
