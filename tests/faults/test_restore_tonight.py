"""docs/restore-tonight.md, followed to the letter: every command of it, in order, as somebody at 3 a.m. types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bed.pages import Terminal, commands
from tests.faults.restore_scene import Scene, Scenes, Situation

pytestmark = pytest.mark.slow


def terminal(made: Scene, folder: Path) -> Terminal:
    """A shell in which the configuration is set, and `knowledge_os` of the page stands for the scene's target."""
    made.victim.config.write_text(json.dumps(made.victim.document))
    environment = {**made.victim.environment, "ROLLCALL_CONFIG": str(made.victim.config)}
    return Terminal(folder, {"knowledge_os": made.victim.name}, environment)


@pytest.mark.parametrize(("situation", "version"), [("reattach", 17), ("restore", 15)])
def test_the_page_brings_the_right_data_back(
    scenes: Scenes, situation: Situation, version: int, tmp_path: Path
) -> None:
    with scenes(situation, version) as made:
        name, shell = made.victim.name, terminal(made, tmp_path)
        assert made.state() == "old"
        first, census, backups, plan, restore, last = commands("restore-tonight.md")
        found = shell.type(first)
        assert found.returncode == 2, found
        assert "CRITICAL" in found.stdout.upper()
        looked = shell.type(census)
        assert looked.returncode == 0, looked
        assert made.pinned in looked.stdout
        listed = shell.type(backups)
        assert listed.returncode == 0, listed
        planned = shell.type(plan)
        assert planned.returncode == 0, planned
        assert made.state() == "old", "a dry run touches nothing"
        refused = shell.type(restore, "the wrong name\n")
        assert refused.returncode == 3, refused
        assert made.state() == "old"
        done = shell.type(restore, f"{name}\n")
        assert done.returncode == 0, done
        assert made.is_consistent() == "new"
        verified = shell.type(last)
        assert verified.returncode == 0, verified
        made.other_copy("new")
