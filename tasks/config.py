"""The configuration file: what it may say, checked strictly, with errors that name file, line and key."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.errors import ConfigError
from tasks.secrets import SecretReference
from tasks.sections import (
    Api,
    Docker,
    Folder,
    Hours,
    OwnDocker,
    Ping,
    Schedules,
    Section,
    Serve,
    SqlUrl,
    Text,
    first_problem,
    is_folder,
    with_paths_from,
)
from tasks.yaml_file import read

DEFAULT_PATH = Path("deployments/targets.yaml")

# A name becomes a folder, a key prefix and a lock file: nothing in it may need quoting anywhere.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(gt=0, le=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]


def _each_once(names: list[str]) -> list[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"names {twice!r} twice")
    return names


Names = Annotated[list[Text], AfterValidator(_each_once)]


class LocalStorage(Section):
    """A folder on this machine, or mounted on it."""

    type: Literal["local"]
    path: Path


class S3Storage(Section):
    """A bucket of any S3-compatible server. Without keys boto3's own search for credentials applies.

    part_size is in MiB: at most 10,000 parts make an object, so 16 MiB allow a compressed dump of 160 GB.
    timeout is in seconds, of one request.
    """

    type: Literal["s3"]
    bucket: Text
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: SecretReference | None = None
    secret_access_key: SecretReference | None = None
    part_size: Annotated[int, Field(ge=5, le=512)] = 8
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    path_style: bool = True

    @model_validator(mode="after")
    def keys_come_in_pairs(self) -> S3Storage:
        """One key without the other is a slip, not a choice."""
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: give both or neither")
        return self


StorageSection = Annotated[LocalStorage | S3Storage, Field(discriminator="type")]


class NotifyUrl(Section):
    """An Apprise URL. It usually holds a token, so it is named, never written."""

    url: SecretReference


class NotifyBlock(Section):
    """A Prefect notification block as `type-slug/name`, for example `slack-webhook/oncall`."""

    block: Annotated[str, Field(pattern=r"^[a-z0-9-]+/.+$")]


def _notify_kind(given: Any) -> str:
    """Which of the two was meant, so that an error speaks of that one alone."""
    block = isinstance(given, NotifyBlock) or (isinstance(given, Mapping) and "block" in given)
    return "NotifyBlock" if block else "NotifyUrl"


NotifySection = Annotated[
    Annotated[NotifyUrl, Tag("NotifyUrl")] | Annotated[NotifyBlock, Tag("NotifyBlock")], Discriminator(_notify_kind)
]


class Thresholds(Section):
    """When fewer rows alarm. Shares are of the baseline (0.05 is 5 %); a table below `small` rows is judged by the
    `small_*` rule instead, where both the share and the number of rows must be lost."""

    warning_drop: Share = 0.05
    critical_drop: Share = 0.20
    small: Annotated[int, Field(ge=0)] = 100
    small_drop: Share = 0.50
    small_rows: Annotated[int, Field(ge=1)] = 5
    window_days: Days = 30


class TableRule(Section):
    """A floor for one table, and thresholds of its own where it needs them."""

    min: Annotated[int, Field(ge=0)] | None = None
    warning_drop: Share | None = None
    critical_drop: Share | None = None
    small: Annotated[int, Field(ge=0)] | None = None
    small_drop: Share | None = None
    small_rows: Annotated[int, Field(ge=1)] | None = None


class Retention(Section):
    """How many backups stay: the newest `last`, and the newest of each of so many days, weeks and months.

    quarantined_days: how long a backup stays that is quarantined or was taken before a restore; neither is counted by
    the others.
    """

    last: Annotated[int, Field(ge=1)] = 7
    daily: Annotated[int, Field(ge=0)] = 7
    weekly: Annotated[int, Field(ge=0)] = 4
    monthly: Annotated[int, Field(ge=0)] = 12
    quarantined_days: Days = 90


class Target(Section):
    """A protected database: container, pinned volume, database.

    volume, or in its place folder: a folder of the engine's host that the container has bound (`./postgres:/…`).
    host and port replace the search for a way in (a tunnel, another host's published port).
    docker: the engine that runs the container; what the file says at its top holds for a target that says nothing.
    databases narrows the backup to these (and `database`); default: every database of the cluster.
    roles: whether the globals, with password verifiers, are backed up.
    deadline, check_deadline and lock_wait are in seconds: of one database's dump; of counting it in a check; of
    waiting for a locked table.
    max_age_hours: after how long without a good backup `verify` warns. prove_every_days: the same without a drill's
    proof; 0 never. max_silence_minutes: after how long without a verify the Prefect automation fires. Left out, these
    three follow from the schedules (tasks/limits.py).
    keep_days: for how long a restore's kept volume stays at least. start_wait: seconds until a started container must
    answer and be healthy. schedules: what is given here wins over the file's own `schedules`. ping: a watcher outside.
    """

    container: Text
    volume: Text | None = None
    folder: Folder | None = None
    database: Text
    user: Text = "postgres"
    password: SecretReference | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    docker: OwnDocker = None
    tables: dict[str, TableRule] = Field(default_factory=dict)
    thresholds: Thresholds = Thresholds()
    databases: Names | None = None
    roles: bool = True
    dependents: Names = Field(default_factory=list)
    storages: Annotated[Names, Field(min_length=1)]
    retention: Retention = Retention()
    deadline: Annotated[float, Field(gt=0, le=30 * 86_400)] = 6 * 3600.0
    check_deadline: Annotated[float, Field(gt=0, le=30 * 86_400)] = 3600.0
    lock_wait: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    compression_level: Annotated[int, Field(ge=1, le=19)] = 1
    max_age_hours: Hours | None = None
    prove_every_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    keep_days: Days = 30
    start_wait: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    schedules: Schedules = Schedules()
    ping: Ping | None = None
    max_silence_minutes: Annotated[float, Field(gt=0, le=525_600)] | None = None

    @model_validator(mode="after")
    def names_one_place(self) -> Target:
        """What is pinned is what the data is judged by: there is one, and a path is no volume's name."""
        if (self.volume is None) == (self.folder is None):
            raise ValueError("takes either volume (a Docker volume's name) or folder (a folder of the engine's host)")
        if self.volume is not None and is_folder(self.volume):
            raise ValueError(f"has a path as its volume; write it as folder: {self.volume}")
        return self

    @property
    def pinned(self) -> str:
        """Where the data must be: the volume's name, or the folder's path."""
        return self.volume or self.folder or ""

    @property
    def pinned_place(self) -> str:
        """The same in words."""
        return f"pinned folder {self.folder}" if self.folder else f"pinned volume {self.volume}"

    @field_validator("tables", mode="before")
    @classmethod
    def an_empty_rule_is_a_rule(cls, tables: Any) -> Any:
        """`experts:` with nothing behind it means: this table, default thresholds."""
        if isinstance(tables, Mapping):
            return {name: {} if rule is None else rule for name, rule in tables.items()}
        return tables

    def ping_of(self, flow: str) -> SecretReference | None:
        """Where the URL is that hears of this flow's runs; None where nobody outside waits for them."""
        if self.ping is None or flow not in {"backup", "verify", "drill"}:
            return None
        own: SecretReference | None = getattr(self.ping, flow)
        return own or self.ping.url


class Config(Section):
    """The whole file. Relative paths in it are relative to the file's own folder, wherever Rollcall is started."""

    history: SqlUrl = "sqlite:///state/history.db"
    state: Path = Path("state")
    docker: Docker | None = None
    storages: dict[Name, StorageSection]
    notify: list[NotifySection] = Field(default_factory=list)
    remind_every_hours: Hours = 1.0
    schedules: Schedules = Schedules()
    serve: Serve = Serve()
    api: Api = Api()
    targets: Annotated[dict[Name, Target], Field(min_length=1)]

    @field_validator("targets")
    @classmethod
    def a_target_is_on_some_engine(cls, targets: dict[str, Target], info: ValidationInfo) -> dict[str, Target]:
        """What is asked of a target alone must reach its engine, and never another one."""
        docker = info.data.get("docker")
        return {
            name: target if target.docker or docker is None else target.model_copy(update={"docker": docker})
            for name, target in targets.items()
        }

    @model_validator(mode="after")
    def targets_name_known_storages(self) -> Config:
        """A backup that goes nowhere must be noticed before tonight."""
        unknown: list[InitErrorDetails] = []
        for name, target in self.targets.items():
            for position, storage in enumerate(target.storages):
                if storage not in self.storages:
                    known = ", ".join(self.storages)
                    text = f"names {storage!r}, which is not under storages ({known})"
                    wrong = PydanticCustomError("unknown_storage", "{text}", {"text": text})
                    place = ("targets", name, "storages", position)
                    unknown.append(InitErrorDetails(type=wrong, loc=place, input=storage))
        if unknown:
            raise ValidationError.from_exception_data("Config", unknown)
        return self

    def target(self, name: str) -> Target:
        """The target called `name`. Raise ConfigError that lists the known ones."""
        if name not in self.targets:
            raise ConfigError(f"There is no target {name!r} in the configuration; it has: {', '.join(self.targets)}.")
        return self.targets[name]

    def schedules_of(self, target: str) -> Schedules:
        """When the target's flows run: the file's schedules, and over them what the target says itself."""
        own = self.target(target).schedules
        return self.schedules.model_copy(update=own.model_dump(exclude_unset=True))

    def engines(self) -> list[Docker | None]:
        """Every engine that targets are on, each once; None: that of the environment."""
        return list(dict.fromkeys(target.docker for target in self.targets.values()))

    def on(self, docker: Docker | None, *alike: Docker | None) -> Config:
        """The configuration with the targets of one engine alone, and with that engine at its top.

        alike: other ways to the same engine. Raise ConfigError where no target is on it.
        """
        here = {name: target for name, target in self.targets.items() if target.docker in (docker, *alike)}
        if not here:
            place = docker.named if docker else "of the environment"
            raise ConfigError(f"No target is on the Docker engine {place}, which this works on; see the key docker.")
        return self.model_copy(update={"docker": docker, "targets": here})

    def owner(self, target: str) -> str:
        """What helper containers of this target are labelled with: of this state folder's target, for the lock that
        lets a run sweep another's helpers reaches no further."""
        return f"{target}-{hashlib.sha256(str(self.state).encode()).hexdigest()[:12]}"


def config_path(given: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Which file to read: the one given, else $ROLLCALL_CONFIG, else deployments/targets.yaml."""
    return Path(given or environ.get("ROLLCALL_CONFIG") or DEFAULT_PATH)


def load(given: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The checked configuration. Raise ConfigError: file, line, key, what was wrong, what to do."""
    path = config_path(given, environ).absolute()
    document = read(path)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        # Not from the error: what it keeps of the input may be a secret, and Prefect stores tracebacks.
        raise ConfigError(first_problem(path, document, error)) from None
    try:
        return _anchored(config, path.parent)
    except RuntimeError as error:
        raise ConfigError(f"{path}: a path begins with ~ and names no user that this machine knows.") from error


def _anchored(config: Config, folder: Path) -> Config:
    """The configuration with every relative path made absolute from `folder`."""
    history = config.history
    if history.startswith("sqlite:///") and not history.startswith("sqlite:////"):
        history = f"sqlite:///{folder / history.removeprefix('sqlite:///')}"
    return cast("Config", with_paths_from(folder, config)).model_copy(update={"history": history})
