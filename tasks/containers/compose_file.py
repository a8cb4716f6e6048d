"""The compose file behind a container: where it is, and its text with one volume pinned. Pure but for reading files.

A volume that is not pinned gets the project's name before its own: started from another project, the same service gets
another, empty volume. Pinned means `external: true` and a fixed `name` (Compose specification, Volumes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from tasks.containers.mounts import place
from tasks.errors import EngineError
from tasks.models import Model

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FILES = "com.docker.compose.project.config_files"
FOLDER = "com.docker.compose.project.working_dir"


class CannotMend(EngineError):
    """The file cannot be mended by a program: the text says why, and what to write by hand."""


class Service(Model):
    """The service that a container was made from: its project, its files in the order they were given."""

    project: str
    service: str
    folder: Path
    files: list[Path]


class Mend(Model):
    """A file, the text it has and the text it would have, and the change in lines that begin with + or -."""

    path: Path
    original: str
    mended: str
    changes: list[str]


def service_of(found: Mapping[str, Any]) -> Service | None:
    """The service by the container's labels; None for a container that Compose did not make."""
    labels = found["Config"].get("Labels") or {}
    if not labels.get(PROJECT) or not labels.get(SERVICE):
        return None
    folder = Path(labels.get(FOLDER) or ".")
    files = [folder / each.strip() for each in (labels.get(FILES) or "").split(",") if each.strip()]
    return Service(project=labels[PROJECT], service=labels[SERVICE], folder=folder, files=files)


def by_hand(pinned: str, key: str = "VOLUME") -> str:
    """What a person writes into the compose file."""
    return f"volumes:\n  {key}:\n    external: true\n    name: {pinned}"


def plan_mend(service: Service, destination: str, pinned: str) -> Mend | None:
    """The change that pins the volume which the service mounts at `destination`; None if it is pinned so already.

    Raise CannotMend, with the text to write by hand.
    """
    documents = {path: _read(path, pinned) for path in service.files}
    if not documents:
        raise CannotMend(f"The container does not say which compose files it was made from. Write:\n{by_hand(pinned)}")
    key = _volume_key(service, documents, destination, pinned)
    for path, (text, document) in reversed(list(documents.items())):
        declared = document.get("volumes")
        if isinstance(declared, CommentedMap) and key in declared:
            section = declared[key] or {}
            if section.get("external") is True and section.get("name") == pinned:
                return None
            return _mend(path, text, declared, key, pinned)
    raise CannotMend(f"No compose file declares the volume {key}. Write:\n{by_hand(pinned, key)}")


def _read(path: Path, pinned: str) -> tuple[str, CommentedMap]:
    try:
        text = path.read_text(encoding="utf-8")
        document = YAML().load(text)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CannotMend(f"The compose file {path} cannot be read ({reason}). Write:\n{by_hand(pinned)}") from error
    if not isinstance(document, CommentedMap):
        raise CannotMend(f"The compose file {path} is no mapping. Write:\n{by_hand(pinned)}")
    return text, document


def _volume_key(
    service: Service, documents: Mapping[Path, tuple[str, CommentedMap]], destination: str, pinned: str
) -> str:
    """The key under `volumes` that the service mounts at `destination`; the last file that says so wins."""
    for path, (_, document) in reversed(list(documents.items())):
        mounts = ((document.get("services") or {}).get(service.service) or {}).get("volumes") or []
        for mount in mounts:
            source, target = _source_and_target(mount)
            if target is None or place(target) != place(destination):
                continue
            if source is None or source.startswith((".", "/", "~", "$")):
                raise CannotMend(
                    f"{path} mounts {source or 'an anonymous volume'} at {destination}. Mount a named one instead "
                    f"(KEY:{destination}), and write:\n{by_hand(pinned, 'KEY')}"
                )
            return source
    raise CannotMend(
        f"No compose file of {service.project} mounts anything at {destination} in {service.service}: its volume is an "
        f"anonymous one. Add KEY:{destination} under its volumes, and write:\n{by_hand(pinned, 'KEY')}"
    )


def _source_and_target(mount: Any) -> tuple[str | None, str | None]:
    """Of the short and of the long syntax."""
    if isinstance(mount, Mapping):
        return mount.get("source"), mount.get("target")
    first, colon, rest = str(mount).partition(":")
    return (first, rest.partition(":")[0]) if colon else (None, first)


def _mend(path: Path, text: str, declared: CommentedMap, key: str, pinned: str) -> Mend:
    """The text with the lines of that one volume exchanged, and every other line as it was."""
    lines = text.splitlines(keepends=True)
    line, column = declared.lc.key(key)
    if declared.fa.flow_style():
        raise CannotMend(f"{path} declares its volumes in one line. Write them in lines:\n{by_hand(pinned, key)}")
    end = line + 1
    while end < len(lines) and _belongs(lines[end], column):
        end += 1
    # Blank lines and comments before the next key are its own.
    while end > line + 1 and (not lines[end - 1].strip() or _is_comment(lines[end - 1], column)):
        end -= 1
    indent = " " * column
    new = [f"{indent}{key}:\n", f"{indent}  external: true\n", f"{indent}  name: {pinned}\n"]
    before = "".join(lines[:line])
    after = "".join(lines[end:])
    changes = [f"- {each.rstrip()}" for each in lines[line:end]] + [f"+ {each.rstrip()}" for each in new]
    return Mend(path=path, original=text, mended=before + "".join(new) + after, changes=changes)


def _belongs(line: str, column: int) -> bool:
    """Whether a line is further in than the key, or says nothing."""
    return not line.strip() or len(line) - len(line.lstrip()) > column or _is_comment(line, column)


def _is_comment(line: str, column: int) -> bool:
    return line.lstrip().startswith("#") and len(line) - len(line.lstrip()) <= column


def files_with(service: Service, mend: Mend, other: Path) -> Sequence[Path]:
    """The service's files with `other` in the place of the mended one."""
    return [other if path == mend.path else path for path in service.files]
