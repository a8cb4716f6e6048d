"""The compose file of a target's container, and the container itself: what would make the next `up` lose the data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tasks.config import Target
from tasks.containers.compose_program import all_files
from tasks.containers.compose_service import Service, mounted_by_hand, service_of
from tasks.containers.compose_yaml import child, keys, read, read_text, scalar
from tasks.containers.mounts import anonymous, place
from tasks.containers.observe import Container, Mount, kept_at
from tasks.containers.observe import read as read_container
from tasks.doctor.diagnosis import Diagnosis, Pin, wrong
from tasks.errors import ComposeFileError
from tasks.history.judge import where
from tasks.restore.facts import Mending
from tasks.restore.mending import mending_of

INIT = "init scripts"
INIT_SCRIPTS = "/docker-entrypoint-initdb.d"
MADE_ANEW = (
    "Compose 2.40 and later offers to recreate such a volume, empty, once its lines are changed (`up -y` says yes)."
)
POSTGRES_HOME = "/var/lib/postgresql"


def compose_diagnoses(
    target: str,
    rules: Target,
    found: dict[str, Any],
    pgdata: str,
    others: Sequence[dict[str, Any]],
    serves: bool,
    engine_host: str | None = None,
) -> Iterator[Diagnosis]:
    """found: the inspect JSON of the target's container, whose server says that its data is in `pgdata`; others: that
    of all containers; serves: whether the right cluster answers from the pinned volume; engine_host: where another
    machine runs the engine: the compose files are there, and a file of that name here may be another one."""
    container = read_container(found).model_copy(update={"pgdata": pgdata})
    service = service_of(found, engine_host)
    named = container.volume if container.volume not in anonymous(found).values() else None
    in_folder = container.data_on == "folder" and kept_at(container, rules.pinned) == rules.pinned
    mending = mending_of(found, named) if named and engine_host is None else None
    diagnoses = [
        *_data_place(target, container, found, service),
        *(_pin(target, rules, container, mending, serves=serves) if mending else ()),
        *(_init_scripts(target, rules, container) if mending or not (named or in_folder) else ()),
        *(_claims(target, rules.container, service, others) if engine_host is None else ()),
    ]
    place = kept_at(container, rules.pinned)
    if not diagnoses and place != rules.pinned:
        kept = where(container.data_on, place)
        words = f"{container.name} keeps its data {kept}; {rules.pinned} is pinned. See: rollcall verify {target}"
        yield wrong(f"{target}: compose file", words)
    elif not diagnoses and engine_host is not None:
        words = (
            f"Compose files are on {engine_host}, and not looked into from here; run doctor there to have them read."
        )
        yield Diagnosis(subject=f"{target}: compose file", well=True, words=words)
    elif not diagnoses:
        files = ", ".join(map(str, service.files)) if service else "it was not made by Compose"
        what = f"The data is in the host's folder {rules.folder}" if rules.folder else "The volume is pinned"
        yield Diagnosis(subject=f"{target}: compose file", well=True, words=f"{what} ({files}).")
    yield from diagnoses
    if (named or in_folder) and service and lacks_name(container.name, service):
        yield _unnamed(target, container, service, str(place))


def _data_place(
    target: str, container: Container, found: dict[str, Any], service: Service | None
) -> Iterator[Diagnosis]:
    """Data in no volume, or in one that no container would find again."""
    mount = container.data_mount
    subject = f"{target}: data volume"
    beside = misplaced(container)
    aside = (
        f" {beside.volume or beside.source} is mounted at {beside.destination}, where PGDATA ({container.pgdata}) is "
        "not: images of PostgreSQL 18 and later keep it below /var/lib/postgresql, and want the volume there."
        if beside
        else ""
    )
    if container.data_on in ("container", "memory"):
        lies = f"The data lies in the container {container.name} itself, in no volume: whoever removes it, removes the "
        lies += "data."
        if container.data_on == "memory":
            lies = f"The data of {container.name} lies in memory (a tmpfs): whoever stops it, removes the data."
        yield wrong(
            subject,
            f"{lies}{aside} Back it up, change the lines, bring it up, and restore.",
            _by_hand(service, wanted_place(container.pgdata), f"{target}_data", beside),
        )
    elif mount and mount.volume and mount.volume in anonymous(found).values():
        yield wrong(
            subject,
            f"The data lies in an anonymous volume: after a `down` no container finds it again.{aside} The lines name "
            "it; the next up then keeps it.",
            _by_hand(service, mount.destination, mount.volume, beside),
        )


def misplaced(container: Container) -> Mount | None:
    """A mount that was meant for the data, and is not where PGDATA is (pure)."""
    data = container.data_mount
    for each in container.mounts:
        inside = PurePosixPath(each.destination).is_relative_to(POSTGRES_HOME)
        if inside and each != data and each.kind in ("volume", "bind"):
            return each
    return None


def wanted_place(pgdata: str) -> str:
    """Where the volume belongs (pure): PostgreSQL 18's image has a folder a version, and wants the volume above."""
    inside = re.match(rf"({re.escape(POSTGRES_HOME)})/\d+/", pgdata)
    return inside[1] if inside else pgdata


