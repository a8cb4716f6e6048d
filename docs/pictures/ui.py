"""Take the pictures of Prefect's UI anew: `python -m docs.pictures.ui`, a few minutes.

They are taken by the test that goes a newcomer's way through it, so that no picture shows what does not work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the test; return its exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "tests/e2e/test_ui.py"]
    environment = os.environ | {"ROLLCALL_PICTURES": str(HERE)}
    return subprocess.run(command, cwd=HERE.parents[1], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
