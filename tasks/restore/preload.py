"""Libraries that a scratch server must preload: those without which extensions of the backup cannot be made.

Nobody has a list of such extensions, so each is made, in a transaction that is rolled back, in a database of the name
that it was in: some are for one database alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tasks.containers.leashed import ProgramFailed
from tasks.containers.scratch import Scratch
from tasks.databases import archive, load
from tasks.databases.connect import connect
from tasks.errors import RestoreFailed
from tasks.restore.loading import Backup, login_to

log = logging.getLogger("rollcall")

PRESENT = """
    SELECT pg_ls_dir(setting) FROM pg_config WHERE name = 'PKGLIBDIR'
"""
REQUIRED = """
    SELECT DISTINCT unnest(requires)::text FROM pg_available_extension_versions WHERE name = ANY (%s)
"""


def preload(backup: Backup, server: Scratch, settings: Mapping[str, str]) -> list[str]:
    """Restart the server with the libraries that extensions of the backup need; `settings` are those that it has.

    Return what a person should know of it, a sentence each. Raise RestoreFailed.
    """
    listed = load.libraries(backup.server_settings)
    if not listed or not (needing := _needing(backup, server)):
        return []
    here = [name for name in listed if "/" in name or f"{name.removesuffix('.so')}.so" in _values(server, PRESENT)]
    needing += _values(server, REQUIRED, needing)
    for wanted in dict.fromkeys((tuple(load.preloaded(here, needing)), tuple(here))):
        if _restarted(server, {**settings, **load.preloading(wanted)}, settings):
            log.info("%s: the scratch server preloads %s", backup.target, ", ".join(wanted))
            if not _needing(backup, server):
                return []
    missing = ", ".join(name for name in listed if name not in here)
    why = f"the image lacks {missing}" if missing else "the server does not start with them, or they are others"
    return [f"Libraries that {', '.join(sorted({*needing}))} must find preloaded are not: {why}."]


def _restarted(server: Scratch, settings: Mapping[str, str], before: Mapping[str, str]) -> bool:
    """Whether the server runs with these settings; if not, it runs with those of before."""
    server.stop()
    try:
        server.start(settings)
    except RestoreFailed as error:
        log.info("%s It is started without them.", error)
        server.start(before)
        return False
    return True


def _needing(backup: Backup, server: Scratch) -> list[str]:
    """The extensions that cannot be made because a library is not preloaded."""
    needing = []
    for database, tally in backup.tallies.items():
        if names := load.extensions(tally):
            # Once it is loaded, it is dropped and made again.
            _said(backup, server, "template1", f"CREATE DATABASE {load.quoted(database)} TEMPLATE template0")
        for name in names:
            made = f"BEGIN; CREATE EXTENSION {load.quoted(name)} CASCADE; ROLLBACK"
            if load.NOT_PRELOADED.search(_said(backup, server, database, made)):
                needing.append(name)
    return needing


def _said(backup: Backup, server: Scratch, database: str, statement: str) -> str:
    """What psql says of a statement that fails; empty where it does not."""
    command = ["psql", "--no-psqlrc", "--quiet", f"--command={statement}", *archive.into(database, backup.user)]
    try:
        server.run(command, None, backup.deadline, load.session_environment(backup.major))
    except ProgramFailed as error:
        return error.said
    return ""


def _values(server: Scratch, query: str, *arguments: object) -> list[str]:
    with connect(login_to(server, "postgres")) as connection:
        return [str(name) for (name,) in connection.execute(query, arguments)]
