"""Ask the Compose program, v2 or v1: does it accept the files, what does it make of them, which hash has a service?

What it says of a project holds every secret of it: it stays in memory, and is never quoted.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ruamel.yaml.nodes import Node

from tasks.containers.compose_service import CannotMend, Mend, Service, by_hand, files_with
from tasks.containers.compose_yaml import (
    Source,
    child,
    extended,
    included,
    read,
    read_text,
    scalar,
    source_at,
    strings,
    volume_name,
)
from tasks.errors import ComposeFileError

SECONDS = 60
HOOKS = ("post_start", "pre_stop")
PLUGIN, STANDALONE = ["docker", "compose"], ["docker-compose"]
CHECK_BY_HAND = "Change the file by hand."
NOT_SET = re.compile(r"(\w+)\W+variable is not set")


def compose_commands(version: str = "") -> list[list[str]]:
    """The Compose programs that are here; the one of the generation that made the container (`version`) first."""
    found = []
    if shutil.which("docker"):
        plugin = subprocess.run([*PLUGIN, "version"], capture_output=True, check=False, timeout=SECONDS)
        found += [PLUGIN] if plugin.returncode == 0 else []
    if shutil.which("docker-compose"):
        found.append(STANDALONE)
    return found[::-1] if version.startswith("1.") else found


def of_the_first_generation(command: Sequence[str]) -> bool:
    """Whether the program is Compose 1: a `docker-compose` may be one of today, too."""
    if list(command) != STANDALONE:
        return False
    done = subprocess.run(
        [*command, "version", "--short"], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    return done.stdout.startswith("1.")


def check(service: Service, mend: Mend, pinned: str) -> None:
    """Let Compose read the mended text in its place.

    Raise CannotMend if it does not accept it, lacks variables that the files use, or would still mount something else;
    and if there is no Compose.
    """
    instead = f"Write:\n{by_hand(pinned, mend.key)}"
    with _beside(mend) as file:
        text, why = resolved(service, files_with(service, mend, file))
    if text is None:
        raise CannotMend(f"{mend.path} is not mended: {why}. {instead}")
    try:
        root = read(text)
    except ComposeFileError as error:
        raise CannotMend(f"{mend.path} is not mended: of what Compose makes of it, {error}. {instead}") from None
    mounted = source_at(root, service.service, mend.destination)
    name = volume_name(root, mend.key, service.project)
    external = scalar(child(root, "volumes", mend.key, "external")) != "false"
    if mounted != Source("named", mend.key) or name != pinned or not external:
        raise CannotMend(
            f"{mend.path} is not mended: Compose would still not mount {pinned} at {mend.destination} as a volume of "
            f"somebody else's. {instead}"
        )


def resolved(service: Service, files: Sequence[Path]) -> tuple[str | None, str]:
    """The files as Compose understands them, as YAML; None and the reason where it does not accept them.

    Not accepted is also what uses variables that are set in the project's environment and not in ours.
    """
    commands = compose_commands(service.version)
    if not commands:
        return None, "no Compose program is here to check the change with"
    line = _line(commands[0], service, files)
    done = _run(line, service.folder)
    lacking = sorted(set(NOT_SET.findall(done.stderr)))
    if lacking:
        return None, f"variables that it uses are not set here: {', '.join(lacking)}"
    if done.returncode != 0:
        # Its own words may quote a value.
        return None, f"Compose does not accept it; see why by: {shlex.join(_line(commands[0], service, service.files))}"
    return done.stdout, ""


def config_hash(service: Service, mend: Mend, known: str) -> str | None:
    """The hash that Compose will compare the container's label with once the file is mended.

    None where it cannot be had: also where the present text does not give the hash `known`, that of the container, for
    then a variable that the project's environment has is not in ours. The next `up` re-creates the container then.
    """
    for command in compose_commands(service.version):
        if known and _hash_of(command, service, service.files) == known:
            with _beside(mend) as file:
                return _hash_of(command, service, files_with(service, mend, file))
    return None


def _hash_of(command: list[str], service: Service, files: Sequence[Path]) -> str | None:
    done = _run(_line(command, service, files, f"--hash={service.service}"), service.folder)
    words = done.stdout.split() if done.returncode == 0 and not NOT_SET.search(done.stderr) else []
    return words[-1] if len(words) == 2 and words[0] == service.service else None


@contextmanager
def _beside(mend: Mend) -> Iterator[Path]:
    """The mended text in a file of the same folder, so that relative paths in it mean the same; only we can read it."""
    made = None
    try:
        handle, made = tempfile.mkstemp(prefix=".rollcall-", suffix=mend.path.suffix, dir=mend.path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(mend.mended.encode())
        yield Path(made)
    except OSError as error:
        raise CannotMend(f"{mend.path.parent} cannot be written to: {error.strerror}. {CHECK_BY_HAND}") from error
    finally:
        if made is not None:
            Path(made).unlink(missing_ok=True)


def _line(command: list[str], service: Service, files: Sequence[Path], *more: str) -> list[str]:
    named = [word for file in files for word in ("--file", str(file))]
    environment = [word for file in service.env_files for word in ("--env-file", str(file))]
    profiles = [word for each in _profiles(service) for word in ("--profile", each)]
    place = ["--project-name", service.project, "--project-directory", str(service.folder)]
    return [*command, *named, *place, *environment, *profiles, "config", *more]


def _profiles(service: Service) -> list[str]:
    """Those of the service, without which Compose would leave it out; also of the one that it extends."""
    found: list[str] = []
    waiting = [(path, service.service) for path in all_files(service)]
    for number, (path, name) in enumerate(waiting):
        with suppress(ComposeFileError):
            root = read(read_text(path))
            found += strings(child(root, "services", name, "profiles"))
            other = extended(root, name, path)
            waiting += [other] if other and other not in waiting[: number + 1] else []
    return list(dict.fromkeys(found))


def all_files(service: Service) -> list[Path]:
    """The service's files and those that they include, each once; one that cannot be read includes none."""
    found = list(service.files)
    for path in found:
        with suppress(ComposeFileError):
            found += [each for each in included(read(read_text(path)), path.parent) if each not in found]
    return found


def hooks_of(service: Service) -> list[str]:
    """Which hooks Compose would run for the service where it starts or stops it; none where Compose cannot be asked."""
    try:
        text, _ = resolved(service, service.files)
        return hooks_in(read(text), service.service) if text else []
    except (CannotMend, ComposeFileError):
        return []


def hooks_in(root: Node, service: str) -> list[str]:
    """The names of the hooks that the service has, of what Compose makes of the files (pure)."""
    return [each for each in HOOKS if child(root, "services", service, each) is not None]


def _run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            line, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS, cwd=folder,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMend(f"Compose could not be asked about {folder}: {type(error).__name__}.") from error
