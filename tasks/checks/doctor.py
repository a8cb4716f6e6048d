"""What would fail tonight: every part a run needs, tried now, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from tasks.checks.look import Seen, look_at_cluster, look_at_container, volume_findings
from tasks.checks.shelves import storages_of
from tasks.config import Config, NotifyUrl
from tasks.containers.engine import engine, shares_this_kernel
from tasks.containers.programs import Program, beside
from tasks.errors import RollcallError
from tasks.history.judge import judge_identity
from tasks.history.store import open_history
from tasks.models import Model
from tasks.secrets import reveal
from tasks.storage import Storage


class Diagnosis(Model):
    """One part that was tried: `well`, or what is wrong and what to do."""

    subject: str
    well: bool
    words: str


def examine(config: Config) -> list[Diagnosis]:
    """Try the engine, the history, every notification's secret, and everything about every target."""
    found = [_tried("engine", _engine), _tried("history", partial(_history, config))]
    found += [_tried(f"notify[{place}]", partial(_destination, each)) for place, each in enumerate(config.notify)]
    if not config.notify:
        found.append(Diagnosis(subject="notify", well=False, words="Nobody is told: add a destination under notify."))
    for target in config.targets:
        found += list(_target(config, target))
    return found


def _tried(subject: str, check: Callable[[], str]) -> Diagnosis:
    try:
        return Diagnosis(subject=subject, well=True, words=check())
    except RollcallError as error:
        return Diagnosis(subject=subject, well=False, words=str(error))


def _engine() -> str:
    with engine() as client:
        version = client.version()["Version"]
        way = "a helper container beside the server" if shares_this_kernel(client) else "docker exec (slower)"
        return f"Docker Engine {version} answers; dumps are taken by {way}."


def _history(config: Config) -> str:
    with open_history(config.history) as history:
        return f"The history opens and knows {len(history.targets())} targets."


def _destination(entry: object) -> str:
    if isinstance(entry, NotifyUrl):
        reveal(entry.url)
        return "The URL is set."
    return "A Prefect block; it is loaded when it is needed."


def _storage(storage: Storage) -> str:
    storage.probe()
    return "Writes, reads, deletes."


def _target(config: Config, target: str) -> Iterator[Diagnosis]:
    rules = config.target(target)
    for storage in storages_of(config, target):
        yield _tried(f"{target}: storage {storage.name}", partial(_storage, storage))
    for finding in volume_findings(rules):
        yield Diagnosis(subject=f"{target}: volume", well=False, words=finding.message)
    try:
        seen = look_at_cluster(rules, look_at_container(rules))
    except RollcallError as error:
        yield Diagnosis(subject=f"{target}: database", well=False, words=str(error))
        return
    version, way = seen.identity.server_version, seen.way
    words = f"PostgreSQL {version} answers at {way.host}:{way.port} ({way.reason}); {len(seen.databases)} databases."
    yield Diagnosis(subject=f"{target}: database", well=True, words=words)
    yield _identity(config, target, seen)
    yield _tried(f"{target}: pg_dump", partial(_programs, target, seen))


def _identity(config: Config, target: str, seen: Seen) -> Diagnosis:
    with open_history(config.history) as history:
        pin, last = history.pin(target), history.last_identity(target)
    findings = judge_identity(seen.identity, pin, last, config.target(target).volume)
    wrong = [each.message for each in findings if each.severity != "notice"]
    words = (
        " ".join(wrong) or f"The data is on volume {seen.identity.volume}, as pinned ({datetime.now(UTC):%H:%M} UTC)."
    )
    return Diagnosis(subject=f"{target}: identity", well=not wrong, words=words)


def _programs(target: str, seen: Seen) -> str:
    line = "command -v pg_dumpall pg_restore >/dev/null && pg_dump --version"
    with engine() as client, beside(client, seen.container, Program(line, deadline=60), owner="doctor") as running:
        running.say("")
        return f"{b''.join(running.chunks()).decode().strip()} is in the database's own image."
