"""What all sections of the configuration file share, and the sections that stand apart from storages and targets."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml.comments import CommentedMap

from tasks.cron import checked_cron, checked_timezone
from tasks.secrets import BlockReference, EnvReference, FileReference, SecretReference
from tasks.yaml_file import keys_in_document, line_of

SQLITE = re.compile(r"sqlite(?:\+\w+)?://[^/]*/?(?P<path>[^?]*)")

Text = Annotated[str, Field(min_length=1)]
Hours = Annotated[float, Field(gt=0, le=876_000)]


def _lasting(url: str) -> str:
    sqlite = SQLITE.match(url)
    if sqlite and (not sqlite["path"] or ":memory:" in url or "mode=memory" in url):
        raise ValueError(
            "SQLite in memory forgets at the end of each run which data is the right one; name a file, as "
            "sqlite:///state/history.db"
        )
    return url


SqlUrl = Annotated[str, AfterValidator(_lasting)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Docker(Section):
    """A Docker engine that is not the one of the environment (DOCKER_HOST, else this machine's socket).

    host: `unix:///path`, `tcp://host:port` or `ssh://[user@]host[:port]`; block: a Prefect `DockerHost` block that
    holds such a URL, by name. tls_ca, tls_cert and tls_key are files in PEM: whom to believe that it is the engine, and
    what it knows us by. A block holds no such files, so they stand here in both cases.
    """

    host: str | None = None
    block: Text | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @model_validator(mode="after")
    def names_one_engine(self) -> Docker:
        """An engine that is half said would be another one than was meant."""
        if (self.host is None) == (self.block is None):
            raise ValueError("takes either host (unix://…, tcp://… or ssh://…) or block (a DockerHost block's name)")
        if self.host is not None and (wrong := wrong_address(self.host)):
            raise ValueError(wrong)
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if any(files) and not all(files):
            raise ValueError("takes tls_ca, tls_cert and tls_key together, or none of them")
        if any(files) and self.host is not None and not self.host.startswith("tcp://"):
            raise ValueError("takes tls_ca, tls_cert and tls_key for a tcp:// host alone")
        return self

    @property
    def named(self) -> str:
        """The engine in words for people; no secret is in it."""
        return self.host or f"of the block {self.block}"


_DRIVE = re.compile(r"([A-Za-z]):(?=[\\/])")
# Where Docker Desktop's virtual machine shows the folders of the machine around it.
_DESKTOP = ("/host_mnt", "/run/desktop/mnt/host")


def is_folder(pinned: str) -> bool:
    """Whether what a target is pinned to is a folder of the engine's host: no volume's name begins like a path."""
    return pinned.startswith("/") or _DRIVE.match(pinned) is not None


def plain_folder(path: str) -> str:
    """A folder of the engine's host in one spelling, whichever way it was written or the engine shows it. Pure."""
    plain = _DRIVE.sub(lambda drive: f"/{drive[1].lower()}", path).replace("\\", "/") if _DRIVE.match(path) else path
    for prefix in _DESKTOP:
        if plain.startswith(f"{prefix}/"):
            plain = plain.removeprefix(prefix)
    return posixpath.normpath(plain)


def _whole_path(given: str) -> str:
    if not is_folder(given) or plain_folder(given) in ("/", "//"):
        raise ValueError(
            "must be the whole path of a folder on the engine's host, beginning with /; docker inspect shows it as the "
            "mount's Source"
        )
    return given


Folder = Annotated[str, AfterValidator(_whole_path)]
"""A folder of the engine's host: no path of this machine, so it is taken as it is written."""


def _not_empty(given: Any) -> Any:
    """`docker: null` of a target looks like this machine's engine, and would be the one at the file's top."""
    if given is None:
        raise ValueError(
            "is empty; for this machine's engine write {host: unix:///var/run/docker.sock}, and for the file's own "
            "leave the key out"
        )
    return given


OwnDocker = Annotated[Docker | None, BeforeValidator(_not_empty)]
"""A target's own engine. None where the key is left out, and only there."""


def wrong_address(url: str) -> str:
    """What is wrong with an engine's URL; nothing where it is one."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        return "has a host that is no URL"
    if parts.scheme == "unix":
        return "" if parts.path.startswith("/") and not parts.netloc else "has a unix:// host that names no whole path"
    wrong = {
        "has a host that begins with none of unix://, tcp:// and ssh://": parts.scheme not in ("tcp", "ssh"),
        # The name becomes an argument of the ssh program.
        "has a host that names no machine": not parts.hostname
        or "-" in (parts.hostname[0], (parts.username or " ")[0]),
        "has a password in its host; ssh takes keys, of the user who runs this": parts.password is not None,
        "has a tcp:// host without a port (with TLS usually 2376)": parts.scheme == "tcp" and port is None,
    }
    return next((words for words, so in wrong.items() if so), "")


def without_user(url: str) -> str:
    """An engine's URL as it may be shown: without user and password, and what follows the host (pure)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2] or parts.path}" if parts.scheme else url


class Api(Section):
    """The status API: where it listens, who may ask, and from when on a check is too old to be believed.

    port: 4210 is easy to remember beside Prefect's 4200, and below the range that systems hand out themselves.
    token: what a caller must send as `Authorization: Bearer …`. allow_without_token: listen without one even where
    other machines can reach it. stale_after_hours: left out, it follows from the schedules (tasks/limits.py).
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4210
    token: SecretReference | None = None
    allow_without_token: bool = False
    stale_after_hours: Hours | None = None


Cron = Annotated[str, AfterValidator(checked_cron)]


class Schedules(Section):
    """When the flows run by themselves: cron lines, read in `timezone` (an IANA name); `never` for not at all."""

    backup: Cron = "0 2 * * *"
    verify: Cron = "*/15 * * * *"
    drill: Cron = "0 4 * * 0"
    timezone: Annotated[str, AfterValidator(checked_timezone)] = "UTC"


class Serve(Section):
    """`rollcall serve`: where its own Prefect server listens (port left out: the last one, 4200, or a free one), and
    for how many seconds a stop waits for runs before it ends them; at_once: the most runs at a time."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    grace: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    at_once: Annotated[int, Field(ge=1, le=1000)] = 10


class Ping(Section):
    """A watcher outside that is told when a run begins and ends, and calls when it hears nothing: a URL in the manner
    of healthchecks.io, which lets anybody call, so it is named, never written.

    url: for the flows that have none of their own here.
    """

    url: SecretReference | None = None
    backup: SecretReference | None = None
    verify: SecretReference | None = None
    drill: SecretReference | None = None

    @model_validator(mode="after")
    def names_a_url(self) -> Ping:
        """An empty section looks like a watcher, and is none."""
        if not self.model_fields_set or None in (getattr(self, each) for each in self.model_fields_set):
            raise ValueError("names no URL; it takes url for all flows, or backup, verify and drill")
        return self


def with_paths_from(folder: Path, value: Any) -> Any:
    """`value` with every path in it, however deep, absolute: those of storages, of the state, of secret files."""
    match value:
        case Path():
            return folder / value.expanduser()
        case BaseModel():
            parts = {name: getattr(value, name) for name in type(value).model_fields}
            anchored = {name: with_paths_from(folder, part) for name, part in parts.items()}
            # Only what changed: what the file does not say must go on being known as not said.
            return value.model_copy(update={name: part for name, part in anchored.items() if part is not parts[name]})
        case dict():
            return {key: with_paths_from(folder, each) for key, each in value.items()}
        case list():
            return [with_paths_from(folder, each) for each in value]
    return value


def first_problem(path: Path, document: CommentedMap, error: ValidationError) -> str:
    """One sentence about the first problem; the reader mends it and runs again."""
    problem = min(error.errors(), key=lambda each: line_of(document, each["loc"]))
    keys = keys_in_document(document, problem["loc"])
    if problem["type"] == "missing":
        keys.append(problem["loc"][-1])
    where = f"{path}, line {line_of(document, problem['loc'])}"
    return f"{where}: {_in_words(problem, keys)}."


SENTENCES = {
    "extra_forbidden": "the key {key} is not known; check its spelling, or remove it",
    "missing": "the key {key} is missing",
    "union_tag_not_found": "the key {key}.type is missing; it is local or s3",
    "union_tag_invalid": "{key}.type must be local or s3",
    "model_type": "{key} must be a mapping",
    "model_attributes_type": "{key} must be a mapping",
    "dict_type": "{key} must be a mapping",
    "list_type": "{key} must be a list",
    "too_short": "{key} must not be empty",
    "string_too_short": "{key} must not be empty",
    "string_pattern_mismatch": "{key} may hold letters, digits, '_', '-' and '.' only, and starts "
    "with a letter or digit",
    "block": "{key} must be a block's type and name, for example slack-webhook/oncall",
    "secret": "{key} must name where the secret is, as {{env: NAME}}, {{file: PATH}} or {{block: NAME}}; "
    "it is never written here",
}
SECRETS = {kind.__name__ for kind in (EnvReference, FileReference, BlockReference)}


def _in_words(problem: Any, keys: list[int | str]) -> str:
    kind, location = problem["type"], problem["loc"]
    if SECRETS.intersection(location):
        kind, keys = "secret", [key for key in keys if key not in {"env", "file", "block"}]
    elif kind == "string_pattern_mismatch" and location[-1] == "block":
        kind = "block"
    key = ".".join(str(part) for part in keys)
    if kind in SENTENCES:
        return SENTENCES[kind].format(key=key)
    message = problem["msg"].removeprefix("Value error, ").partition(", unable to")[0]
    return f"{key}: {message}" if kind == "value_error" else f"{key} {message.replace('Input should be', 'must be')}"
