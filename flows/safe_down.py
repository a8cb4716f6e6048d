"""The safe `docker compose down`: look, plan, ask, back up and prove, bring down; remove only what is proven whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flows.backup import back_up
from flows.drill import prove
from tasks import menu, orchestration
from tasks.checks.lock import only_run_on_volume
from tasks.config import Config, load
from tasks.errors import Busy, Refused, RollcallError
from tasks.leaving import approval
from tasks.leaving.facts import World
from tasks.leaving.plan import DownPlan, as_approved, make_plan
from tasks.leaving.report import DownReport
from tasks.models import BEFORE_A_DOWN

log = logging.getLogger("rollcall")

ATTEMPTS = 2  # with the databases alone: an ANALYZE of the server's own writes, too


@orchestration.flow(name="down", run_name="down {project_dir}")
def safe_down(
    project_dir: str,
    config: str | None = None,
    volumes: bool = False,
    dry_run: bool = True,
    files: list[str] | None = None,
    project_name: str | None = None,
    without_backup: bool = False,
) -> DownReport:
    """Bring a Compose project down. Compose never hears of --volumes: what may go is removed here, one by one.

    Args:
        project_dir: The folder with the compose file.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
        volumes: Remove the project's volumes too; a database only if a backup that is proven now holds every row.
        dry_run: Only show the plan. Nothing is touched.
        files: Compose files, where they are not those that Compose finds in the folder by itself.
        project_name: The project's name, where it is not the one that Compose gives it.
        without_backup: Leave out the backup before a down that removes no volume.
    """
    settings = menu.only_this_engine(load(config))
    known = menu.look_at_compose(settings, project_dir, files or [], project_name)
    try:
        with only_run_on_volume(settings, [target.name for target in known.targets]):
            for target in known.targets:
                menu.refuse_interrupted(settings, target.name)
            world = menu.look_at_compose(settings, project_dir, files or [], project_name)
            plan = make_plan(world, volumes, without_backup)
            if dry_run:
                return DownReport(project=plan.project, outcome="planned", plan=plan)
            approved_by = approval.ask(plan)
            menu.start_after_a_killed_one(settings, world)
            if plan.earlier is not None:
                world = menu.look_at_compose(settings, project_dir, files or [], project_name)
                plan = as_approved(plan, make_plan(world, volumes, without_backup))
            backups = _back_up_and_prove(settings, world, plan, plan.backups)
            approval.ask_for_volumes(plan, backups)
            backups |= _stop_until_nothing_is_lost(settings, world, plan, backups)
            others = menu.bring_down(settings, world)
            removed = menu.remove_volumes(settings, world, plan, backups)
            return _report(world, plan, backups, removed, approved_by).model_copy(update={"others": others})
    except Busy as error:
        raise Refused(f"{error} Nothing was touched.") from error


def _back_up_and_prove(
    settings: Config, world: World, plan: DownPlan, wanted: Mapping[str, str | None]
) -> dict[str, str]:
    """By target, a backup that a drill has just proven. Raise Refused where there is none."""
    found: dict[str, str] = {}
    for target, known in wanted.items():
        try:
            found[target] = known or back_up(settings, target, BEFORE_A_DOWN).id
            result = prove(settings, target, found[target])
        except RollcallError as error:
            raise Refused(f"Nothing is brought down: {target} could not be backed up and proven. {error}") from error
        if not result.proven:
            raise Refused(
                f"Nothing is brought down: backup {result.backup} of {target} is NOT proven. {result.reason} A down "
                "that removes no volume can do without: --without-backup"
            )
    menu.check_reliable(settings, world, plan, found)
    return found


def _stop_until_nothing_is_lost(
    settings: Config, world: World, plan: DownPlan, backups: dict[str, str]
) -> dict[str, str]:
    """Everything stopped, and every row of what goes in a proven backup: those of `backups`, or new ones, taken with
    the databases alone running. Raise Refused, and start all again, if somebody wrote each time even then."""
    again = {target: None for target, known in plan.backups.items() if known is None}
    try:
        menu.stop_all(settings, world)
        lost = menu.later_writes(settings, world, plan, backups)
        for _ in range(ATTEMPTS if again else 0):
            if not lost:
                break
            log.warning("%s Once more, with the databases alone running.", " ".join(lost))
            menu.start_databases(settings, world)
            backups = backups | _back_up_and_prove(settings, world, plan, again)
            menu.stop_all(settings, world)
            lost = menu.later_writes(settings, world, plan, backups)
    except BaseException:
        menu.start_again(settings, world)
        raise
    if lost:
        down = menu.start_again(settings, world)
        ran = f"not all that ran before runs again: {' '.join(down)}" if down else "what ran before is started again."
        raise Refused(f"Nothing is removed, and {ran} {' '.join(lost)}")
    return backups


def _report(world: World, plan: DownPlan, backups: dict[str, str], removed: list[str], approved_by: str) -> DownReport:
    """What came of it."""
    mine = {
        target: [each.name for each in world.holdings if each.name in removed and target in each.targets]
        for target in backups
    }
    return DownReport(
        project=plan.project,
        outcome="down",
        plan=plan,
        approved_by=approved_by,
        backups=backups,
        removed=removed,
        removed_of=mine,
    )
