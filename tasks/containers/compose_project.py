"""A folder with compose files, as the Compose program itself understands it: its name, its volumes; and its `down`.

What Compose says of a project holds every secret of it: of that, names alone leave this module.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml.nodes import Node

from tasks.containers.compose_program import NOT_SET, SECONDS, compose_commands, hooks_in, of_the_first_generation
from tasks.containers.compose_yaml import child, keys, read, scalar, volume_name
from tasks.errors import ComposeFileError
from tasks.models import Model

USUAL_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
)  # fmt: skip
NO_NAME = {"COMPOSE_PROJECT_NAME": ""}
SETTING = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
DOWN_SECONDS = 3600


class DeclaredVolume(Model):
    """A volume of the top-level `volumes`. name: the engine's; external: `down --volumes` leaves it alone."""

    key: str
    name: str
    external: bool


class Project(Model):
    """A Compose project. command: the Compose program; first: it is Compose 1; options: --file with each of its files.

    Compose 1 always reads the files, and has only those options that were given. Compose of today reads none where it
    is given a name and no file, and takes every container of that name for the project's: those of other folders too.
    services: without those of profiles that are not active. unset: variables that its files use and that are not set
    here. hooks: services with a hook that Compose runs before it stops them.
    """

    name: str
    folder: Path
    command: list[str]
    first: bool = False
    options: list[str]
    services: list[str]
    volumes: list[DeclaredVolume]
    unset: list[str] = []
    hooks: list[str] = []

    def line(self, *words: str) -> list[str]:
        """A command line of Compose about this project and no other, whatever the environment says later."""
        return [*self.command, *self.options, "--project-name", self.name, *words]


