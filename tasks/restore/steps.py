"""The steps of a restore: how each is done, and how each is undone. Every one may be done or undone twice.

What undoing needs to know is prepared before the step begins and lies in the journal by then. Each step is one change
to the world; secrets (a container's environment) are read from the engine at the moment of use and go nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.containers import at_rest, exchange, recreate
from tasks.containers.engine import engine, everybody, host_of, inspect_container
from tasks.containers.taking_over import make_folder
from tasks.containers.volumes import (
    KEEP_UNTIL_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    STORY_LABEL,
    TARGET_LABEL,
    Volume,
    create_volume,
    find_volume,
    remove_ours,
)
from tasks.errors import ContainerMissing, EngineError, RestoreError
from tasks.restore import cutover, mending
from tasks.restore.approval import require_data
from tasks.restore.completing import complete, take_over
from tasks.restore.dependants import start_dependants, start_dependants_again, stop_dependants
from tasks.restore.hands import Act, Facts, Hands
from tasks.restore.hiding import hide_old
from tasks.restore.plan import Plan
from tasks.restore.rebuild import Rebuilt, rebuild_from_backup, rebuild_from_volume
from tasks.restore.source import manifest_of

log = logging.getLogger("rollcall")

BACKUP_LABEL = "io.rollcall.backup"


# Rebuilding


def _rebuild(hands: Hands) -> Facts:
    """Staging volume, scratch server, proof. The facts are what the cut-over is checked against."""
    plan, staging = hands.plan, hands.journal.header.staging
    with engine(hands.docker) as client:
        create_volume(client, staging, _labels(hands))
    place = cutover.place_of(plan)
    if plan.source is None:
        raise RestoreError("The plan names no source to rebuild from.")
    if plan.source.kind == "volume":
        built = rebuild_from_volume(
            hands.config, plan.target, plan.source.name, volume=staging, image_id=plan.image_id, place=place,
            below=plan.exchanged,
        )  # fmt: skip
        _require_databases(plan, built)
    else:
        manifest = manifest_of(hands.config, plan.target, plan.source)
        built = rebuild_from_backup(
            hands.config, plan.target, manifest, plan.source.storages,
            volume=staging, image_id=plan.image_id, place=place,
        )  # fmt: skip
        require_data(plan, built.differences)
    return {"rebuilt": _proof(built), "taken_over": complete(hands)}


def _require_databases(plan: Plan, built: Rebuilt) -> None:
    """What a copied volume holds is known only now. Raise RestoreError before anything is stopped."""
    lacking = [name for name in plan.databases_now if name not in built.tallies and name not in plan.leave_behind]
    if lacking:
        raise RestoreError(
            f"{built.source} does not hold the database {lacking[0]}, which is there now; "
            f"say --leave-behind {lacking[0]}."
        )


def _proof(built: Rebuilt) -> Facts:
    counts = {database: tally.counts for database, tally in built.tallies.items()}
    return {
        "system_identifier": built.system_identifier,
        "counts": counts,
        "timings": built.timings,
        "storages": built.storages,
        "differences": [each.model_dump(mode="json") for each in built.differences],
    }


def _labels(hands: Hands) -> dict[str, str]:
    """A staging volume's story: after the exchange it holds what the pinned volume held before."""
    plan, header = hands.plan, hands.journal.header
    days = hands.config.target(plan.target).keep_days
    source = plan.source.name if plan.source else ""
    story = (
        f"What {plan.pinned} held before the restore of {source} on {header.begun_at:%Y-%m-%d %H:%M} UTC; if that "
        f"restore was undone, what {source} holds and whatever was written to it meanwhile."
    )
    return {
        TARGET_LABEL: plan.target,
        OWNER_LABEL: header.owner,
        RUN_LABEL: header.run,
        STORY_LABEL: story,
        KEEP_UNTIL_LABEL: (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds"),
        BACKUP_LABEL: source,
    }


def _drop_staging(hands: Hands) -> None:
    """Remove a staging volume that was never proven, or that a person refused; a proven one stays, for `rollcall
    kept`."""
    staging, done = hands.journal.header.staging, hands.journal.is_done("rebuild")
    if done and not _is_refused(hands):
        log.info("The proven staging volume %s is kept.", staging)
        return
    with engine(hands.docker) as client:
        if done and not _is_our_copy(hands, find_volume(client, staging)):
            log.warning("The volume %s stays, if it is there: its labels do not say that it is a mere copy.", staging)
            return
        try:
            at_rest.remove_volume_for_good(client, staging, hands.journal.header.owner)
        except EngineError as error:
            if not done:
                raise
            log.warning("The volume %s stays, which nobody needs any more: %s", staging, error)


def _is_refused(hands: Hands) -> bool:
    return bool(hands.journal.facts.get("refused")) and not hands.journal.touched


def _is_our_copy(hands: Hands, volume: Volume | None) -> bool:
    """Whether its labels say that it holds the backup that this run rebuilt: the only copy of nothing."""
    source = hands.plan.source
    if volume is None or source is None or source.kind != "backup":
        return False
    return (volume.labels.get(RUN_LABEL), volume.labels.get(BACKUP_LABEL)) == (hands.run, source.name)


# Volumes


def _create_pinned(hands: Hands) -> None:
    """The pinned volume, where it is gone. Its run label says that it may be removed while it is empty."""
    with engine(hands.docker) as client:
        if find_volume(client, hands.plan.pinned) is None:
            create_volume(client, hands.plan.pinned, {TARGET_LABEL: hands.plan.target, RUN_LABEL: hands.run})


def _remove_pinned(hands: Hands) -> None:
    """Only the one that this very run made: what it held is back in the staging volume by now."""
    with engine(hands.docker) as client:
        found = find_volume(client, hands.plan.pinned)
        if found is not None and found.labels.get(RUN_LABEL) == hands.run:
            remove_ours(client, hands.plan.pinned)


def _folders(hands: Hands) -> Facts:
    plan, staging, owner = hands.plan, hands.journal.header.staging, hands.journal.header.owner
    taken = take_over(hands)
    with engine(hands.docker) as client:
        if plan.exchanged:
            make_folder(client, volume=plan.pinned, below=plan.exchanged, image_id=plan.image_id, owner=owner)
        ids = exchange.folder_ids(client, [plan.pinned, staging], plan.image_id, owner, plan.exchanged)
    return {"folders": ids, "taken_over": taken}


def _settle(hands: Hands, *, exchanged: bool) -> None:
    """Bring the two data folders where they belong, from wherever they are."""
    pinned, staging = hands.plan.pinned, hands.journal.header.staging
    before = hands.journal.facts.get("folders")
    if before is None:
        return
    wanted = {pinned: before[staging], staging: before[pinned]} if exchanged else before
    with engine(hands.docker) as client:
        exchange.settle(
            client, pinned, staging, wanted, hands.plan.image_id, hands.journal.header.owner, hands.plan.exchanged
        )


# Containers


def _create_replacement(hands: Hands) -> Facts:
    plan = hands.plan
    new, _ = hands.names
    with engine(hands.docker) as client:
        found = inspect_container(client, plan.container_id)
        image: dict[str, Any] = client.api.inspect_image(found["Image"])  # type: ignore[no-untyped-call]
        payload = recreate.replacement(
            found,
            image,
            api_version=client.api.api_version,
            wrong=plan.mounted or "",
            pinned=plan.pinned,
            destination=plan.destination,
            labels=mending.labels_of(found, plan.pinned, host_of(client)),
            names=recreate.names_of(everybody(client)),
        )
        made = recreate.create(client, payload, new)
        recreate.connect_networks(client, payload, made)
        recreate.carry(client, found, made)
    return {"replacement": made}


def _remove_replacement(hands: Hands) -> None:
    """By its name, which holds the run's id: nobody else's container is called so."""
    new, _ = hands.names
    with engine(hands.docker, recreate.STOP_PATIENCE) as client:
        if hands.journal.is_done("create replacement"):
            recreate.remove(client, new, force=True)
        else:
            at_rest.remove_for_good(client, new, hands.plan.image_id)


def _hold(hands: Hands) -> None:
    with engine(hands.docker) as client:
        recreate.set_restart_policy(client, hands.plan.container_id, {"Name": "no", "MaximumRetryCount": 0})


def _give_back(hands: Hands, container: str) -> None:
    with engine(hands.docker) as client:
        recreate.set_restart_policy(client, container, hands.journal.header.before.restart_policy)


def _stop(hands: Hands) -> Facts:
    stopped_at = datetime.now(UTC).isoformat()
    with engine(hands.docker, recreate.STOP_PATIENCE) as client:
        recreate.stop(client, hands.plan.container_id)
    return {"stopped_at": stopped_at}


def _start_again(hands: Hands) -> None:
    """A killed run's stop may still be at work: then the container still runs, a start does nothing, and it ends."""
    if not hands.journal.header.before.running:
        return
    with engine(hands.docker, recreate.STOP_PATIENCE) as client:
        if not hands.journal.is_done("stop container"):
            recreate.stop(client, hands.plan.container_id)
        recreate.start(client, hands.plan.container_id)


def _start(hands: Hands) -> None:
    with engine(hands.docker) as client:
        recreate.start(client, hands.plan.container_id)


def _stop_old(hands: Hands) -> None:
    """A killed run's start may still come."""
    stop = recreate.stop if hands.journal.is_done("start container") else at_rest.stop_for_good
    with engine(hands.docker, recreate.STOP_PATIENCE) as client:
        stop(client, hands.plan.container_id)


def _rename(hands: Hands, container: str, name: str) -> None:
    with engine(hands.docker) as client:
        recreate.rename(client, container, name)


def _rename_old_back(hands: Hands) -> None:
    """Raise RestoreError that says what to do where somebody has removed the old container meanwhile.

    A killed run's rename of the replacement may have come after that was undone: it has the name then.
    """
    if "replacement" in hands.journal.facts:
        _take_name_back(hands)
    try:
        _rename(hands, hands.plan.container_id, hands.plan.container)
    except ContainerMissing as error:
        raise RestoreError(
            f"The old container of {hands.plan.container} ({hands.names[1]}) was removed by somebody; its volume "
            f"{hands.plan.mounted} is untouched. Make the container again, then move {hands.journal.path} away."
        ) from error


def _take_name_back(hands: Hands) -> None:
    with contextlib.suppress(ContainerMissing):
        _rename(hands, _replacement(hands), hands.names[0])


def _replacement(hands: Hands) -> str:
    return str(hands.journal.facts["replacement"])


def _start_replacement(hands: Hands) -> None:
    with engine(hands.docker) as client:
        recreate.start(client, _replacement(hands))


def _stop_replacement(hands: Hands) -> None:
    stop = recreate.stop if hands.journal.is_done("start replacement") else at_rest.stop_for_good
    with engine(hands.docker, recreate.STOP_PATIENCE) as client, contextlib.suppress(ContainerMissing):
        stop(client, _replacement(hands))


# The compose file


def _made_by_compose(hands: Hands) -> dict[str, Any]:
    """The old container, whose labels name the file."""
    with engine(hands.docker) as client:
        return inspect_container(client, hands.plan.container_id)


def _unmend(hands: Hands) -> None:
    facts = hands.journal.facts
    if "mended_file" in facts:
        mending.unmend(Path(facts["mended_file"]), hands.run, facts["text_before"], facts["text_after"])


STEPS: dict[str, Act] = {
    "rebuild": Act(_rebuild, _drop_staging),
    "create pinned volume": Act(_create_pinned, _remove_pinned),
    "exchange": Act(
        lambda hands: _settle(hands, exchanged=True), lambda hands: _settle(hands, exchanged=False), _folders
    ),
    "create replacement": Act(_create_replacement, _remove_replacement),
    "hold restart policy": Act(_hold, lambda hands: _give_back(hands, hands.plan.container_id)),
    "stop dependants": Act(stop_dependants, start_dependants_again),
    "stop container": Act(_stop, _start_again),
    "start container": Act(_start, _stop_old),
    "put old aside": Act(lambda hands: _rename(hands, hands.plan.container_id, hands.names[1]), _rename_old_back),
    "name replacement": Act(
        lambda hands: _rename(hands, _replacement(hands), hands.plan.container),
        _take_name_back,
    ),
    "start replacement": Act(_start_replacement, _stop_replacement),
    "verify": Act(cutover.verify),
    "mend compose file": Act(
        lambda hands: mending.mend(_made_by_compose(hands), hands.plan.pinned, hands.run),
        _unmend,
        lambda hands: {**mending.prepare_mend(_made_by_compose(hands), hands.plan.pinned)},
    ),
    "commit": Act(cutover.commit),
    "hide old from compose": Act(hide_old),
    "release restart policy": Act(lambda hands: _give_back(hands, hands.live)),
    "start dependants": Act(start_dependants),
}
