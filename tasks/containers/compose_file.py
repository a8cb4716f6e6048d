"""The compose file behind a container, and its text with one volume pinned.

A volume that is not pinned gets the project's name before its own: started from another project, the same service gets
another, empty volume. Pinned means `external: true` and a fixed `name` (Compose specification, Volumes): one that has
the name alone belongs to its project, whose `down --volumes` removes it. The mended text is made from the file's own:
it never holds a resolved value.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ruamel.yaml.nodes import MappingNode

from tasks.containers.compose_pin import is_pinned, pin
from tasks.containers.compose_program import all_files, resolved
from tasks.containers.compose_service import (
    CannotMend,
    Mend,
    Service,
    by_hand,
    files_with,
    mounted_by_hand,
    service_of,
)
from tasks.containers.compose_yaml import (
    Source,
    child,
    fixed_name,
    has_volume,
    kept_elsewhere,
    read,
    read_text,
    services_with,
    source_at,
)
from tasks.errors import ComposeFileError

Documents = dict[Path, MappingNode]


def plan_mend(service: Service, destination: str, pinned: str) -> Mend | None:
    """The change that pins the volume which the service mounts at `destination`; None if it is pinned so already.

    Raise CannotMend, with the text to write by hand.
    """
    if service.engine_host is not None:
        raise CannotMend(f"The compose files are on {service.engine_host}. Write there:\n{by_hand(pinned)}")
    if not service.files:
        raise CannotMend(f"The container does not say which compose files it was made from. Write:\n{by_hand(pinned)}")
    documents = {path: _read(path, pinned) for path in service.files}
    source = _source(service, documents, destination, pinned)
    if source.kind != "named":
        raise CannotMend(_names_no_volume(service, source, destination, pinned))
    declaring = [path for path, root in documents.items() if has_volume(root, source.text)]
    if not declaring:
        if not _is_pinned_elsewhere(service, source.text, pinned):
            raise CannotMend(f"{_where(service, source.text)}\n{by_hand(pinned, source.text)}")
        return None
    entries = [child(root, "volumes", source.text) for root in documents.values()]
    if is_pinned(entries, source.text, pinned):
        return None
    mend = _mend(declaring[-1], service, documents, source.text, destination, pinned)
    return mend and mend.model_copy(update={"fixed": fixed_name(entries, source.text) == pinned})


def _is_pinned_elsewhere(service: Service, key: str, pinned: str) -> bool:
    """Whether the volume, which none of the files declares, is pinned in what Compose makes of all it includes."""
    text, _ = resolved(service, service.files)
    return text is not None and is_pinned([child(read(text), "volumes", key)], key, pinned)


def _where(service: Service, key: str) -> str:
    """Which file a person writes the pin into: the included one that declares it; Compose may refuse it in another."""
    for path in all_files(service):
        with suppress(ComposeFileError):
            if has_volume(read(read_text(path)), key):
                return f"{path}, which is included, declares the volume {key}. Write there:"
    return f"{service.files[-1]} and the files before it do not declare the volume {key} themselves. Write:"


def special_options(service: Service, destination: str, pinned: str) -> list[str]:
    """The names of the options that the files give the volume which the service mounts at `destination`, by which its
    data lies elsewhere than in a plain volume; none where that cannot be known."""
    if service.engine_host is not None or not service.files:
        return []
    try:
        documents = {path: _read(path, pinned) for path in service.files}
        source = _source(service, documents, destination, pinned)
    except CannotMend:
        return []
    if source.kind != "named":
        return []
    return kept_elsewhere([child(root, "volumes", source.text) for root in documents.values()])


def _read(path: Path, pinned: str) -> MappingNode:
    try:
        return read(read_text(path))
    except ComposeFileError as error:
        raise CannotMend(f"{path} is not mended: {error}. Write:\n{by_hand(pinned)}") from None


def _source(service: Service, documents: Documents, destination: str, pinned: str) -> Source:
    """What the service mounts there: the last file that says so wins; else what Compose makes of all of them."""
    for root in reversed(documents.values()):
        if (found := source_at(root, service.service, destination)) is not None:
            return found
    text, why = resolved(service, service.files)
    if text is None:
        raise CannotMend(
            f"{service.files[-1]} is not mended: what {service.service} mounts at {destination} cannot be known, for "
            f"{why}. Write:\n{by_hand(pinned)}"
        )
    return source_at(read(text), service.service, destination) or Source("anonymous", "")


def _names_no_volume(service: Service, source: Source, destination: str, pinned: str) -> str:
    what = {
        "path": f"mounts {source.text} at {destination}, which is no volume",
        "variable": f"leaves it to a variable ({source.text}) what is mounted at {destination}",
    }.get(source.kind, f"names no volume for {destination}, so that it gets an anonymous volume")
    return (
        f"{service.files[-1]} is not mended: the service {service.service} {what}. Write:\n"
        f"{mounted_by_hand(service, destination, pinned, source.text)}"
    )


def _mend(
    path: Path, service: Service, documents: Documents, key: str, destination: str, pinned: str
) -> Mend | None:  # fmt: skip
    try:
        original = read_text(path)
        made = pin(original, key, pinned)
        _check_can_be_written(path, original)
    except ComposeFileError as error:
        raise CannotMend(f"{path} is not mended: {error}. Write:\n{by_hand(pinned, key)}") from None
    if made.text == original:
        return None
    changes = [f"in volumes, {key}:", *(f"+ {line}" for line in made.added)]
    if made.dropped:
        changes.append(f"- {', '.join(made.dropped)} (Compose allows nothing else there; the volume keeps what it has)")
    users = dict.fromkeys(name for root in documents.values() for name in services_with(root, key))
    others = [name for name in users if name != service.service]
    if others:
        changes.append(f"{', '.join(others)} mounts the same volume: the next `up` brings that to {pinned} too.")
    return Mend(
        path=path,
        original=original,
        mended=made.text,
        changes=changes,
        key=key,
        destination=destination,
        dropped=made.dropped,
    )


def _check_can_be_written(path: Path, text: str) -> None:
    """Whether we may replace the file and keep its owner, and it is written as it would be read again."""
    if "\r" in text:
        raise ComposeFileError("its lines end as on Windows")
    real = path.resolve()
    ours = os.geteuid() in (0, real.stat().st_uid)
    if not (ours and os.access(real, os.W_OK) and os.access(real.parent, os.W_OK | os.X_OK)):
        raise ComposeFileError("this user may not write it, or its folder")


__all__ = ["CannotMend", "Mend", "Service", "by_hand", "files_with", "plan_mend", "service_of", "special_options"]
