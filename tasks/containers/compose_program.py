"""Ask the Compose program, v2 or v1: does it accept the files, and which hash has a service?"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.containers.compose_file import CannotMend, Mend, Service, by_hand, files_with

SECONDS = 60


def compose_command() -> list[str] | None:
    """`docker compose` where the plugin is there, else `docker-compose`; None where neither is."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=SECONDS)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def check(service: Service, mend: Mend, pinned: str) -> None:
    """Let Compose read the mended text in its place. Raise CannotMend with its words, or if there is no Compose."""
    with _beside(mend) as file:
        done = _compose(service, files_with(service, mend, file), "config", "--quiet")
    if done is None:
        raise CannotMend(f"No Compose program is here to check the change with. Write:\n{by_hand(pinned)}")
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-300:]
        raise CannotMend(f"Compose does not accept the mended {mend.path} ({words}). Write:\n{by_hand(pinned)}")


def config_hash(service: Service, mend: Mend, known: str) -> str | None:
    """The hash that Compose will compare the container's label with once the file is mended.

    None where it cannot be had: also where the present text does not give the hash `known`, that of the container, for
    then a variable that the project's environment has is not in ours. The next `up` re-creates the container then.
    """
    if _hash_of(service, service.files) != known:
        return None
    with _beside(mend) as file:
        return _hash_of(service, files_with(service, mend, file))


def _hash_of(service: Service, files: Sequence[Path]) -> str | None:
    done = _compose(service, files, "config", f"--hash={service.service}")
    words = done.stdout.split() if done is not None and done.returncode == 0 else []
    return words[-1] if len(words) == 2 and words[0] == service.service else None


@contextmanager
def _beside(mend: Mend) -> Iterator[Path]:
    """The mended text in a file of the same folder, so that relative paths in it mean the same."""
    try:
        handle, name = tempfile.mkstemp(prefix=".rollcall-", suffix=mend.path.suffix, dir=mend.path.parent)
    except OSError as error:
        raise CannotMend(f"{mend.path.parent} cannot be written to: {error.strerror}.") from error
    file = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as text:
            text.write(mend.mended)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _compose(service: Service, files: Sequence[Path], *arguments: str) -> subprocess.CompletedProcess[str] | None:
    command = compose_command()
    if command is None:
        return None
    named = [word for file in files for word in ("--file", str(file))]
    line = [*command, *named, "--project-name", service.project, "--project-directory", str(service.folder)]
    try:
        return subprocess.run(
            [*line, *arguments], capture_output=True, text=True, check=False, timeout=SECONDS, cwd=service.folder,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMend(f"Compose could not be asked about {service.folder}: {type(error).__name__}.") from error
