"""Which deployments a configuration asks for: one for each flow and target, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.config import Config
from tasks.cron import NEVER
from tasks.sections import Schedules

ROOT = Path(__file__).parents[2]
"""The folder that holds flows/, tasks/ and deployments/, in a checkout as where it is installed."""

TAG = "rollcall"


@dataclass(frozen=True)
class Wanted:
    """One deployment. `limit`: how many of its runs Prefect lets run at once; None: the target's own lock decides."""

    flow: str
    target: str
    entrypoint: str
    description: str
    tags: list[str]
    parameters: dict[str, Any]
    cron: str | None = None
    timezone: str = "UTC"
    limit: int | None = None

    @property
    def offers_backups(self) -> bool:
        """Whether its form lists the backups. Prefect drops a deployment's planned runs when its form changes, and
        plans them anew some seconds later: what has a schedule keeps its form."""
        return self.flow == "restore-volume"

    @property
    def name(self) -> str:
        """The full name, as `prefect deployment run` takes it."""
        return f"{self.flow}/{self.target}"


@dataclass(frozen=True)
class _Kind:
    """What all deployments of one flow share."""

    flow: str
    description: str
    scheduled: bool = False
    limit: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


# Prefect ends a run whose concurrency lease it could not renew, so a server that is away for a minute would end a
# backup or a restore half-way. Those hold the target's lock, which needs no server and keeps out other flows as well;
# only runs that may be ended at any time have a limit.
KINDS = (
    _Kind(
        "backup",
        "Back up every database of **{target}**'s cluster, prove the copies, judge the rows, rotate, tell.",
        scheduled=True,
    ),
    _Kind(
        "verify",
        "Check **{target}**'s identity, rows, schema and backups; alert on a change. Only reads.",
        scheduled=True,
        limit=1,
    ),
    _Kind(
        "drill",
        "Prove that a backup of **{target}** comes back, in a volume of its own, and measure how long a restore takes.",
        scheduled=True,
        limit=1,
    ),
    _Kind(
        "restore-volume",
        "Put the right data back under **{target}**'s pinned volume.\n\nAs it comes it is a **dry run**: it shows the "
        "plan and touches nothing. With `dry_run` off it shows the plan, then waits for somebody to press *Resume* and "
        "type the target's name. Nothing is ever deleted.",
        parameters={"dry_run": True},
    ),
    _Kind(
        "recover",
        "Finish or undo an interrupted restore of **{target}**, by its journal. Doing it again does no harm.",
    ),
)
FLOWS = tuple(kind.flow for kind in KINDS)


def wanted(config: Config, file: Path) -> list[Wanted]:
    """Every deployment of every target; `file` is the configuration's own path, which the runs will read."""
    return [_of(kind, target, config.schedules_of(target), file) for target in config.targets for kind in KINDS]


def _of(kind: _Kind, target: str, schedules: Schedules, file: Path) -> Wanted:
    function = kind.flow.replace("-", "_")
    cron = getattr(schedules, kind.flow) if kind.scheduled else NEVER
    return Wanted(
        flow=kind.flow,
        target=target,
        entrypoint=f"flows/{function}.py:{function}",
        description=kind.description.format(target=target),
        tags=[TAG, kind.flow, target],
        parameters={"target": target, "config": str(file.absolute()), **kind.parameters},
        cron=None if cron == NEVER else cron,
        timezone=schedules.timezone,
        limit=kind.limit,
    )
