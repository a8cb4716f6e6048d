"""Stop, start again, look for later writes, bring down, remove: each step of a `down` that changes something."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import docker

from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.containers import recreate
from tasks.containers.clusters import ClusterVolume, look_into
from tasks.containers.compose_project import down
from tasks.containers.engine import compose_environment, engine
from tasks.containers.images import LocalImages
from tasks.containers.other_files import in_words
from tasks.containers.volumes import find_volume, remove_unused
from tasks.errors import EngineError, Refused, RollcallError
from tasks.leaving import record
from tasks.leaving.coverage import counts, covering, uncovered
from tasks.leaving.facts import Box, Holding, Stored, World
from tasks.leaving.look import OWNER, stored_of
from tasks.leaving.others import end_of, still_as_planned
from tasks.leaving.plan import DownPlan
from tasks.leaving.record import start_recorded

log = logging.getLogger("rollcall")


def databases(world: World) -> list[Box]:
    """The running containers that keep their data on a volume of the project that a database is in."""
    precious = {each.name for each in world.holdings if each.precious}
    return [each for each in world.boxes if each.running and each.data_volume in precious]


def others(world: World) -> list[Box]:
    """The running containers that are no database: those who may write into one."""
    mine = {each.id for each in databases(world)}
    return [each for each in world.boxes if each.running and each.id not in mine]


def stop_all(config: Config, world: World) -> None:
    """Stop what runs, databases last, each with the time that its last checkpoint needs. Raise EngineError.

    What ran is on the disk before, and which one is being stopped: the engine goes on with that when we are dead.
    """
    boxes = [*others(world), *databases(world)]
    ran = [each.id for each in [*databases(world), *others(world)]]
    with engine(config.docker, recreate.STOP_PATIENCE) as client:
        for each in boxes:
            log.info("Stopping %s", each.name)
            record.write(config, world, ran, stopping=each.id)
            recreate.stop(client, each.id)
        record.write(config, world, ran)


def start_databases(config: Config, world: World) -> None:
    """Start the databases alone and wait until each is healthy. Raise EngineError."""
    waits = [config.target(each.name).start_wait for each in world.targets]
    with engine(config.docker) as client:
        for each in databases(world):
            recreate.start(client, each.id)
            recreate.wait_healthy(client, each.id, max(waits, default=300.0))


def start_again(config: Config, world: World) -> list[str]:
    """Start everything that ran before, databases first. Return a sentence for each container that does not run."""
    started = start_recorded(config, world)
    wrong = [*started.wrong, *started.left]
    for each in wrong:
        log.warning("%s", each)
    return wrong


def start_after_a_killed_one(config: Config, world: World) -> None:
    """Start what an earlier `down` of the project stopped before it was killed, and wait for its databases.

    Raise EngineError where one of its containers does not run.
    """
    project, started = world.project.name, start_recorded(config, world)
    for each in started.left:
        log.warning("%s", each)
    if started.wrong:
        path = record.path_of(config, project, world.engine)
        raise EngineError(
            f"An earlier down of {project} was killed, and not all that it stopped runs again: "
            f"{' '.join(started.wrong)} Fix that, or remove {path} if those containers are not to run."
        )
    with engine(config.docker) as client:
        for target in world.targets:
            if target.box is not None and world.will_run(target):
                recreate.wait_healthy(client, target.box, config.target(target.name).start_wait)


def check_reliable(config: Config, world: World, plan: DownPlan, backups: Mapping[str, str]) -> None:
    """Raise Refused where a volume is to go and the backup of its target is quarantined, or leaves something out."""
    going = {each.name for each in plan.volumes if each.fate == "goes once proven"}
    losing = {target for each in world.holdings if each.name in going for target in each.targets}
    for target, backup in backups.items():
        if target not in losing:
            continue
        mine = [stored_of(each) for each in shelves(config, target).backups if each.manifest.id == backup]
        if not mine or not counts(mine[0]):
            raise Refused(
                f"Nothing is brought down: backup {backup} of {target} is quarantined, or leaves databases, tables "
                f"or roles out, and is nothing to remove a volume by. See: rollcall verify {target}"
            )


def later_writes(config: Config, world: World, plan: DownPlan, backups: Mapping[str, str]) -> list[str]:
    """Why a volume that is to go, its server stopped, holds more than the backups do; empty if every row is in them."""
    with engine(config.docker) as client:
        return [
            reason
            for each in plan.volumes
            if each.fate == "goes once proven" and (reason := _lost_with(client, config, world, each.name, backups))
        ]


def bring_down(config: Config, world: World) -> list[str]:
    """Compose's own `down`, which never hears of --volumes. Return what became of the containers that had to stay.

    Raise ComposeFileError, Refused where more would go than was planned, with all started again that can.
    """
    try:
        before = still_as_planned(config, world)
        down(world.project, compose_environment(config.docker))
    except BaseException:
        start_again(config, world)
        raise
    record.forget(config, world)
    return end_of(config, before)


def remove_volumes(config: Config, world: World, plan: DownPlan, backups: Mapping[str, str]) -> list[str]:
    """Remove what the plan lets go, each looked into once more right before. Return their names.

    Raise RollcallError with those that stay, why, and what is gone.
    """
    removed: list[str] = []
    stay: list[str] = []
    with engine(config.docker) as client:
        for each in plan.going:
            try:
                reason = _lost_with(client, config, world, each.name, backups)
                if reason is None:
                    remove_unused(client, each.name)
                    log.info("Removed the volume %s", each.name)
                    removed.append(each.name)
            except RollcallError as error:
                reason = f"{each.name}: {error}"
            stay += [reason] if reason else []
    if stay:
        gone = f" Removed: {', '.join(removed)}." if removed else ""
        raise RollcallError(f"The containers of {plan.project} are gone, and not every volume: {' '.join(stay)}{gone}")
    return removed


def _lost_with(
    client: docker.DockerClient, config: Config, world: World, name: str, backups: Mapping[str, str]
) -> str | None:
    """What would be lost with the volume, in a sentence; None if no cluster is in it, or the backups hold all of it."""
    if find_volume(client, name) is None:
        return None
    holding = next(each for each in world.holdings if each.name == name)
    image = LocalImages(client, next(iter(config.targets.values())).container).to_look_with()
    looked = look_into(client, image, [name], OWNER)
    if looked.unclear:
        return f"The volume {name} stays: not all of it can be looked into."
    if holding.precious and not looked.clusters:
        return f"The volume {name} stays: no cluster in it can be read any more."
    if looked.clusters and name in looked.others:
        return f"The volume {name} stays: it also holds {in_words(looked.others[name])}, which no backup holds."
    reasons = (_lost_with_cluster(config, holding, each, backups) for each in looked.clusters)
    return next((each for each in reasons if each), None)


def _lost_with_cluster(
    config: Config, holding: Holding, found: ClusterVolume, backups: Mapping[str, str]
) -> str | None:
    """The same of one cluster in the volume."""
    name, stored = holding.name, _proven_now(config, holding, backups)
    if found.volume.users and any(user.running for user in found.volume.users):
        return f"The volume {name} stays: {found.volume.users[0].container} uses it."
    if covering(found.control, name, stored) is None:
        return f"The volume {name} stays: {uncovered(found.control, name, stored)}."
    return None


def _proven_now(config: Config, holding: Holding, backups: Mapping[str, str]) -> list[Stored]:
    """The backups of the volume's targets that this very run has proven, as their storages list them."""
    return [
        stored_of(each)
        for target in holding.targets
        if target in backups
        for each in shelves(config, target).backups
        if each.manifest.id == backups[target]
    ]
