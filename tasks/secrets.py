"""Secrets by reference: the configuration names where one is, and it is looked up at the moment of use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks import orchestration
from tasks.errors import SecretError


class Reference(BaseModel):
    """Base of the three ways to name a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EnvReference(Reference):
    """`{env: NAME}`: the environment variable NAME."""

    env: str


class FileReference(Reference):
    """`{file: PATH}`: the file's content without its last line break."""

    file: Path


class BlockReference(Reference):
    """`{block: NAME}`: the Prefect Secret block NAME."""

    block: str


SecretReference = EnvReference | FileReference | BlockReference


def reveal(reference: SecretReference, environ: Mapping[str, str] = os.environ) -> str:
    """The secret's value. Raise SecretError, which never contains it, if it cannot be found."""
    match reference:
        case EnvReference(env=name):
            if name not in environ:
                raise SecretError(
                    f"The environment variable {name} is not set; the configuration takes a secret from it."
                )
            return environ[name]
        case FileReference(file=path):
            try:
                return path.read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise SecretError(f"The secret file {path} cannot be read: {reason}.") from error
        case BlockReference(block=name):
            return orchestration.secret_block(name)
