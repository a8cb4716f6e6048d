"""Decide what a `down` does with every volume, and what is in its way: pure and printable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tasks.containers.clusters import ClusterVolume
from tasks.containers.other_files import in_words
from tasks.errors import Refused
from tasks.leaving.coverage import covering, uncovered
from tasks.leaving.facts import Concerned, Earlier, Holding, World
from tasks.models import Model

Fate = Literal["stays", "goes", "goes once proven"]


class VolumePlan(Model):
    """One volume. holds: what is in it, in words; why: of its fate."""

    name: str
    holds: str
    precious: bool
    fate: Fate
    why: str


class DownPlan(Model):
    """What a `down` does.

    backups: by target that is proven first, the backup that already holds everything, or None for one that is taken.
    blockers: reasons not to begin. earlier: what a `down` that was killed has stopped; it is started first.
    """

    project: str
    folder: str
    remove_volumes: bool
    containers: list[str]
    volumes: list[VolumePlan]
    backups: dict[str, str | None]
    blockers: list[str]
    notes: list[str]
    earlier: Earlier | None = None

    @property
    def going(self) -> list[VolumePlan]:
        """The volumes that are removed, where all goes well."""
        return [each for each in self.volumes if each.fate != "stays"]


def make_plan(world: World, remove_volumes: bool, without_backup: bool = False) -> DownPlan:
    """The plan for the world as it was found. With blockers it must not be carried out."""
    volumes = [_volume(each, world, remove_volumes) for each in world.holdings if each.exists]
    return DownPlan(
        project=world.project.name,
        folder=str(world.project.folder),
        remove_volumes=remove_volumes,
        containers=[each.name for each in world.boxes],
        volumes=volumes,
        backups=_backups(world, volumes, without_backup),
        blockers=list(dict.fromkeys(_blockers(world, remove_volumes, without_backup))),
        notes=list(_notes(world)),
        earlier=world.earlier,
    )


def as_approved(approved: DownPlan, now: DownPlan) -> DownPlan:
    """The plan for the world in which what a killed `down` stopped runs again. Raise Refused where it is not what was
    approved: something is in the way, more goes, or a database cannot be backed up."""
    reasons = [*now.blockers]
    if more := {each.name for each in now.going} - {each.name for each in approved.going}:
        reasons.append(f"More volumes would go than were approved: {', '.join(sorted(more))}.")
    if silent := sorted(set(approved.backups) - set(now.backups)):
        reasons += [f"{', '.join(silent)} was to be backed up first, and does not answer.", *now.notes]
    if reasons:
        raise Refused(
            f"What the earlier down stopped was started again, and nothing is brought down: {' '.join(reasons)}"
        )
    return now.model_copy(update={"earlier": approved.earlier})


def holds(holding: Holding) -> str:
    """What is in a volume, in words."""
    if not holding.exists:
        return "it does not exist"
    if holding.clusters is None:
        return "nobody can look into it"
    if not holding.clusters:
        return "empty" if holding.empty else f"no PostgreSQL cluster{_others(holding, '; ')}"
    return f"{' and '.join(map(_cluster, holding.clusters))}{_others(holding, '; also ')}"


def _others(holding: Holding, before: str) -> str:
    return f"{before}{in_words(holding.others)}" if holding.others else ""


def _cluster(found: ClusterVolume) -> str:
    size = f", {found.bytes / 1e6:,.0f} MB" if found.bytes is not None else ""
    return f"a PostgreSQL {found.major} cluster{size}, last written {found.control.changed_at:%Y-%m-%d %H:%M} UTC"


def _volume(holding: Holding, world: World, remove: bool) -> VolumePlan:
    fate, why = _fate(holding, remove)
    return VolumePlan(name=holding.name, holds=holds(holding), precious=holding.precious, fate=fate, why=why)


def _fate(holding: Holding, remove: bool) -> tuple[Fate, str]:
    if why := _stays_because(holding, remove):
        return "stays", why
    if holding.precious:
        return "goes once proven", "only if a backup that is proven now holds every row of it"
    return "goes", "--volumes"


def _stays_because(holding: Holding, remove: bool) -> str:
    """Why the volume stays, whatever is typed; empty where it does not."""
    if holding.external:
        return "external in the compose file"
    if holding.key is None and not holding.anonymous:
        return "not declared in the compose file"
    if not remove:
        return "no volume is removed without --volumes"
    return "" if holding.precious else _may_be_needed(holding)


def _may_be_needed(holding: Holding) -> str:
    """Why a volume without a cluster may be of use to somebody all the same."""
    if holding.strangers:
        return f"mounted by {', '.join(holding.strangers)}, which is not of this project"
    if holding.empty:
        return ""
    if holding.beside_data:
        return "a database mounts it beside its data: a tablespace, or its log, may be in it"
    if not holding.known_by:
        return (
            "no container of the project is there any more to show what it is for, and a part of a database (a "
            f"tablespace, its log) has no mark of its own; up, and ask again, or docker volume rm {holding.name}"
        )
    return ""


def _backups(world: World, volumes: list[VolumePlan], without_backup: bool) -> dict[str, str | None]:
    """Which targets are backed up and proven: those whose container stops, and those whose volume goes."""
    going = {each.name for each in volumes if each.fate == "goes once proven"}
    found: dict[str, str | None] = {}
    for target in world.targets:
        mine = [each for each in world.holdings if each.name in going and target.name in each.targets]
        if world.will_run(target) and (mine or not without_backup):
            found[target.name] = None
        elif mine and not all(serves(target, each) for each in mine):
            found[target.name] = _at_hand(mine, target)
        elif mine or (target.box is not None and target.answers and not without_backup):
            found[target.name] = None
    return found


def serves(target: Concerned, holding: Holding) -> bool:
    """Whether the target's server answers, and from this very volume: a backup taken now is one of it."""
    return target.answers and target.serves_from == holding.name


