"""Restore a target's volume: look, plan, approve, look again, back up what is there, carry out, tell."""

from __future__ import annotations

from datetime import UTC, datetime

from flows.backup import back_up
from tasks import menu, orchestration
from tasks.checks.lock import only_run_on_volume
from tasks.config import Config, load
from tasks.errors import Busy, Refused, RollcallError, tellable
from tasks.models import BEFORE_A_RESTORE
from tasks.restore import approval as approvals
from tasks.restore.facts import Request
from tasks.restore.plan import Plan
from tasks.restore.report import RestoreReport, report_of


@orchestration.flow(name="restore-volume", run_name="restore {target}")
def restore_volume(
    target: str,
    config: str | None = None,
    backup: str | None = None,
    from_volume: str | None = None,
    dry_run: bool = True,
    leave_behind: list[str] | None = None,
    accept_differences: list[str] | None = None,
    without_safety_backup: bool = False,
) -> RestoreReport:
    """Put the right data back under the pinned volume's name: plan, approval, proof, cut-over; nothing is ever deleted.

    Args:
        target: Name of the target, as in the configuration.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
        backup: Which backup: an id, or `latest` for the newest good one, proven or not; left empty: the pinned volume
            itself, if it merely is not mounted, else the newest proven backup.
        from_volume: Name of a volume to copy the data from, instead of a backup.
        dry_run: On: only show the plan; nothing is touched. Off: show it, then wait until somebody approves it.
        leave_behind: Databases and roles that are there now, that the source lacks, and that need not come back. The
            plan names them where there are any.
        accept_differences: Names of what may come back in another way than it was backed up (`view public.v`), or
            `all-definitions`. A restore that finds such a thing says its name, and asks before anything is stopped.
        without_safety_backup: Only where the server cannot start: go on without a backup of what is there now.
    """
    settings = load(config)
    settings.target(target)
    request = Request(
        backup=backup or None,
        from_volume=from_volume or None,
        leave_behind=leave_behind or [],
        without_safety_backup=without_safety_backup,
        accept=accept_differences or [],
    )
    try:
        with only_run_on_volume(settings, [target]):
            menu.refuse_interrupted(settings, target, others_only=not dry_run)
            menu.recover_first(settings, target)
            menu.restore_history(settings, target)
            plan = menu.propose(settings, target, request)
            menu.report_plan(plan)
            if dry_run or plan.situation == "nothing":
                return RestoreReport(target=target, outcome="planned", plan=plan)
            approved_by = approvals.ask(plan)
            menu.confirm_unchanged(settings, target, request, plan)
            return _restore(settings, plan, approved_by)
    except Busy as error:
        raise Refused(f"{error} Nothing was touched.") from error
    except Refused:
        raise  # Nothing was touched, and whoever was refused reads it now: no news for anybody else.
    except Exception as error:
        menu.tell_failure(settings, target, "restore-volume", tellable(error))
        raise


def _restore(settings: Config, plan: Plan, approved_by: str) -> RestoreReport:
    """What was approved: first a backup of what is there, then the journalled steps."""
    safety = _back_up_first(settings, plan) if plan.safety_backup else None
    hands = menu.begin_restore(settings, plan, approved_by)
    found = menu.rebuild(hands)
    try:
        approvals.ask_about(plan, found)
    except BaseException as error:
        menu.give_up(hands, error)
        raise
    menu.carry_out(hands)
    menu.note_proof(hands)
    report = report_of(hands, safety)
    menu.tell_restored(settings, report, datetime.now(UTC))
    menu.report_restore(settings, report)
    return report


def _back_up_first(settings: Config, plan: Plan) -> str:
    """The id of a backup of what is there now. Raise Refused where there is none: nothing was touched."""
    try:
        return back_up(settings, plan.target, BEFORE_A_RESTORE).id
    except RollcallError as error:
        raise Refused(f"What is there now could not be backed up, so nothing was touched. {error}") from error
