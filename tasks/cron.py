"""Cron lines and time zones, checked before anything is planned by them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

NEVER = "never"
FIELDS = "minute hour day month weekday"
# What every reader of cron lines takes for the same; not each knows L, W and #.
PLAIN = re.compile(r"[\d*/,-]+ [\d*/,-]+ [\d*/,-]+ ([\d*/,-]|[A-Za-z]{3})+ ([\d*/,-]|[A-Za-z]{3})+")


def checked_cron(line: str) -> str:
    """The cron line, or `never`, without needless blanks. Raise ValueError that says what is wrong with it."""
    text = " ".join(line.split())
    if text == NEVER:
        return text
    hint = f"give five fields ({FIELDS}), for example '0 2 * * *', or {NEVER}"
    if not PLAIN.fullmatch(text):
        raise ValueError(f"{line!r} is no cron line; {hint}")
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ValueError(f"{line!r} is no cron line, its {field} cannot be; {hint}") from None
    return text


def checked_timezone(name: str) -> str:
    """The name of a time zone that this machine knows. Raise ValueError for any other."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; give its IANA name, for example Europe/Berlin or UTC") from None
