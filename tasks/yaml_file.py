"""A YAML file: read without ever quoting what it holds, and the lines that its keys stand on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tasks.errors import ConfigError


def read(path: Path) -> CommentedMap:
    """The mapping that the file holds. Raise ConfigError, which quotes no value of it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no configuration at {path}. Name one with --config or ROLLCALL_CONFIG, "
            "or copy deployments/targets.example.yaml there."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}."
        ) from error
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # What it quotes (a repeated key's value, an alias, a tag) may be a secret written where none belongs.
        problem = str(error.problem or "it cannot be read").splitlines()[0].partition(" with value ")[0]
        problem = re.sub(r"'(?!<)[^']{2,}'", "'…'", problem)
        raise ConfigError(f"{path}, line {line}: this is not valid YAML: {problem}.") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: this is not valid YAML: {str(error).splitlines()[0]}.") from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{path}: a value looks like a date or a number and is none; put it in quotes ('…')."
        ) from None
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path}, line 1: the configuration must be a mapping with the keys storages and targets.")
    return document


def keys_in_document(document: Any, location: tuple[int | str, ...]) -> list[int | str]:
    """The part of the location that the document has: without pydantic's own names of union members."""
    keys: list[int | str] = []
    node = document
    for part in location:
        if (isinstance(node, CommentedMap) and part in node) or (
            isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
            keys.append(part)
    return keys


def line_of(document: Any, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest key of `location` whose place is known."""
    line, node = 1, document
    for part in keys_in_document(document, location):
        line = _line(node, part) or line
        node = node[part]
    return line


def _line(node: CommentedMap | CommentedSeq, part: int | str) -> int | None:
    """The line (from 1) of a key or item; None for a key that is merged in (`<<`), which stands elsewhere."""
    try:
        place = node.lc.key(part) if isinstance(node, CommentedMap) else node.lc.item(part)
        return int(place[0]) + 1
    except (KeyError, TypeError):
        return None
