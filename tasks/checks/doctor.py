"""What would fail tonight: every part a run needs, tried now, with what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from tasks.checks.look import Seen, look_at_cluster, look_at_container, volume_findings
from tasks.config import Config, NotifyUrl, Target
from tasks.containers.engine import engine, shares_this_kernel
from tasks.containers.programs import Program, beside
from tasks.errors import ConfigError, DatabaseError, EngineError, RollcallError
from tasks.history.judge import judge_identity
from tasks.history.store import open_history
from tasks.models import Model
from tasks.secrets import reveal
from tasks.storage import open_storage


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
        _parsed(reveal(entry.url))
        return "The URL is set, and one that Apprise knows."
    return "A Prefect block; it is loaded when it is needed."


def _parsed(url: str) -> None:
    """Raise ConfigError, which does not quote it, for what is no Apprise URL."""
    from apprise import Apprise

    talkative = logging.getLogger("apprise")
    before, talkative.disabled = talkative.disabled, True
    try:
        known = Apprise().add(url.strip())
    finally:
        talkative.disabled = before
    if not known:
        raise ConfigError("What is set is not an Apprise URL (tgram://…, mailto://…, json://…).")


def _storage(config: Config, name: str) -> str:
    open_storage(name, config.storages[name]).probe()
    return "Writes, reads, deletes."


def _target(config: Config, target: str) -> Iterator[Diagnosis]:
    rules = config.target(target)
    for name in rules.storages:
        yield _tried(f"{target}: storage {name}", partial(_storage, config, name))
    yield _tried(f"{target}: volume", partial(_volume, rules))
    try:
        seen = look_at_cluster(rules, look_at_container(rules))
    except RollcallError as error:
        yield Diagnosis(subject=f"{target}: database", well=False, words=str(error))
        return
    version, way = seen.identity.server_version, seen.way
    words = f"PostgreSQL {version} answers at {way.host}:{way.port} ({way.reason}); {len(seen.databases)} databases."
    yield Diagnosis(subject=f"{target}: database", well=True, words=words)
    yield _tried(f"{target}: identity", partial(_identity, config, target, seen))
    yield _tried(f"{target}: pg_dump", partial(_programs, target, seen))


def _volume(rules: Target) -> str:
    if found := volume_findings(rules):
        raise EngineError(" ".join(each.message for each in found))
    return f"The pinned volume {rules.volume} is there."


def _identity(config: Config, target: str, seen: Seen) -> str:
    with open_history(config.history) as history:
        pin, last = history.pin(target), history.last_identity(target)
    findings = judge_identity(seen.identity, pin, last, config.target(target).volume)
    wrong = [each.message for each in findings if each.severity != "notice"]
    if wrong:
        raise DatabaseError(" ".join(wrong))
    return f"The data is on volume {seen.identity.volume}, as pinned ({datetime.now(UTC):%H:%M} UTC)."


def _programs(target: str, seen: Seen) -> str:
    line = "command -v pg_dumpall pg_restore >/dev/null && pg_dump --version"
    with engine() as client, beside(client, seen.container, Program(line, deadline=60), owner="doctor") as running:
        running.say("")
        return f"{b''.join(running.chunks()).decode().strip()} is in the database's own image."
