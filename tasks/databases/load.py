"""How a cluster is made again from a backup: PostgreSQL's own programs, their arguments, and what cannot be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tasks.models import Manifest, Tally

OLDEST_WITH_PROVIDER = 15
MIB = 1 << 20

# One that is missing would end the session.
NO_LIBRARIES = {"session_preload_libraries": "", "local_preload_libraries": ""}

# A session of ours is not to depend on what was set for its database or role: `ALTER DATABASE … SET
# default_transaction_read_only = on`, `ALTER ROLE … SET role = …` would end a restore half-way.
SESSION = {
    "default_transaction_read_only": "off",
    "session_replication_role": "origin",
    **NO_LIBRARIES,
    "role": "none",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "lc_messages": "C",
}
SINCE = {"idle_session_timeout": 14, "transaction_timeout": 17}

# What the content of a materialised view, which a restore fills anew, or the outcome of a check may depend on.
SESSION_SETTINGS = frozenset(
    {
        "timezone", "timezone_abbreviations", "datestyle", "intervalstyle", "lc_monetary", "lc_numeric", "lc_time",
        "default_text_search_config", "extra_float_digits", "bytea_output", "xmlbinary", "xmloption",
        "array_nulls", "quote_all_identifiers", "transform_null_equals", "backslash_quote",
        "standard_conforming_strings", "default_toast_compression", "password_encryption",
        # Where functions find what they name, and where extensions are.
        "search_path", "dynamic_library_path", "extension_control_path", "extension_destdir",
        "icu_validation_level", "lo_compat_privileges", "allow_in_place_tablespaces",
    }
)  # fmt: skip

# What keeps a preloaded library from changing what is being rebuilt, and from writing statements into a log or a file.
QUIET: dict[str, dict[str, str]] = {
    "pg_cron": {
        "cron.launch_active_jobs": "off",
        "cron.use_background_workers": "off",
        "cron.host": "/nowhere",
        "cron.log_run": "off",
    },
    "timescaledb": {"timescaledb.max_background_workers": "0", "timescaledb.restoring": "on"},
    "pg_stat_statements": {"pg_stat_statements.save": "off", "pg_stat_statements.track": "none"},
    "pgaudit": {"pgaudit.log": "none", "pgaudit.role": ""},
    "auto_explain": {"auto_explain.log_min_duration": "-1"},
}
# And of any library: with no slot for it, a worker that it registers is never started (PostgreSQL source, bgworker.c).
NO_WORKERS = {"max_worker_processes": "0"}
# What PostgreSQL and extensions say where a library is not preloaded that has to be.
NOT_PRELOADED = re.compile(r"preload|unrecognized configuration parameter|must be loaded", re.IGNORECASE)

# Settings that name a file which the server will not start without; a backup holds the four configuration files alone.
NEEDED_FILES = {
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "ssl_ca_file": "",
    "ssl_crl_file": "",
    "ssl_dh_params_file": "",
}


def major_of(server_version: str) -> int:
    """`17` of `17.10 (Debian 17.10-1)`; 0 where it says none."""
    found = re.match(r"\d+", server_version)
    return int(found[0]) if found else 0


def initdb_arguments(cluster: Mapping[str, Any], server_version: str) -> list[str]:
    """initdb's arguments for a cluster like the one that `cluster` of a manifest describes (read_cluster).

    Source: PostgreSQL documentation, initdb. Data checksums are said either way: PostgreSQL 18 has them on by default.
    The other locale categories are those of configuration files; `C` is there in every image.
    """
    major = major_of(server_version)
    arguments = [f"--username={cluster['bootstrap_user']}", f"--encoding={cluster['encoding']}", "--no-sync"]
    arguments += ["--locale=C", f"--lc-collate={cluster['collate']}", f"--lc-ctype={cluster['ctype']}"]
    arguments += _provider(cluster) if major >= OLDEST_WITH_PROVIDER else []
    if cluster.get("data_checksums"):
        arguments.append("--data-checksums")
    elif major >= 18:
        arguments.append("--no-data-checksums")
    if cluster.get("wal_segment_size"):
        arguments.append(f"--wal-segsize={int(cluster['wal_segment_size']) // MIB}")
    # Should the backup hold no pg_hba.conf, nobody gets in by mistake.
    return [*arguments, "--auth-local=peer", "--auth-host=reject", "--no-instructions"]


def _provider(cluster: Mapping[str, Any]) -> list[str]:
    provider = cluster.get("locale_provider") or "libc"
    arguments = [f"--locale-provider={provider}"]
    if provider == "icu":
        arguments.append(f"--icu-locale={cluster['icu_locale']}")
        if cluster.get("icu_rules"):
            arguments.append(f"--icu-rules={cluster['icu_rules']}")
    if provider == "builtin":
        arguments.append(f"--builtin-locale={cluster['icu_locale']}")
    return arguments


class Globals(NamedTuple):
    """A globals script for a cluster that initdb has just made, and what is to be said when all is loaded."""

    script: bytes
    afterwards: bytes
    tablespaces: list[str]


def loadable_globals(script: bytes, bootstrap_user: str) -> Globals:
    """The script without what cannot be said in the new cluster; `tablespaces`: folders that must be there for it.

    The superuser of initdb is there already; until all is loaded it must stay one who may log in, with no settings of
    its own but for a search path, which what is loaded may need. \\restrict, which psql knows only from some minor
    versions on, guards against commands for psql, which runs where it can do no harm.
    """
    # Byte for byte: the script is in the encoding of the cluster, and its keywords are ASCII in every one.
    text = script.decode("latin-1")
    user = bootstrap_user.encode().decode("latin-1")
    text = re.sub(r"^\\(un)?restrict [A-Za-z0-9]+\n", "", text, flags=re.MULTILINE)
    afterwards = ""
    found = re.search(rf"^CREATE ROLE ({re.escape(user)}|{re.escape(quoted(user))});\n", text, re.MULTILINE)
    if found:
        text = text[: found.start()] + text[found.end() :]
        settings = re.compile(
            rf"^ALTER ROLE {re.escape(found[1])} SET (?!search_path )(?:'(?:[^']|'')*'|[^';])*;\n", re.MULTILINE
        )
        afterwards = "".join(settings.findall(text))
        text = settings.sub("", text)
        text, demoted = _superuser_who_may_log_in(text, found[1])
        afterwards += f"ALTER ROLE {found[1]} {' '.join(demoted)};\n" if demoted else ""
    # One within PGDATA, which the server gives its place itself (PostgreSQL 15 dumps it as it is there).
    text = re.sub(r"^(CREATE TABLESPACE .* LOCATION )'pg_tblspc/\d+';$", r"\1'';", text, flags=re.MULTILINE)
    folders = re.findall(r"^CREATE TABLESPACE .* LOCATION '((?:[^']|'')+)';$", text, re.MULTILINE)
    names = [each.replace("''", "'").encode("latin-1").decode(errors="surrogateescape") for each in folders]
    return Globals(text.encode("latin-1"), afterwards.encode("latin-1"), names)


def _superuser_who_may_log_in(text: str, role: str) -> tuple[str, list[str]]:
    """The script with a role that is both, and the attributes that it lost by that. Up to PostgreSQL 15, the superuser
    of initdb may be demoted."""
    line = re.search(rf"^ALTER ROLE {re.escape(role)} WITH [A-Z ]*", text, re.MULTILINE)
    refused: tuple[str, ...] = ("NOSUPERUSER", "NOLOGIN")
    lacking = [each for each in refused if line and each in line[0].split()]
    if not line or not lacking:
        return text, []
    words = " ".join(each.removeprefix("NO") if each in lacking else each for each in line[0].split(" "))
    return text[: line.start()] + words + text[line.end() :], lacking


def psql_command(user: str) -> list[str]:
    """psql that reads a script to its end, and prints its errors, which quote no statement: one may hold a verifier."""
    return [
        "sh", "-c", 'exec "$@" 2>&1', "sh",
        "psql", "--no-psqlrc", "--quiet", "--no-password", f"--username={user}", "--dbname=postgres",
        "--set=VERBOSITY=terse", "--file=-",
    ]  # fmt: skip


def refused(said: str, script: bytes) -> list[tuple[str, str]]:
    """The statements of a globals script that psql, by what it printed, could not run, without values; and why."""
    found = re.findall(r"^psql:<stdin>:(\d+): (?:ERROR|FATAL): +(.*)$", said, re.MULTILINE)
    statements = _by_last_line(script.decode("latin-1")) if found else {}
    return [(_without_values(statements.get(int(number), f"line {number}")), why) for number, why in found]


def _by_last_line(text: str) -> dict[int, str]:
    """The statements of a script by the line that they end in, which is the one that psql names."""
    ended, line, at = {}, 1, 0
    for each in STATEMENT.finditer(text):
        line, at = line + text.count("\n", at, each.end()), each.end()
        ended[line] = each[1]
    return ended


# A doubled quote reads as two texts beside each other. Comments of pg_dumpall stand between statements.
STATEMENT = re.compile(r"""(?:--.*\n|\s)*+((?:'[^']*'|"[^"]*"|[^;'"])*+;)""")
NO_VALUE = re.compile(r"""(?:"[^"]*"|[^'"])*""")


