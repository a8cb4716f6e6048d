"""What a `down` is decided from: the project, its containers and volumes, the targets, their backups; no secrets."""

from __future__ import annotations

from datetime import datetime

from tasks.containers.clusters import ClusterVolume
from tasks.containers.compose_project import Project
from tasks.containers.engine import EngineIdentity
from tasks.containers.other_files import OtherFiles
from tasks.models import Model


class Box(Model):
    """A container of the project. running: its processes may write; data_volume: the volume behind its PGDATA.

    layer_cluster: a cluster lies in the container itself, in no volume: it goes with the container.
    folder: the other one whose files it was made from; None where that is the project's own.
    """

    name: str
    id: str
    running: bool
    data_volume: str | None = None
    layer_cluster: bool = False
    folder: str | None = None


class Staying(Model):
    """A container that a `down` leaves. running: now; of_the_project: by its label, and so Compose may take it along.

    folder: as of a Box; fleeting: the engine removes it when it ends.
    """

    name: str
    id: str
    running: bool
    of_the_project: bool
    folder: str | None = None
    fleeting: bool = False


class Holding(Model):
    """A volume of the project. key: under `volumes` of the compose file, None where it is not declared there.

    clusters: None where nobody could look; empty: no file is in it. expects_data: some container keeps, or would keep,
    a cluster there. strangers: containers of no or another project that mount it; targets: by whom it is pinned, or
    mounted as PGDATA. beside_data: a database's container mounts it beside its data, for a tablespace or the log.
    known_by: the project's containers that mount it. others: files in it that are no part of a cluster.
    """

    name: str
    key: str | None = None
    external: bool = False
    anonymous: bool = False
    exists: bool = True
    clusters: list[ClusterVolume] | None = None
    empty: bool = False
    expects_data: bool = False
    beside_data: bool = False
    known_by: list[str] = []
    strangers: list[str] = []
    targets: list[str] = []
    others: list[OtherFiles] = []

    @property
    def precious(self) -> bool:
        """Whether rows are in it, or may be."""
        if not self.exists:
            return bool(self.clusters)
        if self.targets:
            return True  # whatever seems to be in it: no more than a target's own backup lets it go
        if self.clusters == [] and self.empty:
            return False
        return bool(self.clusters is None or self.clusters or self.expects_data)


class Stored(Model):
    """A backup that is listed whole. whole: no database, table or role was left out of it.

    settled_xid: see Identity; proven_at: when a drill or a restore brought it back exactly as it was taken.
    """

    id: str
    created_at: datetime
    quarantined: bool
    whole: bool
    proven_at: datetime | None
    system_identifier: str
    timeline: int
    settled_xid: int | None
    volume: str | None


class Concerned(Model):
    """A target that the `down` has to do with.

    box: its container, where that is one of the project's; answers: whether a backup can be taken now, else why_silent;
    serves_from: the volume that the answering server keeps its data on; serves_path: its PGDATA below that one's root.
    """

    name: str
    pinned: str
    box: str | None
    answers: bool
    why_silent: str = ""
    serves_from: str | None = None
    serves_path: str = ""
    stored: list[Stored] = []
    unreachable: list[str] = []


class Earlier(Model):
    """What a `down` of the project that was killed has stopped, when, and in which folder it was asked for.

    starts: the names of what is started again, ids: the same; left: a sentence for each that is not, and why.
    """

    at: datetime
    folder: str
    ids: list[str] = []
    starts: list[str] = []
    left: list[str] = []


class World(Model):
    """The project as it was found. staying: the containers that a `down` leaves, and is checked to have left."""

    project: Project
    boxes: list[Box]
    staying: list[Staying] = []
    holdings: list[Holding]
    targets: list[Concerned]
    engine: EngineIdentity = EngineIdentity(id="", name="")
    earlier: Earlier | None = None

    def will_run(self, target: Concerned) -> bool:
        """Whether its container is started again before anything is backed up."""
        return self.earlier is not None and target.box in self.earlier.starts

    def target(self, name: str) -> Concerned:
        """The concerned target of that name."""
        return next(each for each in self.targets if each.name == name)
