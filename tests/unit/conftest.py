"""What several of the unit tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.storage.local import LocalStorage


@pytest.fixture
def one(tmp_path: Path) -> LocalStorage:
    """A storage in a folder of the test's own."""
    return LocalStorage("one", tmp_path / "one")


@pytest.fixture
def two(tmp_path: Path) -> LocalStorage:
    """Another one."""
    return LocalStorage("two", tmp_path / "two")
