"""Which of a server's settings may hold a secret. What is shown to people, and kept where nothing needs it, has none of
their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NOT_SHOWN = "(not shown: it may be a secret)"

NAMES = re.compile(
    "command|^primary_|conninfo|secret|passw|passphrase|pwd|token|credential|private|jwt|key(?!_?file)"
    "|(?<![a-z])(pass|salt|dsn)(?![a-z])",
    re.IGNORECASE,
)
VALUES = re.compile(r"://[^/:@]*:[^/@]+@|passw(or)?d\s*=|PRIVATE KEY-", re.IGNORECASE)


def may_hold_secret(name: str, value: str) -> bool:
    """Whether a setting's name or value says that it may hold a password, a key or a token. Pure.

    A command does: those that archive and restore WAL are often given keys.
    """
    return bool(NAMES.search(name) or VALUES.search(value))


def shown(name: str, value: str) -> str:
    """The value as people may see it. Pure."""
    return NOT_SHOWN if may_hold_secret(name, value) else value


def without_secrets(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's `cluster` as people may see it. Pure."""
    for_all: Mapping[str, str] = cluster.get("settings_for_all", {})
    return {**cluster, "settings_for_all": {name: shown(name, value) for name, value in for_all.items()}}
