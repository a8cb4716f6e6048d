"""Write what is safe to write: a compose file that pins the volume which is mounted and holds the data."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.config import Config
from tasks.containers.engine import engine, inspect_container
from tasks.doctor.compose import INIT
from tasks.doctor.diagnosis import Diagnosis, Pin
from tasks.errors import RollcallError
from tasks.restore.mending import kept_original, mend, prepare_mend
from tasks.storage.catalogue import new_id


def fixed(config: Config, found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """The diagnoses, those that could be written as written; one that could not says why and stays what it was.

    The original stays beside the file. Nothing but compose files is changed, and no data is moved.
    """
    run = new_id(datetime.now(UTC), secrets.token_hex(3))
    done = [_fixed(config, each, each.pin, run) if each.pin else each for each in found]
    pinned = {before.pin.target for before, after in zip(found, done, strict=True) if before.pin and after.well}
    return [_harmless(each) if each.subject in {f"{name}: {INIT}" for name in pinned} else each for each in done]


def _harmless(scripts: Diagnosis) -> Diagnosis:
    """Init scripts, once the volume is pinned."""
    words = "They would build the schema anew in an empty volume; the volume is pinned now, so none comes about."
    return scripts.model_copy(update={"well": True, "words": words, "lines": []})


def _fixed(config: Config, diagnosis: Diagnosis, pin: Pin, run: str) -> Diagnosis:
    try:
        with engine(config.target(pin.target).docker) as client:
            inspected = inspect_container(client, pin.container)
        path = prepare_mend(inspected, pin.volume)["mended_file"]
        mend(inspected, pin.volume, run)
    except RollcallError as error:
        return diagnosis.model_copy(update={"words": f"{diagnosis.words} It could not be written: {error}"})
    kept = kept_original(Path(path), run)
    words = f"Written: {path} pins {pin.volume} now. The original is kept as {kept.name}."
    return diagnosis.model_copy(update={"well": True, "words": words, "pin": None})
