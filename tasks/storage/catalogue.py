"""Which backups exist, told by the manifests in the storages alone.

`{target}/{id}/manifest.json` is written last, so a backup is listed only once it is whole, and removed first,
so a half-deleted one is not. It carries its own checksum and has one way to be written down: any altered bit
shows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field, ValidationError

from tasks.errors import ObjectDamaged, ObjectMissing, StorageError
from tasks.models import BEFORE_A_RESTORE, Difference, Manifest, Model
from tasks.storage.contract import Storage, Stored, get_bytes, put_bytes
from tasks.storage.readback import read_back

log = logging.getLogger("rollcall")

LEFT_OVER_NOTE = "no-manifest.json"
"""Beside objects without a manifest: when a rotation saw them first."""

_NO_MANIFEST = (
    "{} in the storage {} has no manifest: its run was killed, or the manifest is lost. The next backup puts the "
    "manifest back if another storage has it; else one removes the rest after a week: copy it elsewhere if you need it."
)


@dataclass(frozen=True)
class Entry:
    """A backup: its manifest, the storages that list it whole, and when a drill last proved it (UTC), if ever.

    proven_in: the storages whose own copy was proven. rows_proven_at: when a drill last proved the rows, whether or not
    the definitions; differences: those that it found. accepted: those that a person accepted with the proof of
    `proven_at`, which may be an earlier one.
    """

    manifest: Manifest
    storages: list[str]
    proven_at: datetime | None = None
    proven_in: list[str] = field(default_factory=list)
    rows_proven_at: datetime | None = None
    differences: list[Difference] = field(default_factory=list)
    accepted: list[Difference] = field(default_factory=list)

    @property
    def is_default(self) -> bool:
        """Whether a restore may take it unless told otherwise: a good one, and not of what was to be replaced."""
        return not self.manifest.quarantined and self.manifest.occasion != BEFORE_A_RESTORE


@dataclass(frozen=True)
class Damaged:
    """A backup that cannot be relied on in one storage, and why, in one sentence."""

    storage: str
    id: str
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """All of one target's backups, newest first; those that are damaged; why storages could not be asked."""

    backups: list[Entry] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)

    @property
    def newest_good(self) -> str | None:
        """The id of the newest backup that a restore takes unless told otherwise; None where there is none."""
        return next((entry.manifest.id for entry in self.backups if entry.is_default), None)


def new_id(now: datetime, token: str) -> str:
    """The id of a backup taken at `now` (with a zone): `20261122T221804Z-3f9a1c`. Ids sort by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}"


def object_key(target: str, backup_id: str, name: str) -> str:
    """The key of one object of a backup."""
    return f"{target}/{backup_id}/{name}"


def manifest_key(target: str, backup_id: str) -> str:
    """Where a backup's manifest is."""
    return object_key(target, backup_id, "manifest.json")


def proof_key(target: str, backup_id: str, proven_at: datetime) -> str:
    """Where the note is that a drill has proved a backup: a key for each proof, for nothing is overwritten."""
    return object_key(target, backup_id, f"proof-{proven_at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}.json")


def serialised(manifest: Manifest) -> bytes:
    """The manifest as it is stored, checksum included: the same bytes for every storage."""
    document = manifest.model_dump(mode="json")
    return _canonical({**document, "checksum": _checksum(document)})


def parsed(content: bytes) -> Manifest:
    """The manifest in `content`; fields of later versions are checked with the rest, then dropped.

    Raise ValueError that says what is wrong, if a single bit is not as it was written.
    """
    document = json.loads(content)
    if not isinstance(document, dict) or _canonical(document) != content:
        raise ValueError("it is not written as Rollcall writes it")
    checksum = document.pop("checksum", None)
    if checksum != _checksum(document):
        raise ValueError("its checksum does not match")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ValueError(f"its field {where} is not one that this version can read") from error


def write_manifest(storage: Storage, manifest: Manifest) -> Stored:
    """Store the manifest and read it back: from here on the backup exists. Raise StorageError if it is
    there."""
    key = manifest_key(manifest.target, manifest.id)
    stored = put_bytes(storage, key, serialised(manifest))
    read_back(storage, key, size=stored.bytes, sha256=stored.sha256)
    return stored


