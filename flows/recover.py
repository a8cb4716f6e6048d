"""Bring an interrupted restore to an end: finish it if it was committed, else undo it."""

from __future__ import annotations

from tasks import menu, orchestration
from tasks.checks.lock import only_run_on_volume
from tasks.config import load
from tasks.errors import tellable
from tasks.restore.recover import Recovery


@orchestration.flow(name="recover", run_name="recover {target}")
def recover(target: str, config: str | None = None) -> Recovery:
    """Finish or undo an interrupted restore of a target, by its journal. Doing it again does no harm.

    Args:
        target: Name of the target, as in the configuration.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
    """
    settings = load(config)
    settings.target(target)
    try:
        with only_run_on_volume(settings, [target]):
            return menu.recover(settings, target)
    except Exception as error:
        menu.tell_failure(settings, target, "recover", tellable(error))
        raise
