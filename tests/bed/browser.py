"""A browser for the tests of the UI: Debian's Chromium, driven by Playwright, which brings none of its own here."""

from pathlib import Path

from tests.bed import engine

PROGRAM = Path("/usr/bin/chromium")


def require() -> None:
    """Install it if it is missing. Raise BedError if that fails."""
    engine.require_tool("chromium")