def read_project(
    folder: Path,
    files: Sequence[str] = (),
    name: str | None = None,
    version: str = "",
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """The project in `folder`; version: of the Compose that made its containers, whose generation is asked first.

    Raise ComposeFileError: no folder, no compose file, no Compose program, or Compose does not accept it.
    """
    found, settings = project_files(folder, files, environ)
    folder = _folder(folder)
    commands = compose_commands(version)
    if not commands:
        raise ComposeFileError("No Compose program is here: install the plugin `docker compose`, or `docker-compose`.")
    first = of_the_first_generation(commands[0])
    named = [str(Path(file).absolute()) for file in (files if first else found)]
    options = [word for file in named for word in ("--file", file)]
    root, said = _config([*commands[0], *options, *(["--project-name", name] if name else [])], folder)
    known = (
        name or scalar(child(root, "name")) or _name(found[0].parent if files else found[0].parent.resolve(), settings)
    )
    volumes = [_declared(root, key, known) for key in keys(child(root, "volumes"))]
    return Project(
        name=known,
        folder=folder,
        command=commands[0],
        first=first,
        options=options,
        services=keys(child(root, "services")),
        volumes=volumes,
        unset=sorted(set(NOT_SET.findall(said))),
        hooks=[each for each in keys(child(root, "services")) if "pre_stop" in hooks_in(root, each)],
    )


def services_now(project: Project) -> list[str]:
    """The services that the project's files name now. Raise ComposeFileError."""
    return keys(child(_config(project.line(), project.folder)[0], "services"))


def _config(line: Sequence[str], folder: Path) -> tuple[Node, str]:
    """What Compose makes of the files, and what it says beside it. Raise ComposeFileError."""
    line = [*line, "config"]
    done = compose(line, folder, SECONDS)
    if done.returncode != 0:
        # Its own words may quote a value.
        raise ComposeFileError(
            f"Compose does not accept the project in {folder}; see why by: cd {folder} && {shlex.join(line)}"
        )
    return read(done.stdout), done.stderr


def _declared(root: Node, key: str, project: str) -> DeclaredVolume:
    external = child(root, "volumes", key, "external")
    return DeclaredVolume(
        key=key,
        name=volume_name(root, key, project),
        external=external is not None and scalar(external) != "false",
    )


def down(project: Project, environ: Mapping[str, str] = os.environ) -> None:
    """`down` without `--volumes`, and without --remove-orphans, whatever the environment says: containers and networks
    go, every volume stays.

    Compose of today does without files that it cannot read where its environment has a name: so it is given none there.
    environ: says where the engine is. Raise ComposeFileError.
    """
    line = project.line("down", *([] if project.first else ["--remove-orphans=false"]))
    environ = {**environ, **({} if project.first else NO_NAME)}
    with leash() as held:
        done = compose(line, project.folder, DOWN_SECONDS, environ, held)
    if done.returncode != 0:
        # Its own words may quote a value.
        raise ComposeFileError(
            f"Compose could not bring {project.name} down, and no volume was removed; see why by: "
            f"cd {project.folder} && {'' if project.first else 'COMPOSE_PROJECT_NAME= '}{shlex.join(line)}"
        )


# Compose is a program of its own, and would go on with its work if this process were killed: against whatever is typed
# next. It ends with us: the shell's standard input does, and the shell ends all of its process group.
LEASHED = (
    "sh", "-c", 'exec 3<&0; "$@" </dev/null 3<&- & program=$!; { read -r end <&3; kill -KILL 0; } & leash=$!; '
    'wait "$program"; status=$?; kill "$leash"; exit "$status"', "sh",
)  # fmt: skip


@contextmanager
def leash() -> Iterator[int]:
    """Standard input for a LEASHED program: it ends when the block does, or this process."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def compose(
    line: Sequence[str],
    folder: Path,
    seconds: float,
    environ: Mapping[str, str] = os.environ,
    leashed: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it in the folder. Raise ComposeFileError if it cannot be run, or has not ended after so many seconds.

    leashed: what `leash` gives, for one that is to end with this process.
    """
    command = line if leashed is None else [*LEASHED, *line]
    try:
        return subprocess.run(
            command, cwd=folder, env={**environ, "PWD": str(folder)}, stdin=leashed or subprocess.DEVNULL,
            capture_output=True, start_new_session=leashed is not None, text=True, errors="replace", check=False,
            timeout=seconds,
        )  # fmt: skip
    except OSError as error:
        raise ComposeFileError(f"{line[0]} cannot be run: {error.strerror}.") from error
    except subprocess.TimeoutExpired:
        raise ComposeFileError(f"{shlex.join(line)} has not ended after {seconds:g} s.") from None


def _folder(folder: Path) -> Path:
    try:
        folder = folder.expanduser().absolute()
        found = folder.is_dir()
    except (OSError, RuntimeError, ValueError):
        found = False
    if not found:
        raise ComposeFileError(f"There is no folder {folder}; name the one that holds the compose file.")
    return folder


def project_files(
    folder: Path, files: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> tuple[list[Path], Mapping[str, str]]:
    """The project's files as Compose finds them, and the environment with what the folder's .env adds.

    Compose itself would go on looking in the folders above, for another project. Raise ComposeFileError.
    """
    folder = _folder(folder)
    settings = {**_dot_env(folder), **environ}
    if files:
        named = [Path(each).absolute() for each in files]
    elif settings.get("COMPOSE_FILE"):
        separator = settings.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = [folder / each for each in settings["COMPOSE_FILE"].split(separator)]
    else:
        named = [found[0] for names in (USUAL_FILES, OVERRIDES) if (found := _there(folder, names))]
        if not _there(folder, USUAL_FILES):
            raise ComposeFileError(f"{folder} holds no compose file ({', '.join(USUAL_FILES)}); name it with --file.")
    missing = next((each for each in named if not _is_file(each)), None)
    if missing is not None:
        raise ComposeFileError(f"There is no compose file {missing}.")
    return named, settings


def _there(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / each for each in names if _is_file(folder / each)]


def _is_file(path: Path) -> bool:
    """Raise ComposeFileError where this user may not know."""
    try:
        return path.is_file()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be"
        raise ComposeFileError(f"The compose file {path} cannot be looked for: {reason}.") from None


def _name(folder: Path, settings: Mapping[str, str]) -> str:
    """How Compose 1 calls the project: its `config` does not say. As Compose 2 does, but for a leading - or _."""
    return re.sub(r"[^-_a-z0-9]", "", (settings.get("COMPOSE_PROJECT_NAME") or folder.name).lower()) or "default"


def _dot_env(folder: Path) -> dict[str, str]:
    """What the folder's .env sets, as far as it is needed here: no value of it is shown."""
    try:
        lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = [match for line in lines if (match := SETTING.fullmatch(line)) is not None]
    return {match[1]: match[2].strip("'\"") for match in found}