def _at_hand(mine: list[Holding], target: Concerned) -> str | None:
    """The backup that holds what lies in the stopped target's volume."""
    for holding in mine:
        for each in holding.clusters or []:
            if (known := covering(each.control, holding.name, target.stored)) is not None:
                return known.id
    return None


def _blockers(world: World, remove: bool, without_backup: bool) -> Iterator[str]:
    for box in world.boxes:
        if box.layer_cluster:
            yield (
                f"The container {box.name} keeps a PostgreSQL cluster in itself, in no volume: a down deletes it. Copy "
                "the data into a named volume, and mount that at its PGDATA."
            )
    for each in world.holdings:
        if each.anonymous and each.clusters and not each.external:
            yield (
                f"The volume {each.name[:12]}… is anonymous and holds {holds(each)}: after a down no container knows "
                "it any more, and the next up starts with an empty database. Give it a name first: rollcall doctor"
            )
    if remove:
        if without_backup:
            yield "--without-backup and --volumes exclude each other: a database is removed only once it is proven."
        for each in world.holdings:
            if _fate(each, remove)[0] == "goes once proven" and each.exists:
                yield from _refusals(each, world)


def _refusals(holding: Holding, world: World) -> Iterator[str]:
    """Why a precious volume must not go, as far as it can be told before its server is stopped."""
    name = holding.name
    if holding.strangers:
        yield (
            f"The volume {name} is mounted by {', '.join(holding.strangers)}, which is not of project "
            f"{world.project.name}; leave out --volumes, or pin it in the compose file (external: true)."
        )
        return
    if holding.clusters is None:
        yield f"The volume {name} cannot be looked into, so nobody knows what would be lost; leave out --volumes."
        return
    if not holding.clusters:
        what = "it seems to be empty" if holding.empty else "no cluster in it can be read"
        yield (
            f"The volume {name} is where a database keeps its data, and {what}; look at it yourself, and leave out "
            f"--volumes (if it is of no use: docker volume rm {name})."
        )
        return
    if not holding.targets:
        yield (
            f"The volume {name} holds {holds(holding)} and belongs to no target, so that no backup of it is known; "
            "make it one in the configuration and back it up, or leave out --volumes."
        )
        return
    if holding.others:
        yield (
            f"The volume {name} also holds {in_words(holding.others)}, which no backup of a database holds: copy that "
            "elsewhere and delete it there, or leave out --volumes."
        )
    for target in map(world.target, holding.targets):
        if not world.will_run(target) or target.pinned != name:
            yield from _without_proof(holding, target)


def _without_proof(holding: Holding, target: Concerned) -> Iterator[str]:
    if target.pinned != holding.name:
        yield (
            f"The container of {target.name} keeps its data on {holding.name}, and the pinned volume is "
            f"{target.pinned}: mend that first (rollcall restore-volume {target.name}), or leave out --volumes."
        )
    else:
        for each in holding.clusters or []:
            if serves(target, holding) and each.path == target.serves_path:
                continue  # A backup of it is taken and proven first.
            if covering(each.control, holding.name, target.stored) is None:
                why = uncovered(each.control, holding.name, target.stored)
                silent = f" ({', '.join(target.unreachable)} cannot be asked)" if target.unreachable else ""
                yield (
                    f"No proven backup is known to hold every row of {_where(each, holding)}: {why}{silent}. "
                    f"{_how_to_serve(target, holding)}, or leave out --volumes."
                )


def _where(cluster: ClusterVolume, holding: Holding) -> str:
    """The volume, and the folder in it where there is more than one cluster."""
    folder = f"the folder {cluster.path} in " if len(holding.clusters or []) > 1 and cluster.path else ""
    return f"{folder}the volume {holding.name}"


def _how_to_serve(target: Concerned, holding: Holding) -> str:
    if serves(target, holding):
        return (
            f"The server of {target.name} runs on another folder of the volume: copy this one elsewhere and delete it"
        )
    if target.answers:
        return (
            f"Its target {target.name} is on {target.serves_from} now: put that right (rollcall verify {target.name}), "
            "then ask again"
        )
    return f"{target.why_silent} Have its database run, then ask again"


def _notes(world: World) -> Iterator[str]:
    if world.project.unset:
        yield f"Variables that the compose files use are not set here: {', '.join(world.project.unset)}."
    if world.project.hooks:
        yield (
            f"The pre_stop hooks of {', '.join(world.project.hooks)} do not run: Rollcall stops the containers itself, "
            "and only Compose runs hooks. Run what they do first, if it matters."
        )
    for box in world.boxes:
        if box.folder:
            yield (
                f"The container {box.name} was made from the files in {box.folder}, and goes all the same: Compose "
                "knows it by the names of the project and of the service."
            )
    for other in world.staying:
        if other.of_the_project:
            where = f"the folder {other.folder}" if other.folder else "no active service in its files"
            yield f"The container {other.name} is of the project's name and of {where}: it goes on as it is."
    for each in world.targets:
        if each.box is None:
            yield f"The container of {each.name} is not of this project: it goes on as it is."
        elif not each.answers and not world.will_run(each):
            yield f"{each.name} cannot be backed up first: {each.why_silent}"
    for holding in world.holdings:
        if not holding.exists:
            yield f"The volume {holding.name} does not exist."
