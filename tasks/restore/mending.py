"""The compose file that names the wrong volume: what would change in it, changed, and changed back."""

from __future__ import annotations

from typing import Any

from tasks.restore.facts import Mending


def mending_of(found: dict[str, Any], pinned: str, mounted: str | None) -> Mending | None:
    """What would change."""
    return None


def labels_of(found: dict[str, Any], pinned: str, mounted: str | None) -> dict[str, str | None]:
    """Labels."""
    return {}


def mend(found: dict[str, Any], pinned: str, mounted: str | None, run: str) -> None:
    """Change it."""


def unmend(path: str, run: str) -> None:
    """Change it back."""
