"""May a kept volume go? Pure: are there stored backups that hold every row that it holds? By facts alone.

Rows are elsewhere in two cases only. The volume holds what a stored backup holds: it was rebuilt from it by a restore
that was undone, and no server but the scratch one has ever run on it. Or a later restore copied it, made the copy live,
and a good backup was taken of that before anything else was made live. A backup taken of the volume's own server before
it was stopped is not enough: rows that were written in between would be lost, and so would those that lie only in the
log of a server that was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tasks.containers.control_file import ControlFile
from tasks.containers.other_files import OtherFiles, in_words
from tasks.history.judge import lsn
from tasks.models import Model


class Stored(Model):
    """A backup that is listed whole. narrowed: databases or tables of the cluster were left out of it."""

    id: str
    created_at: datetime
    quarantined: bool
    narrowed: bool
    system_identifier: str
    timeline: int
    checkpoint_lsn: str


class Record(Model):
    """A restore that has ended, as its journal tells.

    committed_at: None if it was undone. source_volume: the volume that it copied, if any. rebuilt_cluster, rebuilt_at:
    what lay in its staging volume when it was proven. served: whether the container was then started on it. taken_over:
    files that it copied out of PGDATA of the pinned volume, so that they are in both: below the volume's root.
    """

    run: str
    begun_at: datetime
    committed_at: datetime | None = None
    source_volume: str | None = None
    rebuilt_cluster: str | None = None
    rebuilt_at: datetime | None = None
    served: bool = False
    taken_over: list[str] = []


class Facts(Model):
    """A kept volume and everything that may hold its rows too.

    run, backup: as its labels say. clusters: None if nobody could look. empty: no file is in it. others: files in it
    that are no part of a cluster. records: of every restore of the target that has ended.
    """

    name: str
    target: str
    run: str
    backup: str
    clusters: list[ControlFile] | None
    empty: bool
    others: list[OtherFiles] = []
    stored: list[Stored]
    unreachable: list[str] = []
    records: list[Record] = []


def only_copy(facts: Facts) -> str | None:
    """What would be lost with the volume, in a sentence or two; None if every row of it is in a stored backup too."""
    if facts.empty:
        return None
    if not facts.clusters:
        return (
            f"What the volume {facts.name} holds cannot be read, so nobody knows whether it is anywhere else; copy it "
            "away first."
        )
    lost = [each for each in facts.clusters if not holders(each, facts)]
    if not lost:
        return _other_files(facts)
    what = " and ".join(f"cluster {each.system_identifier} as it was at {_time(each.changed_at)}" for each in lost)
    return (
        f"The volume {facts.name} holds {what}, and no stored backup is known to hold every row of it: "
        f"{_nearest(lost[0], facts)}{_save(facts)}"
    )


def unheld(others: Sequence[OtherFiles], run: str, records: Sequence[Record]) -> list[OtherFiles]:
    """Those files of the volume that the restore `run` made which it has not copied into the other volume."""
    taken = {name for each in records if each.run == run for name in each.taken_over}
    return [each for each in others if each.more or each.path.rstrip("/") not in taken]


def _other_files(facts: Facts) -> str | None:
    """That files would be lost which no backup holds, and no restore has copied."""
    found = unheld(facts.others, facts.run, facts.records)
    if not found:
        return None
    return (
        f"The volume {facts.name} also holds {in_words(found)}, which no backup of a database holds; copy that "
        "elsewhere first. To lose it, add --even-if-only-copy."
    )


def not_read_back(facts: Facts, cluster: ControlFile, reason: str) -> str:
    """That no backup which should hold every row of the cluster is known to, in a few sentences."""
    return (
        f"The volume {facts.name} holds cluster {cluster.system_identifier}, and no backup that should hold its rows "
        f"can be read back whole: {reason}{_save(facts)}"
    )


def holders(cluster: ControlFile, facts: Facts) -> list[str]:
    """The ids of the listed backups that hold every row of one of the volume's clusters, as far as is known."""
    own = [facts.backup] if _holds_a_backup(cluster, facts) else []
    taken = [each.id for each in facts.stored if _is_at_rest(cluster) and _is_of(each, cluster, facts)]
    return list(dict.fromkeys([*own, *taken]))


def _holds_a_backup(cluster: ControlFile, facts: Facts) -> bool:
    """Whether the cluster is what was rebuilt from the backup on the label, untouched; that is still there."""
    record = next((each for each in facts.records if each.run == facts.run), None)
    if record is None or record.served or record.rebuilt_at is None or record.source_volume is not None:
        return False
    return (
        facts.backup in {each.id for each in facts.stored}
        and cluster.system_identifier == record.rebuilt_cluster
        and _is_at_rest(cluster)
        and cluster.changed_at <= record.rebuilt_at
    )


def _is_of(stored: Stored, cluster: ControlFile, facts: Facts) -> bool:
    """Whether the backup was taken of what became of this very volume's data: not of another copy of the cluster."""
    if stored.quarantined or stored.narrowed or stored.system_identifier != cluster.system_identifier:
        return False
    live = _live_at(stored.created_at, facts.records)
    return (
        live is not None
        and live.source_volume == facts.name
        and live.begun_at >= cluster.changed_at
        and stored.created_at >= cluster.changed_at
        and stored.timeline >= cluster.timeline
        and lsn(stored.checkpoint_lsn) >= lsn(cluster.checkpoint_lsn)
    )


def _live_at(moment: datetime, records: Sequence[Record]) -> Record | None:
    """The restore whose data was live then."""
    before = [(each.committed_at, each) for each in records if each.committed_at and each.committed_at <= moment]
    return max(before, key=lambda pair: pair[0])[1] if before else None


def _is_at_rest(cluster: ControlFile) -> bool:
    """Whether every row was written before `changed_at`: a log that is still to be replayed may hold later ones."""
    return cluster.clean and cluster.sound


def _nearest(cluster: ControlFile, facts: Facts) -> str:
    """Why not, with the backup that comes nearest."""
    own = [each for each in facts.stored if each.system_identifier == cluster.system_identifier]
    silent = f" ({', '.join(facts.unreachable)} could not be asked)" if facts.unreachable else ""
    if not _is_at_rest(cluster):
        return f"its server was not shut down in order, so it may hold rows newer than that{silent}."
    if not own:
        return f"none was taken of that cluster{silent}."
    last = max(own, key=lambda each: each.created_at)
    return f"the last one of that cluster, {last.id} of {_time(last.created_at)}, {_lack(last, cluster)}{silent}."


def _lack(stored: Stored, cluster: ControlFile) -> str:
    if stored.quarantined:
        return "is quarantined"
    if stored.narrowed:
        return "leaves databases or tables out"
    if stored.created_at < cluster.changed_at:
        return "was taken before its server stopped"
    return "is not known to be of data that came from this volume"


def _save(facts: Facts) -> str:
    """How to keep the rows all the same."""
    return (
        f" To keep its rows, make it live again and back that up: rollcall restore-volume {facts.target} --from-volume "
        f"{facts.name}, then rollcall backup {facts.target}. To lose them, add --even-if-only-copy."
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
