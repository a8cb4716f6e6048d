"""What the watcher tells by itself, besides the checks that it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.alerts import codes
from tasks.alerts.message import Message, in_words
from tasks.config import Target
from tasks.history.judge import where
from tasks.models import Finding
from tasks.watching.sighting import Sighting


def look_alike(volume: str, pinned: str, project: str | None, *, mounted: bool) -> Finding:
    """`volume.look_alike`: a volume was made that looks like the pinned one.

    mounted: the target's container is on the pinned one. project: the compose project that made the new one.
    """
    by = f" by the compose project {project}" if project else ""
    still = f"the container is on {pinned} as before" if mounted else f"no container is on {pinned} now"
    message = f"The volume {volume} was made{by}; it looks like the pinned {pinned}; {still}."
    return Finding(code="volume.look_alike", severity="warning", message=message)


class Certain(NamedTuple):
    """What is certain of a target before anything is counted: in short, and as the message about it."""

    words: str
    message: Message


def certain(target: str, rules: Target, seen: Sighting) -> Certain | None:
    """What is wrong with what is seen of it, if that is certain; None where nothing is."""
    if seen.volume not in {None, rules.pinned}:
        word = first_word(target, rules.container, str(seen.volume), rules.pinned)
        return Certain(f"wrong volume {seen.volume}", word)
    if seen.servers and seen.own == "on it":  # Else it may be the only server, and the one that people use.
        return Certain(f"second server {', '.join(seen.servers)}", second_word(target, rules, seen.servers))
    return None


def second_word(target: str, rules: Target, servers: Sequence[str]) -> Message:
    """The alert that another container runs a server on the pinned volume beside the target's own, where the check
    itself takes long."""
    after = [
        f"Two servers on one volume damage the data: docker stop {' '.join(servers)}",
        "It is being checked now; what it lacks is told when that is known.",
    ]
    beside = f"beside {rules.container}"
    said = f"Container {', '.join(servers)} runs a PostgreSQL server on the {rules.pinned_place} {beside}."
    return in_words(f"CRITICAL {target}: {codes.words('volume.shared')}", said, after, "failure")


def first_word(target: str, container: str, volume: str, pinned: str) -> Message:
    """What is certain before anything is counted: the alert where the check itself takes long."""
    after = [
        "It is being checked now; what it holds and lacks is told when that is known.",
        f"Next: {codes.step('volume.mismatch', target)}",
    ]
    said = f"Container {container} keeps its data {where(None, volume)} where {pinned} is pinned."
    return in_words(f"CRITICAL {target}: {codes.words('volume.mismatch')}", said, after, "failure")


def check_hangs(target: str, seconds: float) -> Message:
    """A check of the watcher that does not come to its end, and keeps the next one from beginning."""
    after = [
        "The watcher begins no other check of it; the others and the schedule go on.",
        "Next: see whether its server, engine or a storage hangs: rollcall doctor",
    ]
    said = f"It began more than {seconds / 60:.0f} minutes ago."
    return in_words(f"FAILED {target}: a check does not end", said, after, "failure")


def look_alike_message(target: str, finding: Finding) -> Message:
    """The warning about it, told once: it makes no verdict."""
    after = [f"Next: {codes.step(finding.code, target)}"]
    return in_words(f"WARNING {target}: {codes.words(finding.code)}", finding.message, after, "warning")


def engine_lost(targets: Sequence[str], why: str) -> Message:
    """Told once for all targets: nothing can be noticed meanwhile, and their servers may be down too."""
    after = [
        f"Targets: {', '.join(targets)}.",
        "Next: see to the Docker engine; what happened meanwhile is checked then.",
    ]
    said = f"{why.rstrip('.')}."
    return in_words("CRITICAL rollcall watcher: the Docker engine does not answer", said, after, "failure")


def engine_regained(targets: Sequence[str]) -> Message:
    """The good news after that."""
    after = [f"Targets: {', '.join(targets)}.", "What has changed meanwhile is being checked."]
    said = "The Docker engine answers again."
    return in_words("RECOVERED rollcall watcher: the Docker engine answers again", said, after, "success")
