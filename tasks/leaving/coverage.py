"""Does a proven backup hold every row of a cluster? Pure, and by facts alone.

Every transaction that changes a row, whether or not the table keeps a log, takes a transaction id, and ids are counted
for the whole cluster. A backup notes the next id before its first snapshot, if no transaction with an id was at work
then. Where the cluster, shut down in order, still has the same next id, no row of any of its databases was written
after that moment: the backup holds all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.containers.control_file import ControlFile
from tasks.leaving.facts import Stored


def covering(cluster: ControlFile, volume: str, stored: Sequence[Stored]) -> Stored | None:
    """The newest proven backup that holds every row of the cluster at rest in `volume`; None if none is known to."""
    if not at_rest(cluster):
        return None
    fit = [each for each in stored if counts(each) and _is_as(each, cluster, volume)]
    return max(fit, key=lambda each: each.created_at, default=None)


def at_rest(cluster: ControlFile) -> bool:
    """Whether its control file tells all: its server was shut down in order, and it is no standby's."""
    return cluster.sound and cluster.state == "shut down" and cluster.next_xid is not None


def counts(stored: Stored) -> bool:
    """Whether it is a backup to rely on: proven, good, and of every database and role."""
    return stored.proven_at is not None and not stored.quarantined and stored.whole


def _is_as(stored: Stored, cluster: ControlFile, volume: str) -> bool:
    """Of this very cluster, in this very volume, and nothing was written since. A copy of the cluster elsewhere may
    have come to the same id with other rows."""
    return (
        stored.volume == volume
        and stored.system_identifier == cluster.system_identifier
        and stored.timeline == cluster.timeline
        and stored.settled_xid is not None
        and stored.settled_xid == cluster.next_xid
    )


def uncovered(cluster: ControlFile, volume: str, stored: Sequence[Stored]) -> str:
    """Why no proven backup is known to hold every row of the cluster, in a sentence without its full stop."""
    if not cluster.sound:
        return "its control file is damaged"
    if cluster.state != "shut down":
        return f"its server was not shut down in order ({cluster.state})"
    own = [each for each in stored if each.system_identifier == cluster.system_identifier and each.volume == volume]
    if not own:
        return "no backup of it is stored"
    good = [each for each in own if counts(each)]
    if not good:
        last = max(own, key=lambda each: each.created_at)
        return f"its newest backup, {last.id}, {_lack(last)}"
    last = max(good, key=lambda each: each.created_at)
    if last.settled_xid is None:
        return f"somebody was writing when backup {last.id} began"
    return f"something was written after backup {last.id} of {last.created_at:%Y-%m-%d %H:%M:%S} UTC"


def _lack(stored: Stored) -> str:
    if stored.quarantined:
        return "is quarantined: the verdict was critical"
    return "does not hold every database, table and role" if not stored.whole else "is not proven"