def _without_values(statement: str) -> str:
    beginning = NO_VALUE.match(statement)
    shown = re.split(r" WITH | PASSWORD | TO E?$| = | LOCATION | IS E?$|;$", beginning[0] if beginning else "")[0]
    return shown.encode("latin-1").decode(errors="replace")


def analyze_command(user: str, jobs: int) -> list[str]:
    """Statistics for all databases: a dump holds none, and without them the first hour is slow."""
    return [
        "vacuumdb", "--all", "--analyze-only", "--quiet", f"--jobs={jobs}", "--no-password",
        f"--username={user}", "--maintenance-db=postgres",
    ]  # fmt: skip


def session_environment(major: int, search_path: str = "") -> dict[str, str]:
    """The environment of a program that connects: what a session of it has whatever its database or role says.
    search_path: empty for that of the database."""
    known = {name: value for name, value in SESSION.items() if major >= SINCE.get(name, 0)}
    known |= {"search_path": search_path} if search_path else {}
    # libpq takes a backslash before what would end an option (PostgreSQL documentation, libpq, options).
    options = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in known.items()}
    return {"PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in options.items())}


SETTING = re.compile(r"^\s*([A-Za-z_][\w.$]*)\s*(?:=\s*|\s+)('(?:[^'\\]|''|\\.)*'|[^\s#']+)", re.MULTILINE)


def settings_in(texts: Iterable[str]) -> dict[str, str]:
    """What configuration files set, by name in lower case; a later text wins. Included files are not followed."""
    found: dict[str, str] = {}
    for text in texts:
        for name, value in SETTING.findall(text):
            found[name.lower()] = re.sub(r"''|\\'", "'", value[1:-1]) if value.startswith("'") else value
    return found


def session_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that a session's outcome may depend on: time zone, formats, and any that are the users' own (`app.x`)."""
    return {
        name: value
        for name, value in settings.items()
        if name in SESSION_SETTINGS or ("." in name and re.fullmatch(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_.]*", name))
    }


def server_settings(manifest: Manifest) -> dict[str, str]:
    """What the server itself said of its settings, wherever they came from, by name in lower case."""
    told: Mapping[str, Mapping[str, Any]] = manifest.cluster.get("settings") or {}
    return {name: str(each["setting"]) for name, each in told.items()}


def libraries(settings: Mapping[str, str]) -> list[str]:
    """`shared_preload_libraries`, in the server's own order, which may matter."""
    names = (name.strip().strip('"') for name in settings.get("shared_preload_libraries", "").split(","))
    return [name for name in names if name]


def extensions(tally: Tally) -> list[str]:
    """The names of a database's extensions, sorted."""
    named = [name.removeprefix("extension ") for name in tally.schema_objects if name.startswith("extension ")]
    return sorted(re.sub(r'^"|"$', "", name).replace('""', '"') for name in named)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def preloaded(listed: Sequence[str], needing: Iterable[str]) -> list[str]:
    """Those of the libraries that are called like an extension that needs one; all, where none is."""
    names = set(needing)
    return [each for each in listed if PurePosixPath(each).name.removesuffix(".so") in names] or list(listed)


def preloading(names: Sequence[str]) -> dict[str, str]:
    """The settings of a server that preloads these libraries, and keeps them quiet."""
    quiet = {key: value for name in names for key, value in QUIET.get(PurePosixPath(name).name, {}).items()}
    return {"shared_preload_libraries": ",".join(f'"{name}"' for name in names), **NO_WORKERS, **quiet}


def needed_in_pgdata(settings: Mapping[str, str], pgdata: str) -> list[str]:
    """What the configuration names below PGDATA, no backup holds and the server does not start without."""
    named = [settings[name] for name in ("include", "include_dir") if name in settings]
    if settings.get("ssl", "off").lower() in ("on", "true", "yes", "1"):
        named += [settings.get(name, usual) for name, usual in NEEDED_FILES.items()]
    places = [PurePosixPath(pgdata, each) for each in named if each]
    return sorted({str(each.relative_to(pgdata)) for each in places if each.is_relative_to(pgdata)})


def settings_notes(settings: Mapping[str, str], pgdata: str) -> list[str]:
    """What a person should know of the configuration that comes back, a sentence each."""
    notes = []
    if settings.get("archive_mode", "off").lower() in ("on", "always", "true", "yes", "1"):
        notes.append(
            "The configuration archives WAL (archive_mode): the restored cluster is a new one, and needs a place of "
            "its own for it."
        )
    needed = needed_in_pgdata(settings, pgdata)
    if needed:
        notes.append(
            f"The configuration reads {', '.join(needed)} in PGDATA, and no backup holds that: a restore takes it over "
            "from the volume that is there; without it the server does not start."
        )
    return notes


def cannot_be_rebuilt(manifest: Manifest, destination: str) -> list[str]:
    """Why a backup cannot be rebuilt in a volume alone that is mounted at `destination`, a sentence each."""
    backup, reasons = f"Backup {manifest.id}", []
    if manifest.method != "dump":
        reasons.append(f"{backup} was taken by the method {manifest.method}, which this version cannot load.")
    if "bootstrap_user" not in manifest.cluster:
        reasons.append(f"{backup} does not say how its cluster was initialised; restore it by hand.")
    tablespaces: Mapping[str, str] = manifest.cluster.get("tablespaces") or {}
    outside = sorted(name for name, place in tablespaces.items() if not _is_inside(place, destination))
    if outside:
        reasons.append(f"{backup} has tablespaces outside of its volume ({', '.join(outside)}); restore it by hand.")
    if not any(each.role == "globals" for each in manifest.objects):
        reasons.append(
            f"{backup} holds no roles (roles: false in the configuration), so nobody could log in; restore it by hand."
        )
    dumped = {each.database for each in manifest.objects if each.role == "dump"}
    undumped = sorted({manifest.database, *manifest.databases} - dumped)
    if undumped:
        reasons.append(f"{backup} lists no dump of {', '.join(undumped)}; use another one.")
    return reasons


def _is_inside(place: str, destination: str) -> bool:
    return is_in_place(place) or (
        ".." not in PurePosixPath(place).parts and PurePosixPath(place).is_relative_to(destination)
    )


def is_in_place(tablespace: str) -> bool:
    """Whether a tablespace of this location is within PGDATA itself: its path is relative, or none."""
    return not tablespace.startswith("/")


def configuration_in_pgdata(manifest: Manifest, names: Sequence[str]) -> list[str]:
    """Those of the stored configuration files that were in PGDATA; all, where the manifest does not say."""
    places: Mapping[str, str] = manifest.cluster.get("files") or {}
    pgdata = manifest.identity.pgdata
    return [
        name for name in names if name not in places or not pgdata or str(PurePosixPath(places[name]).parent) == pgdata
    ]
