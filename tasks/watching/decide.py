"""Whether what is seen of a target calls for a check, and when. Pure: from two sightings, or from a series of needs.

A check is wanted when a container has started (as soon as its server accepts connections), when it has stopped and
does not come back, and at once when the pinned volume is gone, or when a second server comes to it or leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

from tasks.watching.sighting import Sighting

When = Literal["at once", "when it accepts connections", "if it stays down"]

DOWN_GRACE = 60.0
"""Seconds that a container may be away, or start again and again, before that is worth a check: restarts and
re-creations by hand take less."""
LOOP_STARTS = 3
"""So many starts without one that accepted connections are a loop."""

CHECKS_WINDOW = 3600.0
FREE_CHECKS = 3
FREE_CHECKS_OF_NEWS = 20
FIRST_GAP, LONGEST_GAP = 60.0, 900.0


@dataclass(frozen=True)
class Need:
    """A check that is called for. why: in words, after the target's name and a colon."""

    when: When
    why: str


@dataclass(frozen=True)
class Pending:
    """A need that waits. Times are seconds of a monotonic clock.

    since: when this need came; troubled_since: when the first one came after which nothing has accepted connections;
    starts: of the container, in that time; tried: it was checked already, before it accepted connections; urgent: what
    must be checked at once came while a start was waited for.
    """

    need: Need
    since: float
    troubled_since: float
    starts: int = 0
    tried: bool = False
    urgent: bool = False


class Checked(NamedTuple):
    """A check that was begun: when (seconds, monotonic), and at what sight."""

    at: float
    seen: Sighting


def compare(before: Sighting, seen: Sighting, pin: str) -> Need | None:
    """What a change from one sighting to the next calls for; `pin` is the pinned volume's name."""
    if seen.running and _start(seen) != _start(before):
        return Need("when it accepts connections", f"its container started{_on(seen, pin)}")
    if before.pinned and not seen.pinned:
        return Need("at once", f"the pinned volume {pin} was removed")
    if come := [each for each in seen.servers if each not in before.servers]:
        return Need("at once", _second(seen, come, pin))
    if gone := [each for each in before.servers if each not in seen.servers]:
        return Need("at once", f"{', '.join(gone)} runs no server on the pinned volume {pin} any more")
    if before.running and not seen.running:
        return Need("if it stays down", "its container stopped" if seen.container else "its container was removed")
    return None


def first_look(seen: Sighting, checked_at: datetime | None, container: str | None, pin: str) -> Need | None:
    """What the first sighting calls for, when the last check was at `checked_at` (aware) of the container of that id.

    Nothing where that check is of this very start of this container on the pinned volume, so that a watcher which is
    started again need not count all rows.
    """
    if not seen.running:
        return Need("at once", "its container does not run")
    if seen.servers:
        return Need("at once", _second(seen, seen.servers, pin))
    begun = _moment(seen.started_at)
    if checked_at and begun and begun < checked_at and container == seen.container and seen.volume == pin:
        return None
    return Need("when it accepts connections", f"it is not known since its container started{_on(seen, pin)}")


def _moment(text: str) -> datetime | None:
    """The engine's text as a time: nine digits of a second, of which Python reads six."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _start(seen: Sighting) -> tuple[object, ...]:
    """What tells one start of a container from another."""
    return seen.container, seen.started_at, seen.running, seen.volume


def _second(seen: Sighting, servers: Sequence[str], pin: str) -> str:
    which = "a second" if seen.own == "on it" else "another container's"
    return f"{which} server runs on the pinned volume {pin}, in {', '.join(servers)}"


def _on(seen: Sighting, pin: str) -> str:
    return "" if seen.volume == pin else f" on {seen.volume or 'no volume'}, where {pin} is pinned"


def joined(pending: Pending | None, need: Need, now: float) -> Pending:
    """The newest need in the place of one that still waits; it inherits for how long all has not been well.

    A start that is waited for is never given up for a check at once: both are due.
    """
    start = need.when == "when it accepts connections"
    if pending is None:
        return Pending(need, now, now, int(start))
    if need.when == "at once" and pending.need.when == "when it accepts connections":
        return replace(pending, tried=False, urgent=True)
    return replace(pending, need=need, since=now, starts=pending.starts + start, urgent=False)


def is_due(pending: Pending, accepting: bool, now: float, start_wait: float) -> bool:
    """Whether to check now. start_wait: seconds that a start may take until it counts as failed.

    A container that starts again and again is checked once, not at every start.
    """
    troubled = not pending.tried and now - pending.troubled_since >= DOWN_GRACE
    waited = now - pending.since
    match pending.need.when:
        case "at once":
            return True
        case "if it stays down":
            return troubled or waited >= DOWN_GRACE
        case "when it accepts connections":
            looping = troubled and pending.starts >= LOOP_STARTS
            early = pending.urgent or waited >= start_wait
            return accepting or looping or (not pending.tried and early)


def seconds_to_wait(checks: Sequence[Checked], seen: Sighting, now: float) -> float:
    """For how long the next check is put off: one that loops through good starts must not be counted all the time.

    The first three in an hour are free, then the gaps double from one minute to a quarter of an hour. Another volume
    than at the last check, a pinned one that is gone, or another server on it, is news, and hardly waits at all.
    """
    recent = [each for each in checks if now - each.at < CHECKS_WINDOW]
    if not recent:
        return 0.0
    last = recent[-1].seen
    news = (last.volume, last.pinned, last.servers) != (seen.volume, seen.pinned, seen.servers)
    over = len(recent) - (FREE_CHECKS_OF_NEWS if news else FREE_CHECKS)
    if over < 0:
        return 0.0
    gap = FIRST_GAP if news else min(LONGEST_GAP, FIRST_GAP * 2.0**over)
    return max(0.0, recent[-1].at + gap - now)
