"""docs/restore-tonight.md, followed to the letter: every command of it, in order, as somebody at 3 a.m. types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bed.progress import ROOT
from tests.faults.restore_scene import Scene, Scenes, Situation

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "restore-tonight.md"
STANDS_FOR = "knowledge_os"


def commands() -> list[str]:
    """What the page's numbered steps say to type."""
    steps = PAGE.read_text().partition("\n## ")[0]
    return re.findall(r"^ *\$ (.+)$", steps, flags=re.MULTILINE)


def typed(made: Scene, command: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a shell that finds `rollcall` and the configuration; `answer` is typed when it asks."""
    made.victim.config.write_text(json.dumps(made.victim.document))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **made.victim.environment, "PATH": path, "ROLLCALL_CONFIG": str(made.victim.config)}
    spelt = re.sub(rf"\b{STANDS_FOR}\b", made.victim.name, command)
    return subprocess.run(
        spelt, check=False, shell=True, env=environment, input=answer, capture_output=True, text=True, timeout=300
    )  # fmt: skip


@pytest.mark.parametrize(("situation", "version"), [("reattach", 17), ("restore", 15)])
def test_the_page_brings_the_right_data_back(scenes: Scenes, situation: Situation, version: int) -> None:
    with scenes(situation, version) as made:
        name = made.victim.name
        assert made.state() == "old"
        first, census, backups, plan, restore, last = commands()
        found = typed(made, first)
        assert found.returncode == 2, found
        assert "CRITICAL" in found.stdout.upper()
        looked = typed(made, census)
        assert looked.returncode == 0, looked
        assert made.pinned in looked.stdout
        listed = typed(made, backups)
        assert listed.returncode == 0, listed
        planned = typed(made, plan)
        assert planned.returncode == 0, planned
        assert made.state() == "old", "a dry run touches nothing"
        refused = typed(made, restore, "the wrong name\n")
        assert refused.returncode == 3, refused
        assert made.state() == "old"
        done = typed(made, restore, f"{name}\n")
        assert done.returncode == 0, done
        assert made.is_consistent() == "new"
        verified = typed(made, last)
        assert verified.returncode == 0, verified
        made.other_copy("new")
