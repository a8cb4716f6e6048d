"""What a `down` has stopped, on the disk before it does: the next one starts again what a killed one stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError

from tasks.config import Config
from tasks.containers import at_rest, recreate
from tasks.containers.engine import engine
from tasks.errors import ConfigError, ContainerMissing, EngineError, EngineUnreachable
from tasks.models import Model
from tasks.restore.journal import sync_folder, write_durably

log = logging.getLogger("rollcall")


class Stopped(Model):
    """Ids of the containers that ran, in the order in which they are to be started; and which one was being stopped."""

    containers: list[str]
    stopping: str | None = None


def path_of(config: Config, project: str) -> Path:
    """Where the record of a project's `down` is."""
    return config.state / "downs" / f"{project}.json"


def write(config: Config, project: str, stopped: Stopped) -> None:
    """Write it durably. Raise ConfigError if it cannot be."""
    path = path_of(config, project)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(partial := path.with_suffix(".new"), stopped.model_dump_json())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; nothing is stopped.") from error


def read(config: Config, project: str) -> Stopped | None:
    """The record of a `down` that has not come to its end; None where there is none that can be read."""
    try:
        return Stopped.model_validate_json(path_of(config, project).read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None


def forget(config: Config, project: str) -> None:
    """The `down` has come to its end, or all that it stopped was started again."""
    path_of(config, project).unlink(missing_ok=True)


def start_recorded(config: Config, project: str) -> list[str]:
    """Start what the record names; what was removed meanwhile is left out. The record is gone then, if all runs.

    The engine may still be at work on the stop of one whose client was killed: that comes to its end first. Return a
    sentence for each that does not run. Raise EngineUnreachable.
    """
    if (stopped := read(config, project)) is None:
        return []
    wrong, started = [], []
    with engine(config.docker, recreate.STOP_PATIENCE) as client:
        for each in stopped.containers:
            try:
                if each == stopped.stopping:
                    recreate.stop(client, each)
                recreate.start(client, each)
                started.append(each)
            except ContainerMissing:
                continue
            except EngineUnreachable:
                raise
            except EngineError as error:
                wrong.append(str(error))
        wrong += at_rest.not_running(client, started)
    if not wrong:
        forget(config, project)
    return wrong