def read_manifest(storage: Storage, target: str, backup_id: str) -> Manifest:
    """The checked manifest. Raise ObjectMissing, ObjectDamaged, StorageUnreachable."""
    content = get_bytes(storage, manifest_key(target, backup_id))
    try:
        manifest = parsed(content)
    except (ValueError, RecursionError) as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
        raise _damaged(storage, target, backup_id, reason) from error
    if (manifest.target, manifest.id) != (target, backup_id):
        raise _damaged(storage, target, backup_id, f"it belongs to {manifest.target}/{manifest.id}")
    return manifest


class Proof(Model):
    """What a drill found in one copy of a backup: the rows are proven, these definitions differ. accepted: a person has
    accepted the differences, or there are none."""

    proven_at: datetime = Field(strict=True)
    differences: list[Difference] = []
    accepted: bool = True


def write_proof(storage: Storage, target: str, backup_id: str, proof: Proof) -> None:
    """Note what a drill proved of this storage's copy; then only does an earlier note go."""
    at = proof.proven_at.astimezone(UTC)
    key = proof_key(target, backup_id, at)
    put_bytes(storage, key, _canonical({**proof.model_dump(mode="json"), "proven_at": at.isoformat()}))
    try:
        _drop_proofs(storage, target, backup_id, but=key)
    except StorageError as error:
        log.warning("An earlier proof of %s stays: %s", backup_id, error)


def drop_proofs(storage: Storage, target: str, backup_id: str) -> None:
    """Take back every note that this storage's copy was proven. Raise StorageError."""
    _drop_proofs(storage, target, backup_id, but="")


def _drop_proofs(storage: Storage, target: str, backup_id: str, but: str) -> None:
    for key in list(storage.keys(f"{target}/{backup_id}/")):
        if _is_proof(key) and key != but:
            storage.delete(key)


def _is_proof(key: str) -> bool:
    return re.fullmatch(r"[^/]+/[^/]+/proof(-\w+)?\.json", key) is not None


def is_note(key: str) -> bool:
    """Whether a key is of a note of ours beside a backup, and of nothing that was backed up (pure)."""
    return _is_proof(key) or (key.endswith(f"/{LEFT_OVER_NOTE}") and key.count("/") == 2)


def delete_backup(storage: Storage, target: str, backup_id: str) -> None:
    """Remove a backup from one storage: the manifest first, so that what an interruption leaves is no
    backup."""
    storage.delete(manifest_key(target, backup_id))
    for key in list(storage.keys(f"{target}/{backup_id}/")):
        storage.delete(key)


def left_over_ids(keys: set[str], now: datetime, age: timedelta = timedelta(days=2)) -> list[str]:
    """Ids begun over `age` ago of which the listing shows no manifest: killed runs left them, or it is lost (pure).

    Nothing younger: another machine's run may be at work on it.
    """
    begun = {parts[1] for parts in (key.split("/", 2) for key in keys) if len(parts) == 3}
    return sorted(each for each in begun - has_manifest(keys) if _begun_at(each, now) < now - age)


