"""What the running server of a target says: the user's rights, its clock, its size against the engine's disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from tasks.alerts.artifacts import size
from tasks.checks.look import Seen, login
from tasks.config import Config, Target
from tasks.containers.engine import engine, shares_this_kernel
from tasks.databases import extensions, rights
from tasks.databases.cluster_state import not_carried
from tasks.databases.connect import connect, quoted, translated
from tasks.databases.fragile import fragile
from tasks.doctor.clocks import TOLERANCE, off_by
from tasks.doctor.diagnosis import Diagnosis, tried
from tasks.errors import DatabaseError, EngineError

MOST_NAMES = 5


def server_diagnoses(config: Config, target: str, seen: Seen) -> Iterator[Diagnosis]:
    """Rights, what a backup would lack, clock and room for a restore."""
    rules = config.target(target)
    yield tried(f"{target}: rights", partial(_rights, rules, seen))
    yield tried(f"{target}: completeness", partial(_left_out, rules, seen))
    yield tried(f"{target}: extensions", partial(_extensions, rules, seen))
    yield tried(f"{target}: what is hard to restore", partial(_fragile, rules, seen))
    yield tried(f"{target}: clock", partial(_clock, rules, seen))
    yield tried(f"{target}: room for a restore", partial(_room, rules, seen))


def _rights(rules: Target, seen: Seen) -> str:
    user, role = rules.user, quoted(rules.user)
    for database in seen.databases:
        with connect(login(rules, seen.way, database)) as connection:
            names = rights.hidden(connection)
            large = rights.unreadable_large_objects(connection)
            roles = rights.may_read_roles(connection)
        if names:
            raise DatabaseError(
                f"{user} cannot read all of {_some(names)} in {database}, and a dump stops "
                f"there: GRANT pg_read_all_data TO {role}; for hidden rows: ALTER ROLE {role} BYPASSRLS."
            )
        if large:
            raise DatabaseError(
                f"{user} cannot read {large} of the large objects in {database}, and a dump stops there: GRANT SELECT "
                f"ON LARGE OBJECT … TO {role} for each (pg_read_all_data does not), or use a superuser as `user`."
            )
    if rules.roles and not roles:
        raise DatabaseError(
            f"{user} may not read the roles' password verifiers, and the backup of them fails: GRANT "
            f"pg_read_all_data TO {role}, use a superuser as `user`, or say `roles: false`."
        )
    return f"{user} reads every table, sequence and large object of {len(seen.databases)} databases."


def _left_out(rules: Target, seen: Seen) -> str:
    for database in seen.databases:
        with connect(login(rules, seen.way, database)) as connection:
            names = rights.left_out(connection)
        if names:
            raise DatabaseError(
                f"A backup of {database} leaves out {_some(names)}, for {rules.user} is no superuser: keep the "
                "statements that made them with your own files, or use a superuser as `user`."
            )
    carried = not_carried(seen.cluster)
    beside = f" But {'; '.join(carried)}." if carried else ""
    return f"Nothing of the databases is left out of a backup.{beside}"


def _extensions(rules: Target, seen: Seen) -> str:
    for database in seen.databases:
        with connect(login(rules, seen.way, database)) as connection, translated("the extensions' versions"):
            found = extensions.unmakeable(connection)
        for name, version, default in found[:1]:
            if default is None:
                remedy = f"the container's image has no {name} at all: use an image that has it"
            else:
                remedy = f"the container's image makes {default}: ALTER EXTENSION {name} UPDATE"
            raise DatabaseError(
                f"The extension {name} of {database} has version {version}, which a restore cannot make, for {remedy}."
            )
    return "A restore makes every extension in the version that it has."


def _fragile(rules: Target, seen: Seen) -> str:
    found = []
    for database in seen.databases:
        with connect(login(rules, seen.way, database)) as connection:
            found += [f"in {database}, {each}" for each in fragile(connection)]
    if not found:
        return "Nothing is known that a restore could not make again."
    return f"A restore may need another order, or name what it cannot make again: {_some(found)}. A drill shows it."


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _clock(rules: Target, seen: Seen) -> str:
    before = datetime.now(UTC)
    with connect(login(rules, seen.way)) as connection, translated("the server's clock"):
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    told: datetime = row[0] if row else before
    if (apart := off_by(told, before, datetime.now(UTC))) > TOLERANCE:
        raise DatabaseError(
            f"The server's clock and this machine's are {apart.total_seconds():,.0f} s apart: set both by NTP, or "
            "the ages of backups mislead."
        )
    return "The server's clock and this machine's agree."


def _room(rules: Target, seen: Seen) -> str:
    with connect(login(rules, seen.way)) as connection:
        needed = rights.cluster_bytes(connection)
    with engine(rules.docker) as client:
        if not shares_this_kernel(client):
            return f"The databases have {size(needed)}; the engine's disk cannot be seen from here."
        root = client.info()["DockerRootDir"]
    try:
        found = os.statvfs(root)
    except OSError:
        return f"The databases have {size(needed)}; the engine's disk cannot be seen by this user."
    return enough(needed, found.f_bavail * found.f_frsize, root)


def enough(needed: int, free: int, root: str) -> str:
    """That the databases' bytes fit once more on the engine's disk, in words (pure). Raise EngineError if not."""
    if free < needed:
        raise EngineError(
            f"A restore rebuilds the databases beside what is there, and they have {size(needed)}: the engine's disk "
            f"({root}) has {size(free)} left. Make room."
        )
    return f"The databases have {size(needed)}; the engine's disk has {size(free)} left."
