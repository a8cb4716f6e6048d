"""What a restore is planned from: the request, and the world as it was found. No secret is in any of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from tasks.containers.other_files import OtherFiles
from tasks.models import Difference, Model

Situation = Literal["nothing", "reattach", "restore", "both"]
SourceKind = Literal["pinned", "backup", "volume"]


class Request(Model):
    """What was asked for. backup: an id, or `latest`; from_volume: a volume to copy instead.

    leave_behind: databases and roles that are there now, that the source lacks, and that may stay behind.
    without_safety_backup: only believed where the server cannot be asked. accept: names of differences between the
    rebuilt cluster and its backup that do not stop the restore.
    """

    backup: str | None = None
    from_volume: str | None = None
    leave_behind: list[str] = []
    without_safety_backup: bool = False
    accept: list[str] = []


class Passed(Model):
    """Good backups that are newer than the one chosen, and were passed over because no drill has proven them.

    newest, created_at: of the newest of them.
    """

    number: int
    newest: str
    created_at: datetime


class Source(Model):
    """Where the data comes from: the pinned volume as it is, a stored backup, or a copy of another volume.

    name: the backup's id or the volume's name. counts: rows by table of the target's database, as far as known.
    cannot_be_rebuilt: why the backup cannot be loaded into a volume, a sentence each. omitted: what a backup left out
    of the cluster it was taken of, as its manifest says. passed: only where nobody named a backup. rows_proven_at: when
    a drill last proved the rows; differences: the definitions that it found to differ; accepted: those that a person
    accepted with the proof of proven_at. linked: the cluster has parts outside of PGDATA, its log or a tablespace.
    others: files in the volume that are no part of a cluster. needs: what the backup's configuration reads below
    PGDATA, and no backup holds.
    """

    kind: SourceKind
    name: str
    system_identifier: str = ""
    storages: list[str] = []
    created_at: datetime | None = None
    quarantined: bool = False
    proven_at: datetime | None = None
    rows_proven_at: datetime | None = None
    counts: dict[str, int] = {}
    databases: list[str] | None = None
    roles: list[str] | None = None
    server_version: str = ""
    bytes: int = 0
    cannot_be_rebuilt: list[str] = []
    linked: bool = False
    others: list[OtherFiles] = []
    omitted: list[str] = []
    passed: Passed | None = None
    needs: list[str] = []
    differences: list[Difference] = []
    accepted: list[Difference] = []


class Dependant(Model):
    """A container that needs the database: stopped before the cut-over, started after it, in this order."""

    name: str
    exists: bool
    running: bool


class Mending(Model):
    """The compose file that would bring the wrong volume back: the change to it, or why it is to be made by hand.

    dropped: options of the volume that the change removes; fixed: the volume has the pinned name there already, and
    what lacks is that it is not the project's own; special: options by which it is no plain volume.
    """

    path: str
    changes: list[str]
    by_hand: str | None = None
    dropped: list[str] = []
    fixed: bool = False
    special: list[str] = []


class World(Model):
    """The target as it is before a restore.

    mounted: the volume behind PGDATA now; mounted_cluster, pinned_cluster: system identifiers, None where there is no
    cluster or none could be read. counts: rows by table of the target's database; None where it cannot be asked.
    databases: every one of the cluster, whether or not a backup takes it, but for templates that nobody changed;
    closed: those of them that allow no connections. obstacles: what the engine's side says against it, a sentence each.
    others: by volume, files in it that are no part of a cluster. linked: volumes with a cluster that has parts outside
    of its own folder; bare: those that nothing is in. free_bytes: of the engine's disk. no_scratch: why no data can be
    rebuilt from here; empty where it can. standby: whether the server follows another one.
    """

    target: str
    container: str
    container_id: str
    image_id: str
    running: bool
    destination: str
    pgdata: str
    mounted: str | None
    pinned: str
    pinned_exists: bool
    mounted_cluster: str | None = None
    pinned_cluster: str | None = None
    known_cluster: str | None = None
    major: str = ""
    answers: bool = False
    unwell: bool = False
    why_silent: str = ""
    counts: dict[str, int] | None = None
    databases: list[str] | None = None
    closed: list[str] = []
    roles: list[str] | None = None
    dependants: list[Dependant] = []
    mending: Mending | None = None
    by_compose: bool = False
    obstacles: list[str] = []
    notes: list[str] = []
    others: dict[str, list[OtherFiles]] = {}
    linked: list[str] = []
    bare: list[str] = []
    free_bytes: int | None = None
    no_scratch: str = ""
    standby: bool = False
    keep_days: int = 30
