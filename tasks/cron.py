"""Cron lines and time zones, checked before anything is planned by them; and from when on a run by one is overdue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

NEVER = "never"
FIELDS = "minute hour day month weekday"
# What every reader of cron lines takes for the same; not each knows L, W and #.
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2024, 1, 1)  # of a leap year; any other would do
HORIZON = START.replace(year=2033)  # two leap days away: the longest time that a line can leave between two dates
MOST_DATES = 400
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


@cache
def longest_gap(line: str) -> timedelta | None:
    """The longest time between two runs of a checked line, by the clock on the wall; None for `never`.

    In autumn an hour more may pass, for the clocks are set back.
    """
    if line == NEVER:
        return None
    minute, hour, *days = line.split()
    times = list(_runs(f"{minute} {hour} * * *", START + DAY))
    within = max((later - earlier for earlier, later in pairwise(times)), default=timedelta(0))
    dates = (
        [START, START + DAY] if days == ["*"] * 3 else list(islice(_runs(f"0 0 {' '.join(days)}", HORIZON), MOST_DATES))
    )
    between = max((later - earlier for earlier, later in pairwise(dates)), default=HORIZON - START)
    return max(within, between - (times[-1] - times[0]))


def overdue_after(line: str) -> timedelta | None:
    """How long after one run the next is missed: the longest gap, and a margin of twice that, which is at least one
    hour (the clocks are set back once a year) and at most two. None for `never`: nothing is missed."""
    gap = longest_gap(line)
    return None if gap is None else gap + min(max(2 * gap, HOUR), 2 * HOUR)


def _runs(line: str, until: datetime) -> Iterator[datetime]:
    return takewhile(lambda due: due < until, CronSim(line, START - timedelta(minutes=1)))
