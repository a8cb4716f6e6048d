"""What came of a `down`."""

from __future__ import annotations

from typing import Literal

from tasks.leaving.plan import DownPlan
from tasks.models import Model


class DownReport(Model):
    """What came of it; `down --json` prints exactly this.

    backups: the proven backup by target; removed: volumes; removed_of: the same by target. others: what
    became of the containers that were to stay, in sentences.
    """

    project: str
    outcome: Literal["planned", "down"]
    plan: DownPlan
    approved_by: str | None = None
    backups: dict[str, str] = {}
    removed: list[str] = []
    removed_of: dict[str, list[str]] = {}
    others: list[str] = []