def _begun_at(backup_id: str, now: datetime) -> datetime:
    """When an id was made; `now` for one that is not ours, so that it is left alone."""
    try:
        return datetime.strptime(backup_id.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return now


def catalogue(storages: Sequence[Storage], target: str, now: datetime | None = None) -> Catalogue:
    """Every backup of `target`, merged over the storages. A storage that fails is told in `unreachable`, no
    error."""
    now = now or datetime.now(UTC)
    shelves: dict[str, dict[str, Entry]] = {}
    found = Catalogue()
    for storage in storages:
        try:
            shelves[storage.name] = _shelf(storage, target, found.damaged, now)
        except StorageError as error:
            found.unreachable[storage.name] = str(error)
    found.backups.extend(_merged(shelves, found.damaged))
    return found


def _shelf(storage: Storage, target: str, damaged: list[Damaged], now: datetime) -> dict[str, Entry]:
    """One storage's whole backups by id; the others are added to `damaged`."""
    keys = set(storage.keys(f"{target}/"))
    shelf: dict[str, Entry] = {}
    left_over = left_over_ids(keys, now)
    for backup_id in sorted({*has_manifest(keys), *left_over}):
        try:
            manifest = read_manifest(storage, target, backup_id)  # A listing may lack what is there.
        except ObjectMissing:
            if backup_id in left_over and _is_left(storage, target, backup_id):
                damaged.append(Damaged(storage.name, backup_id, _NO_MANIFEST.format(backup_id, storage.name)))
            continue  # Else deleted since it was listed.
        except ObjectDamaged as error:
            damaged.append(Damaged(storage.name, backup_id, str(error)))
            continue
        missing = _missing(manifest, storage.name, keys)
        if missing:
            damaged.append(Damaged(storage.name, backup_id, missing))
        else:
            shelf[backup_id] = _entry(storage, manifest, _proof(storage, target, backup_id, keys))
    return shelf


def has_manifest(keys: set[str]) -> set[str]:
    """The ids that have a manifest by a listing (pure)."""
    split = (key.split("/") for key in keys)
    return {parts[1] for parts in split if len(parts) == 3 and parts[2] == "manifest.json"}


def _is_left(storage: Storage, target: str, backup_id: str) -> bool:
    """Whether the storage holds more of it than notes, asked again: a rotation may be removing it now."""
    return any(not is_note(key) for key in storage.keys(f"{target}/{backup_id}/"))


def _missing(manifest: Manifest, storage: str, keys: set[str]) -> str | None:
    """Why the storage does not hold the backup whole; None if it does."""
    own = [each.key for each in manifest.objects if each.storage == storage]
    if not own:
        return f"The manifest of {manifest.id} in the storage {storage} lists no objects there: it is no copy."
    absent = [key for key in own if key not in keys]
    return f"The storage {storage} has lost {', '.join(absent)}: delete the backup there." if absent else None


def _merged(shelves: dict[str, dict[str, Entry]], damaged: list[Damaged]) -> list[Entry]:
    merged: dict[str, Entry] = {}
    for storage, shelf in shelves.items():
        for backup_id, entry in shelf.items():
            known = merged.get(backup_id)
            if known is not None and known.manifest != entry.manifest:
                others = " and ".join(known.storages)
                reason = f"The manifest of {backup_id} in the storage {storage} is another than in {others}."
                damaged.append(Damaged(storage, backup_id, reason))
                continue
            merged[backup_id] = entry if known is None else _joined(known, entry)
    return sorted(merged.values(), key=lambda each: (each.manifest.created_at, each.manifest.id), reverse=True)


def _joined(one: Entry, other: Entry) -> Entry:
    never = datetime.min.replace(tzinfo=UTC)
    newest = max(one, other, key=lambda each: each.rows_proven_at or never)
    proven = max(one, other, key=lambda each: each.proven_at or never)
    return replace(
        newest,
        storages=one.storages + other.storages,
        proven_at=proven.proven_at,
        proven_in=one.proven_in + other.proven_in,
        accepted=proven.accepted,
    )


def _entry(storage: Storage, manifest: Manifest, proof: Proof | None) -> Entry:
    if proof is None:
        return Entry(manifest, [storage.name])
    found = Entry(manifest, [storage.name], rows_proven_at=proof.proven_at, differences=proof.differences)
    if not proof.accepted:
        return found
    return replace(found, proven_at=proof.proven_at, proven_in=[storage.name], accepted=proof.differences)


def _proof(storage: Storage, target: str, backup_id: str, keys: set[str]) -> Proof | None:
    """What the last drill of the backup proved."""
    notes = sorted(key for key in keys if key.startswith(f"{target}/{backup_id}/") and _is_proof(key))
    proofs = [_noted(storage, key) for key in notes]
    return max((each for each in proofs if each is not None), key=lambda each: each.proven_at, default=None)


def _noted(storage: Storage, key: str) -> Proof | None:
    """What one proof says. A note that cannot be read proves nothing."""
    try:
        proof = Proof.model_validate_json(get_bytes(storage, key))
        at = proof.proven_at
        return proof.model_copy(
            update={"proven_at": at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)}
        )
    except ObjectMissing:
        return None
    except ValueError:
        log.warning("The note %s in the storage %s cannot be read: the backup counts as unproven.", key, storage.name)
        return None


def _canonical(document: dict[str, Any]) -> bytes:
    """The one way a document is written: keys sorted, ASCII, a line a field, a line break at the end."""
    return (json.dumps(document, sort_keys=True, indent=1) + "\n").encode("ascii")


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()


def _damaged(storage: Storage, target: str, backup_id: str, reason: str) -> ObjectDamaged:
    key = manifest_key(target, backup_id)
    return ObjectDamaged(f"The manifest {key} in the storage {storage.name} is damaged: {reason}.")
