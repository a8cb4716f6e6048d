"""Drill: rebuild a backup aside, prove it equal to its manifest, note the proof and how long it took."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks import menu, orchestration
from tasks.checks.lock import only_run
from tasks.config import Config, load
from tasks.errors import NotEqual, tellable
from tasks.restore.drill import DrillResult


@orchestration.flow(name="drill", run_name="drill {target}")
def drill(
    target: str, config: str | None = None, backup: str = "latest", accept_differences: list[str] | None = None
) -> DrillResult:
    """Prove that a backup can be restored, in a volume of its own that is removed afterwards.

    Args:
        target: Name of the target, as in the configuration.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
        backup: Which backup: an id, or `latest` for the newest good one.
        accept_differences: Names of definitions that may come back in another way (`view public.v`), or
            `all-definitions`. Later drills of the target accept the same ones.
    """
    settings = load(config)
    settings.target(target)
    menu.ping_start(settings, target, "drill")
    try:
        result = prove(settings, target, backup, accept_differences)
    except Exception as error:
        menu.tell_failure(settings, target, "drill", tellable(error))
        raise
    if result.proven:
        menu.ping_done(settings, target, "drill")
    else:
        menu.tell_failure(settings, target, "drill", NotEqual(result.reason or "It is not proven."), recorded=True)
    return result


def prove(settings: Config, target: str, backup: str, accept: list[str] | None = None) -> DrillResult:
    """Rebuild one backup aside and note what came of it: a drill of its own, or part of a run that needs a proof."""
    started_at = datetime.now(UTC)
    # A lock of its own: a drill may take hours, touches nothing of the target, and must not hold up a backup.
    with only_run(settings.state, f"{target}/drill"):
        menu.sweep_drill(settings, target)
        result = menu.drill_backup(settings, target, backup, accept or [])
        menu.remember_drill(settings, result, started_at)
    menu.report_drill(settings, result)
    return result
