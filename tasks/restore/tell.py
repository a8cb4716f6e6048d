"""Tell people that a target was restored."""

from __future__ import annotations

import logging
from datetime import datetime

from tasks.alerts.message import Message
from tasks.alerts.tell import send
from tasks.config import Config
from tasks.restore.report import RestoreReport
from tasks.restore.words import described, restored_lines

log = logging.getLogger("rollcall")


def tell_restored(config: Config, report: RestoreReport, now: datetime) -> list[str]:
    """Send it to every destination; return, and log, what could not be delivered: the restore stands all the same."""
    source = report.plan.source
    body = "\n".join([*restored_lines(report)[:4], f"Next: rollcall verify {report.target}"])
    title = f"RESTORED {report.target} at {now:%H:%M} UTC from {described(source) if source else 'nothing'}"
    undelivered = send(config, Message(title[:90], body, "warning" if report.warnings else "success"))
    for sentence in undelivered:
        log.warning("%s", sentence)
    return undelivered
