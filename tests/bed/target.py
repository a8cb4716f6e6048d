"""A configuration for a server of the bed, and the flows run on it in this process."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import backup as backup_flow
from flows import verify as verify_flow
from tasks.config import Config, load
from tasks.models import CheckResult, Manifest
from tests.bed.postgres import PostgresServer

NAME = f"knowledge-{secrets.token_hex(3)}"
"""Of this run alone: a backup removes helper containers that carry its target's name."""


@dataclass(frozen=True)
class Target:
    """One target in a configuration file of its own, with one local storage beside it."""

    folder: Path

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "targets.yaml"

    @property
    def store(self) -> Path:
        """The folder of the local storage."""
        return self.folder / "backups"

    @property
    def history(self) -> Path:
        """The history's file."""
        return self.folder / "state/history.db"

    @property
    def config(self) -> Config:
        """The configuration as the program reads it."""
        return load(str(self.file))

    def backup(self) -> Manifest:
        """Back up, without Prefect even where another test has loaded it."""
        run = getattr(backup_flow.backup, "fn", backup_flow.backup)
        manifest: Manifest = run(NAME, str(self.file))
        return manifest

    def verify(self) -> CheckResult:
        """Verify, without Prefect even where another test has loaded it."""
        run = getattr(verify_flow.verify, "fn", verify_flow.verify)
        result: CheckResult = run(NAME, str(self.file))
        return result

    def path(self, key: str) -> Path:
        """Where the local storage keeps the object `key`."""
        return self.store / key


def target_for(server: PostgresServer, folder: Path, **rules: Any) -> Target:
    """Write a configuration for `server` into `folder`, an existing one replaced; `rules` win over its defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    target = {
        "container": server.container,
        "volume": server.volume,
        "database": server.database,
        "user": server.user,
        "password": {"file": str(password)},
        "storages": ["local"],
    }
    document = {
        "storages": {"local": {"type": "local", "path": "./backups"}},
        "targets": {NAME: target | rules},
    }
    # JSON is YAML, and quotes whatever a test thinks of.
    (folder / "targets.yaml").write_text(json.dumps(document, indent=1))
    (folder / "backups").mkdir(exist_ok=True)
    return Target(folder)
