"""The compose service that a container was made from, as its labels name it, and the change to one of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.errors import EngineError
from tasks.models import Model

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FILES = f"{PROJECT}.config_files"
FOLDER = f"{PROJECT}.working_dir"
ENVIRONMENT_FILES = f"{PROJECT}.environment_file"
VERSION = "com.docker.compose.version"


class CannotMend(EngineError):
    """The file cannot be mended by a program: the text says why, and what to write by hand."""


class Service(Model):
    """The service that a container was made from: its project, its files in the order they were given.

    version: of the Compose program that made the container. engine_host: the machine that the files are on, where that
    is not this one: a file of that name here may be another one.
    """

    project: str
    service: str
    folder: Path
    files: list[Path]
    env_files: list[Path] = []
    version: str = ""
    engine_host: str | None = None


class Mend(Model):
    """A file, the text it has and the text it would have, and the change in words that show no value of the file.

    key: of the volume under `volumes`; destination: where the service mounts it; dropped: options that have to go;
    fixed: the volume has the pinned name already, and belongs to the project. The texts may hold secrets: no picture
    and no dump shows them.
    """

    path: Path
    original: str = Field(repr=False, exclude=True)
    mended: str = Field(repr=False, exclude=True)
    changes: list[str]
    key: str
    destination: str
    dropped: list[str] = []
    fixed: bool = False


def service_of(found: Mapping[str, Any], engine_host: str | None = None) -> Service | None:
    """The service by the container's labels; None for a container that Compose did not make."""
    labels = found["Config"].get("Labels") or {}
    if not labels.get(PROJECT) or not labels.get(SERVICE):
        return None
    folder = Path(labels.get(FOLDER) or ".")
    return Service(
        project=labels[PROJECT],
        service=labels[SERVICE],
        folder=folder,
        files=_files(labels.get(FILES) or "", folder),
        env_files=[Path(each) for each in (labels.get(ENVIRONMENT_FILES) or "").split(",") if each],
        version=labels.get(VERSION) or "",
        engine_host=engine_host,
    )


def _files(text: str, folder: Path) -> list[Path]:
    """Separated by commas, unless all of it is the name of one file; in a folder that may not be entered, none is."""
    if "," in text and _is_file(whole := _found(text, folder)):
        return [whole]
    return [_found(each.strip(), folder) for each in text.split(",") if each.strip()]


def _found(name: str, folder: Path) -> Path:
    """A file of the label. Compose 1 names it from where it was called: the project's folder, or one above."""
    places = [each / name for each in (folder, *folder.parents)]
    try:
        return next((each for each in places if each.is_file()), places[0])
    except OSError:
        return places[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def by_hand(pinned: str, key: str = "VOLUME") -> str:
    """What a person writes into the compose file."""
    return f"volumes:\n  {key}:\n    external: true\n    name: {pinned}"


def mounted_by_hand(service: Service, destination: str, pinned: str, instead: str = "") -> str:
    """The same where the service names no volume yet."""
    key = "postgres_data"
    entry = f"      - {key}:{destination}" + (f"  # instead of {instead}" if instead else "")
    return f"services:\n  {service.service}:\n    volumes:\n{entry}\n{by_hand(pinned, key)}"


def files_with(service: Service, mend: Mend, other: Path) -> Sequence[Path]:
    """The service's files with `other` in the place of the mended one."""
    return [other if path == mend.path else path for path in service.files]