def _by_hand(service: Service | None, destination: str, volume: str, beside: Mount | None) -> list[str]:
    if service is None:
        return [f"docker run … --volume {volume}:{destination}"]
    named = service.files[-1] if service.files else service.folder
    instead = f"what is mounted at {beside.destination}" if beside else ""
    return [f"# {named}", *mounted_by_hand(service, destination, volume, instead).splitlines()]


def _pin(target: str, rules: Target, container: Container, mending: Mending, *, serves: bool) -> Iterator[Diagnosis]:
    """A named volume that is not pinned in the file: from another project's name the next up would get another one."""
    volume, subject = container.volume or "", f"{target}: compose file"
    if volume != rules.pinned:
        yield wrong(
            subject,
            f"The container is on {volume}, and not on the {rules.pinned_place}: no file is changed before "
            f"that is put right (rollcall restore-volume {target}).",
        )
    elif mending.by_hand is not None:
        yield wrong(subject, _unpinned(volume, mending), mending.by_hand.splitlines())
    else:
        how, writes = "`rollcall doctor --fix` writes it.", serves
        if not serves:
            how = "It is not written while the database is not well."
        elif mending.fixed and mending.dropped:  # Without them the volume could not be made anew as it is.
            how, writes = f"That is not written by itself, for {', '.join(mending.dropped)} would have to go.", False
        yield wrong(
            subject,
            f"{_unpinned(volume, mending)} {how}",
            [f"# {mending.path}", *mending.changes],
            Pin(target=target, container=container.id, volume=volume) if writes else None,
        )


def _unpinned(volume: str, mending: Mending) -> str:
    if mending.fixed:
        return (
            f"The volume {volume} belongs to its project, whose `down --volumes` removes it: it lacks external: true. "
            f"{MADE_ANEW}"
        )
    return f"The volume {volume} is not pinned: an up from another project starts with an empty one. {MADE_ANEW}"


def _init_scripts(target: str, rules: Target, container: Container) -> Iterator[Diagnosis]:
    """Scripts that would make an empty database look alive, where the file lets one come about."""
    scripts = next((each for each in container.mounts if place(each.destination) == INIT_SCRIPTS), None)
    if scripts is None:
        return
    yield wrong(
        f"{target}: {INIT}",
        f"{scripts.volume or scripts.source} would build the schema anew in an empty volume: the database then looks "
        f"alive and holds no rows. Pin the volume {rules.pinned} (external: true), and no empty one comes about.",
        [f"# mounted at {INIT_SCRIPTS}: {scripts.source or scripts.volume}"],
    )


def lacks_name(name: str, service: Service) -> bool:
    """Whether the name is one that Compose makes for a service that has no container_name. Pure."""
    made = rf"{re.escape(service.project)}[-_]{re.escape(service.service)}[-_](run[-_])?\w+"
    return re.fullmatch(made, name) is not None


def _unnamed(target: str, container: Container, service: Service, place: str) -> Diagnosis:
    """A fixed name is all that keeps the engine from starting the service twice: the pin leads both to one volume."""
    return Diagnosis(
        subject=f"{target}: second server",
        well=True,
        note=True,
        words=f"The service {service.service} has no container_name, so another project or --scale can start a second "
        f"server on {place}, and two servers on the same files damage them. A name keeps the second from "
        "starting:",
        lines=["services:", f"  {service.service}:", f"    container_name: {container.name}"],
    )


def _claims(target: str, name: str, service: Service | None, others: Sequence[dict[str, Any]]) -> Iterator[Diagnosis]:
    """Services of other projects whose file claims the container's name: whichever is up last gets it."""
    mine = service.project if service else None
    seen: set[tuple[str, ...]] = set()
    for other in filter(None, map(service_of, others)):
        files = tuple(map(str, other.files))
        if other.project == mine or files in seen:
            continue
        seen.add(files)
        for path, claimant in claimants(other, name):
            yield wrong(
                f"{target}: container name",
                f"Project {other.project} claims the container name {name} too, in its service {claimant}: an up there "
                "takes the name, and brings another volume with it. Leave the database to one project.",
                [f"# {path}", "services:", f"  {claimant}:", f"-   container_name: {name}"],
            )


def claimants(service: Service, name: str) -> Iterator[tuple[str, str]]:
    """(file, service) of the project's services whose container_name is `name`; a file that cannot be read is none."""
    for path in all_files(service):
        try:
            services = child(read(read_text(path)), "services")
        except ComposeFileError:
            continue
        for each in keys(services):
            if scalar(child(services, each, "container_name")) == name:
                yield str(path), each
