"""The compose file that names the wrong volume: what would change in it, changed, and changed back."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from tasks.containers.compose_file import CannotMend, Mend, Service, plan_mend, service_of, special_options
from tasks.containers.compose_program import check, config_hash
from tasks.containers.observe import read
from tasks.errors import RestoreError
from tasks.restore.facts import Mending

log = logging.getLogger("rollcall")

HASH_LABEL = "com.docker.compose.config-hash"


def mending_of(found: dict[str, Any], pinned: str, engine_host: str | None = None) -> Mending | None:
    """What would change in the compose file of the container (its inspect JSON), or what a person must change there.

    engine_host: the other machine that the engine, and so the file, is on. None for a container that Compose did not
    make, and where the file pins the volume already.
    """
    service = service_of(found, engine_host)
    if service is None:
        return None
    files = ", ".join(map(str, service.files))
    mount = read(found).data_mount
    special = special_options(service, mount.destination, pinned) if mount else []
    mend = None
    try:
        mend = _planned(service, found, pinned)
        if mend is None:
            return None
        check(service, mend, pinned)
    except CannotMend as error:
        return Mending(
            path=files, changes=[], by_hand=str(error), fixed=mend is not None and mend.fixed, special=special
        )
    changes = list(mend.changes)
    if _new_hash(service, mend, found) is None:
        changes.append("The next `up` will re-create the container once (the data stays).")
    return Mending(path=str(mend.path), changes=changes, dropped=mend.dropped, fixed=mend.fixed, special=special)


def labels_of(found: dict[str, Any], pinned: str, engine_host: str | None = None) -> dict[str, str | None]:
    """The labels by which Compose will know the replacement as the mended service; none where it cannot be asked."""
    service = service_of(found, engine_host)
    try:
        mend = _planned(service, found, pinned) if service else None
        changed = _new_hash(service, mend, found) if service and mend else None
    except CannotMend:
        return {}
    return {HASH_LABEL: changed} if changed else {}


def prepare_mend(found: dict[str, Any], pinned: str) -> dict[str, str]:
    """For the journal: which file is changed, and the SHA-256 of its text before and after; the text may hold secrets.

    Raise CannotMend, EngineError.
    """
    mend = _required(found, pinned)
    return {"mended_file": str(mend.path), "text_before": _sha256(mend.original), "text_after": _sha256(mend.mended)}


def mend(found: dict[str, Any], pinned: str, run: str) -> None:
    """Change the file; its original stays beside it as `FILE.before-RUN`. Raise CannotMend, RestoreError."""
    planned = _required(found, pinned)
    kept = kept_original(planned.path, run)
    try:
        if not kept.exists():
            _write(kept, planned.original, like=planned.path)
        _write(planned.path, planned.mended, like=planned.path)
    except OSError as error:
        raise RestoreError(f"The compose file {planned.path} cannot be changed: {error.strerror}.") from error


def unmend(path: Path, run: str, before: str, after: str) -> None:
    """Put the original back, if the file still holds just what `mend` wrote. Raise RestoreError."""
    kept = kept_original(path, run)
    try:
        now = _sha256(path.read_bytes().decode())
        if now == before:
            return
        if now != after or not kept.exists():
            log.warning("%s was changed meanwhile and is left so; its former text is in %s.", path, kept)
            return
        _write(path, kept.read_bytes().decode(), like=path)
    except OSError as error:
        raise RestoreError(
            f"The compose file {path} cannot be put back: {error.strerror}; it is kept as {kept}."
        ) from error


def kept_original(path: Path, run: str) -> Path:
    """Where the original text of a mended file is kept."""
    return path.with_name(f"{path.name}.before-{run}")


def _planned(service: Service, found: dict[str, Any], pinned: str) -> Mend | None:
    mount = read(found).data_mount
    if mount is None:
        raise CannotMend("The container's data is on no mount.")
    return plan_mend(service, mount.destination, pinned)


def _required(found: dict[str, Any], pinned: str) -> Mend:
    service = service_of(found)
    mend = _planned(service, found, pinned) if service else None
    if mend is None:
        raise RestoreError("The compose file is not what it was when the plan was made; plan again.")
    return mend


def _new_hash(service: Service, mend: Mend, found: dict[str, Any]) -> str | None:
    known = (found["Config"].get("Labels") or {}).get(HASH_LABEL, "")
    return config_hash(service, mend, known)


def _write(path: Path, text: str, like: Path) -> None:
    """Whole or not at all, durable, with the owner and rights of `like`; through a link to what it means."""
    path = path.resolve()
    status = like.stat()
    handle, name = tempfile.mkstemp(prefix=".rollcall-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(status.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(name, status.st_uid, status.st_gid)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
