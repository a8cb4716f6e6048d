"""Whether the clocks agree by which backups are dated and judged: this machine's, the engine's, each storage's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from tasks.config import Config, S3Storage
from tasks.containers.engine import engine
from tasks.doctor.diagnosis import Diagnosis, tried
from tasks.errors import EngineError, RollcallError, StorageError
from tasks.secrets import SecretReference, reveal
from tasks.sections import Docker

TOLERANCE = timedelta(seconds=30)
HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
SILENT = ""
"""In place of words: it does not say what time it is."""
Clock = Callable[[], datetime]


def now() -> datetime:
    """What this machine's clock says."""
    return datetime.now(UTC)


def clock_diagnoses(config: Config, clock: Clock = now) -> Iterator[Diagnosis]:
    """The engine's clock, and that of every S3 server that a target's backups go to; nothing of one that does not
    answer, which is told elsewhere."""
    asked: list[tuple[str, Callable[[], str]]] = [
        (f"engine {each.named}: clock" if each else "engine: clock", partial(_engine, each, clock))
        for each in config.engines()
    ]
    used = {name for target in config.targets.values() for name in target.storages}
    for name in sorted(used):
        section = config.storages[name]
        if isinstance(section, S3Storage):
            asked.append((f"storage {name}: clock", partial(_storage, name, section, clock)))
    for subject, check in asked:
        if (found := tried(subject, check)).words != SILENT:
            yield found


def off_by(told: datetime, before: datetime, after: datetime) -> timedelta:
    """How far a clock that was asked between two moments is from them (pure)."""
    return max(before - told, told - after, timedelta(0))


def _engine(where: Docker | None, clock: Clock) -> str:
    before = clock()
    try:
        with engine(where) as client:
            told = datetime.fromisoformat(client.info()["SystemTime"])
    except (EngineError, KeyError, ValueError):
        return SILENT
    if (apart := off_by(told, before, clock())) > TOLERANCE:
        raise EngineError(
            f"The Docker engine's clock and this machine's are {apart.total_seconds():,.0f} s apart: set both by NTP "
            "(a virtual machine may have slept), or what was written last cannot be told."
        )
    return "The Docker engine's clock and this machine's agree."


def _storage(name: str, section: S3Storage, clock: Clock) -> str:
    before = clock()
    if (told := _date_of_server(section)) is None:
        return SILENT
    # The server tells whole seconds, rounded down.
    if (apart := off_by(told, before - timedelta(seconds=1), clock())) > TOLERANCE:
        raise StorageError(
            f"The clock of the storage {name} and this machine's are {apart.total_seconds():,.0f} s apart: set this "
            "machine's by NTP. S3 refuses every request when it is 15 minutes."
        )
    return f"The clock of the storage {name} and this machine's agree."


def _date_of_server(section: S3Storage) -> datetime | None:
    """The Date of an answer, a refusal too; None where there is no answer, or no date in it."""
    from botocore.exceptions import BotoCoreError, ClientError

    from tasks.storage.s3_client import connect

    answer: Any
    try:
        client = connect(section, _revealed(section.access_key_id), _revealed(section.secret_access_key), attempts=2)
        answer = client.head_bucket(Bucket=section.bucket)
    except ClientError as error:
        answer = error.response
    except (BotoCoreError, RollcallError, ValueError, OSError):
        return None
    return http_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))


def http_date(text: str) -> datetime | None:
    """The date of a Date header, the last one where a proxy has put its own before the server's; None where there is
    none (RFC 9110, 5.6.7; pure)."""
    found = HTTP_DATE.findall(text)
    try:
        return parsedate_to_datetime(found[-1]) if found else None
    except ValueError:
        return None


def _revealed(reference: SecretReference | None) -> str | None:
    return reveal(reference) if reference else None
