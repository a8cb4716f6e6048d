"""The incident before a running `rollcall watch`, many times: `python -m benchmarks.watcher_replays [--replays 50]`.

Each replay is a target of its own: the right container is up and checked; it is removed, and a container of the same
name comes up on another, empty volume, which its init script fills with the same tables and few rows. Measured from
outside, by one clock: from the line in the new server's log that it accepts connections to the alert's arrival at a
web hook.
In every tenth replay the engine, one of the benchmark's own, is restarted when the wrong container has just been
created, and starts it by its restart policy while the watcher has no connection.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from tests.bed import engine, images
from tests.bed.labels import Bed
from tests.bed.private_engine import PrivateEngine
from tests.bed.progress import BedError, wait_until
from tests.bed.recorder import HttpRecorder
from tests.bed.watched import RIGHT, WRONG, Incident, configure, told, wait_for_line, watching

ALERT_SECONDS = 60.0
GOAL = 5.0


@dataclass(frozen=True)
class Replay:
    """seconds: from accepting connections to the alert; None where no alert came. up: from start to accepting; began:
    from accepting to the check's begin, by the watcher's own words; load: of the machine then."""

    name: str
    restarted: bool
    seconds: float | None
    up: float
    began: float = 0.0
    load: float = 0.0


def replay(incident: Incident, recorder: HttpRecorder, lines: list[str], own: PrivateEngine | None) -> Replay:
    """One incident. The engine is restarted in the middle if it is `own`."""
    policy = {"restart_policy": {"Name": "always"}} if own else {}
    since = len(lines)
    incident.up(incident.pinned, RIGHT, **policy)
    wait_for_line(lines, incident.name, "warning (backup.missing)", since=since)
    began = time.time()
    incident.up(incident.wrong, WRONG, **policy)
    if own:
        own.restart()
    incident.accepting()
    accepted = incident.said_ready()

    def alerted() -> bool:
        return bool(told(recorder, incident.name, "wrong volume"))

    try:
        wait_until(alerted, ALERT_SECONDS, "an alert")
    except BedError:
        return Replay(incident.name, own is not None, None, accepted - began)
    title = told(recorder, incident.name, "wrong volume")[0]
    arrived = recorder.arrived[[each["title"] for each in recorder.messages].index(title)]
    check = begun(wait_for_line(lines, incident.name, "critical", "checked in", since=since))
    load = os.getloadavg()[0]
    return Replay(incident.name, own is not None, arrived - accepted, accepted - began, check - accepted, load)


def begun(line: str) -> float:
    """When (time.time()) the check began whose outcome this line of `rollcall watch --json` tells."""
    told = json.loads(line)
    took = float(re.findall(r"checked in ([\d.]+) s", told["noticed"])[-1])
    return datetime.fromisoformat(told["at"]).timestamp() - took


def series(bed: Bed, count: int, own: PrivateEngine | None, begun: int = 0) -> list[Replay]:
    """Replay `count` incidents before one watcher, and print each."""
    incidents = [Incident(bed, f"team{each + begun}x{secrets.token_hex(2)}") for each in range(count)]
    recorder = HttpRecorder()
    recorder.start()
    done: list[Replay] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = configure(Path(folder), recorder, incidents)
            with watching(config, own.host if own else None, ["--json"], 60 + 5 * count) as lines:
                for incident in incidents:
                    wait_for_line(lines, incident.name, "checked in")  # that it has no container yet
                for incident in incidents:
                    try:
                        done.append(replay(incident, recorder, lines, own))
                    finally:
                        incident.remove()
                    _print(done[-1], len(done) + begun)
    finally:
        recorder.stop()
        for incident in incidents:
            incident.remove()
    return done


def _print(each: Replay, number: int) -> None:
    outcome = "MISSED" if each.seconds is None else f"{each.seconds:.2f} s, the check began at {each.began:+.2f} s"
    where = ", engine restarted" if each.restarted else ""
    print(f"{number:3}  {outcome}  (up in {each.up:.1f} s{where}; load {each.load:.1f})", flush=True)


def report(replays: list[Replay], title: str) -> None:
    """Median, maximum, missed."""
    took = [each.seconds for each in replays if each.seconds is not None]
    late = sum(seconds > GOAL for seconds in took)
    if took:
        print(f"{title}: {len(replays)} replays, median {median(took):.2f} s, maximum {max(took):.2f} s, ", end="")
    loads = [each.load for each in replays if each.seconds is not None] or [0.0]
    print(f"over {GOAL:g} s: {late}, missed: {len(replays) - len(took)}, ", end="")
    print(f"load {min(loads):.0f} to {max(loads):.0f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=50, help="how many in all")
    parser.add_argument("--every", type=int, default=10, help="one of so many has the engine restarted in it")
    options = parser.parse_args()
    restarted = options.replays // options.every
    bed = Bed(engine.connect(timeout=120))
    plain = series(bed, options.replays - restarted, None)
    report(plain, "engine left alone")
    if not restarted:
        return
    with tempfile.TemporaryDirectory(prefix="rc-engine-", ignore_cleanup_errors=True) as folder:
        own = PrivateEngine(Path(folder))
        own.start()
        try:
            own.load(images.tag(17))
            through = series(Bed(own.client()), restarted, own, len(plain))
        finally:
            own.remove()
    report(through, "engine restarted")
    report([*plain, *through], "all")


if __name__ == "__main__":
    main()
