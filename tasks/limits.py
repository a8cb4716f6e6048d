"""From when on something that did not happen is missed: by the configuration's own key, else by the schedule.

None everywhere means: nobody is told, for nothing is scheduled and no key asks for it.
"""

from __future__ import annotations

import math
from datetime import timedelta

from tasks.config import Config
from tasks.cron import DAY, longest_gap, overdue_after

DRILLS = 2
"""In how many drills in a row a proof may be lacking: one that fails tells of itself."""


def backup_limit(config: Config, target: str) -> timedelta | None:
    """How old the newest good backup may be: `max_age_hours`, else until the next one is overdue."""
    hours = config.target(target).max_age_hours
    return overdue_after(config.schedules_of(target).backup) if hours is None else timedelta(hours=hours)


def verify_limit(config: Config, target: str) -> timedelta | None:
    """How long nobody may have verified: `max_silence_minutes`, else until the next one is overdue."""
    minutes = config.target(target).max_silence_minutes
    return overdue_after(config.schedules_of(target).verify) if minutes is None else timedelta(minutes=minutes)


def proof_limit(config: Config, target: str) -> timedelta | None:
    """How old the last proof of a backup may be: `prove_every_days` (0: any age), else two drills, in whole days."""
    days = config.target(target).prove_every_days
    if days is not None:
        return timedelta(days=days) if days else None
    gap = longest_gap(config.schedules_of(target).drill)
    return None if gap is None else timedelta(days=math.ceil(DRILLS * gap / DAY))


def check_limit(config: Config, target: str) -> timedelta | None:
    """How old the last look at the target may be to say anything about now: `api.stale_after_hours`, else until the
    next is overdue. Each verify looks, and each backup."""
    if config.api.stale_after_hours is not None:
        return timedelta(hours=config.api.stale_after_hours)
    schedules = config.schedules_of(target)
    found = [limit for limit in map(overdue_after, (schedules.verify, schedules.backup)) if limit is not None]
    return min(found, default=None)


def check_limits(config: Config) -> dict[str, timedelta | None]:
    """The same for every target, by its name."""
    return {target: check_limit(config, target) for target in config.targets}
