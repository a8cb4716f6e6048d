"""What would fail tonight: every part a run needs, tried now, with what to do about it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tasks.alerts.message import Message
from tasks.alerts.tell import send
from tasks.checks.look import Seen, login, look_at_cluster, look_at_container
from tasks.checks.shared import place_findings
from tasks.config import Config, NotifyUrl, Target
from tasks.containers.engine import engine, everybody, host_of, inspect_container
from tasks.containers.observe import kept_at, read
from tasks.containers.programs import Program, beside
from tasks.containers.shared_folders import path_on_engine
from tasks.databases.dump import connection_string
from tasks.doctor.clocks import clock_diagnoses
from tasks.doctor.compose import compose_diagnoses
from tasks.doctor.diagnosis import Diagnosis, all_of, tried, wrong
from tasks.doctor.outside import ping_diagnoses
from tasks.doctor.server import server_diagnoses
from tasks.doctor.shelf import shelf_diagnoses
from tasks.errors import ConfigError, DatabaseError, EngineError, HistoryError, NotificationFailed, RollcallError
from tasks.history.judge import judge_identity, where
from tasks.history.store import open_history
from tasks.secrets import reveal
from tasks.sections import Docker, is_folder
from tasks.storage import open_storage


def examine(config: Config, *, notify: bool = False) -> list[Diagnosis]:
    """Try the engine, the history, every notification's secret, the clocks, and everything about every target.

    Not here: what only Prefect's server knows, as whether it has the blocks that notifications go through.
    notify: really send a message to every destination.
    """
    found = [tried(_name_of(each), partial(_engine, each)) for each in config.engines()]
    found.append(tried("history", partial(_history, config)))
    urls = [(place, each) for place, each in enumerate(config.notify) if isinstance(each, NotifyUrl)]
    found += [tried(f"notify[{place}]", partial(_destination, each)) for place, each in urls]
    if not config.notify:
        found.append(Diagnosis(subject="notify", well=False, words="Nobody is told: add a destination under notify."))
    elif notify:
        found.append(tried("notify", partial(_send, config)))
    found += all_of("clocks", partial(clock_diagnoses, config))
    for target in config.targets:
        found += all_of(target, partial(_target, config, target))
    return found


def _name_of(where: Docker | None) -> str:
    return f"engine {where.named}" if where else "engine"


def _engine(where: Docker | None) -> str:
    with engine(where) as client:
        version = client.version()["Version"]
        shared = path_on_engine(client, Path(tempfile.gettempdir()))
        way = "a helper container beside the server" if shared else "docker exec (slower)"
        return f"Docker Engine {version} answers; dumps are taken by {way}."


def _history(config: Config) -> str:
    with open_history(config.history) as history:
        names = ", ".join(sorted(history.targets())) or "no target yet"
        return f"The history opens and knows {names}."


def _destination(entry: NotifyUrl) -> str:
    _parsed(reveal(entry.url))
    return "The URL is set, and one that Apprise knows."


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


def _send(config: Config) -> str:
    said = send(config, Message("rollcall doctor: a test", "Nothing is wrong: somebody ran doctor --notify.", "info"))
    if said:
        raise NotificationFailed(" ".join(said))
    number = len(config.notify)
    return f"A test message was delivered to {number} destination{'' if number == 1 else 's'}."


def _storage(config: Config, name: str) -> str:
    open_storage(name, config.storages[name]).probe()
    return "Writes, reads, deletes."


def _target(config: Config, target: str) -> Iterator[Diagnosis]:
    rules = config.target(target)
    for name in rules.storages:
        yield tried(f"{target}: storage {name}", partial(_storage, config, name))
    yield from all_of(f"{target}: room", partial(shelf_diagnoses, config, target))
    yield from all_of(f"{target}: ping", partial(ping_diagnoses, config, target))
    yield tried(f"{target}: volume", partial(_volume, config, target))
    try:
        seen = look_at_cluster(rules, look_at_container(rules))
    except RollcallError as error:
        yield wrong(f"{target}: database", str(error))
        yield from all_of(f"{target}: compose file", partial(_compose, target, rules, None, serves=False))
        return
    version, way = seen.identity.server_version, seen.way
    words = f"PostgreSQL {version} answers at {way.host}:{way.port} ({way.reason}); {len(seen.databases)} databases."
    yield Diagnosis(subject=f"{target}: database", well=True, words=words)
    identity = tried(f"{target}: identity", partial(_identity, config, target, seen))
    yield identity
    yield tried(f"{target}: pg_dump", partial(_programs, rules, seen))
    yield from server_diagnoses(config, target, seen)
    compose = partial(_compose, target, rules, seen.container.pgdata, serves=identity.well)
    yield from all_of(f"{target}: compose file", compose)


def _compose(target: str, rules: Target, pgdata: str | None, *, serves: bool) -> list[Diagnosis]:
    """About the container and its compose file; nothing where there is no container, which is told already.

    pgdata: where the server says that its data is; None: where the container's environment says.
    """
    try:
        with engine(rules.docker) as client:
            found = inspect_container(client, rules.container)
            others, host = everybody(client), host_of(client)
        pgdata = pgdata or read(found).pgdata
        return list(compose_diagnoses(target, rules, found, pgdata, others, serves, host))
    except EngineError:
        return []


def _volume(config: Config, target: str) -> str:
    rules = config.target(target)
    found = place_findings(rules, None)
    if missing := [each for each in found if each.code == "volume.missing"]:
        raise EngineError(missing[0].message + _slip(config, target))
    if wrong := [each.message for each in found if each.severity == "critical"]:
        raise EngineError(" ".join(wrong))
    return " ".join([f"The {rules.pinned_place} is there.", *(each.message for each in found)])


def _slip(config: Config, target: str) -> str:
    """Advice where no check has ever seen the right volume: then a wrong name in the file is likelier than a loss."""
    rules = config.target(target)
    try:
        with open_history(config.history) as history, engine(rules.docker) as client:
            seen_before = history.pin(target) is not None
            mounted = None if seen_before else kept_at(read(inspect_container(client, rules.container)), rules.pinned)
    except (EngineError, HistoryError):
        return ""
    if not mounted or mounted == rules.pinned:
        return ""
    key = "folder" if is_folder(mounted) else "volume"
    return f" {rules.container} keeps its data {where(None, mounted)}: if that is right, write it as `{key}`."


def _identity(config: Config, target: str, seen: Seen) -> str:
    with open_history(config.history) as history:
        pin, last = history.pin(target), history.last_identity(target)
    findings = judge_identity(seen.identity, pin, last, config.target(target).pinned)
    wrong = [each.message for each in findings if each.severity != "notice"]
    if wrong:
        raise DatabaseError(" ".join(wrong))
    return f"The data is {where(None, seen.identity.place)}, as pinned ({datetime.now(UTC):%H:%M} UTC)."


# What backups, drills and restores run, in the database's own image.
CHECK_PROGRAMS = """
lacking=
for each in pg_dump pg_dumpall pg_restore psql postgres initdb pg_ctl pg_controldata vacuumdb; do
    command -v $each >/dev/null || lacking="$lacking $each"
done
echo "lacking$lacking"
pg_dump --version
command -v psql >/dev/null || exit 0
psql --no-psqlrc --no-password -Atc 'SELECT system_identifier FROM pg_control_system()' --dbname=%s
"""


def _programs(rules: Target, seen: Seen) -> str:
    """The programs, and that they reach the server in the way that a backup takes. Raise DumpFailed, EngineError."""
    line = CHECK_PROGRAMS.strip() % connection_string(rules, seen.container, seen.way, rules.database)
    password = login(rules, seen.way).password or ""
    program = Program(line, password, deadline=60, host_network=rules.host is not None)
    with engine(rules.docker) as client, beside(client, seen.container, program, owner="doctor") as running:
        running.say("")
        lacking, version, *answer = b"".join(running.chunks()).decode().splitlines()
    if missing := lacking.removeprefix("lacking").strip():
        raise EngineError(
            f"The image of {seen.container.name} lacks {missing.replace(' ', ', ')}: no drill and no restore can be "
            "made with it; use an image that has the whole server."
        )
    if answer != [seen.identity.system_identifier]:
        raise EngineError(f"Beside {seen.container.name}, where pg_dump runs, another server answers: set `host`.")
    return f"{version} is in the database's own image, and reaches the server."
