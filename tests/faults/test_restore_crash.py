"""A restore killed with SIGKILL before or after any step, or while it is undone: `recover` ends it, whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.bed.private_engine import PrivateEngine, private_engine
from tests.faults.restore_scene import Scene, Scenes, Situation, scene
from tests.faults.victim import Runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

SIGKILLED = -9


def steps_of(made: Scene) -> list[str]:
    """The names of the steps of the plan, as `--dry-run --json` tells them."""
    outcome = made.victim.start(
        "restore-volume", made.victim.name, "--dry-run", "--json",
        *(() if made.situation == "reattach" else ("--backup", "latest")),
    ).ended()  # fmt: skip
    return [each["name"] for each in outcome.went_well().document["plan"]["steps"]]


def killed_and_recovered(made: Scene, at: str, action: str = "kill") -> str:
    """Kill a restore there, recover, and return the state it is in; all that must hold is checked."""
    outcome = made.restore(at=at, action=action)
    assert outcome.code == SIGKILLED, (at, outcome.code, outcome.stderr)
    verified = made.victim.start("verify", made.victim.name, "--json").ended()
    assert "restore.interrupted" in verified.codes, at
    made.recover().went_well()
    state = made.is_consistent()
    made.other_copy(state)
    again = made.recover().went_well().document
    assert again["outcome"] == "nothing to do"
    return state


@pytest.mark.parametrize(("situation", "version"), [("restore", 17), ("reattach", 18), ("both", 15)])
def test_a_restore_killed_at_any_step_ends_whole(scenes: Scenes, situation: Situation, version: int) -> None:
    matrix: dict[str, str] = {}
    with scenes(situation, version) as made:
        names = steps_of(made)
        committed = names.index("commit")
        for name in names[: committed + 1]:
            for at in (f"before {name}", f"after {name}") if name != "commit" else (f"before {name}",):
                matrix[at] = killed_and_recovered(made, at)
                made.forget_kept()
    for at in ["after commit", *(f"{when} {name}" for name in names[committed + 1 :] for when in ("before", "after"))]:
        with scenes(situation, version) as fresh:
            matrix[at] = killed_and_recovered(fresh, at)
    print(f"\n{situation}, PostgreSQL {version}: " + "; ".join(f"{at}: {state}" for at, state in matrix.items()))
    assert {state for at, state in matrix.items() if names.index(at.partition(" ")[2]) < committed} == {"old"}
    assert matrix["before commit"] == "old"
    assert matrix["after commit"] == matrix["before start dependants"] == "new"
    assert matrix[f"before {names[-1]}"] == matrix[f"after {names[-1]}"] == "new"


@pytest.mark.parametrize(("situation", "version"), [("restore", 18), ("reattach", 15), ("both", 17)])
def test_an_undo_killed_at_any_step_is_undone_to_its_end(scenes: Scenes, situation: Situation, version: int) -> None:
    with scenes(situation, version) as made:
        names = steps_of(made)
        undone = [name for name in names[: names.index("verify")] if name != "rebuild"]
        for name in undone:
            for when in ("before", "after"):
                at, action = f"after verify|{when} undoing {name}", "fail|kill"
                assert killed_and_recovered(made, at, action) == "old", at
                made.forget_kept()


@pytest.mark.parametrize(("situation", "version"), [("restore", 15), ("reattach", 17), ("both", 18)])
def test_a_step_that_fails_is_undone_with_all_before_it(scenes: Scenes, situation: Situation, version: int) -> None:
    """Exit 4, one sentence, the content as it was."""
    with scenes(situation, version) as made:
        names = steps_of(made)
        for name in names[: names.index("commit")]:
            for when in ("before", "after"):
                outcome = made.restore(at=f"{when} {name}", action="fail")
                assert outcome.code == 4, (when, name, outcome.stderr)
                assert "The test let this step fail." in outcome.sentence
                assert "all is as it was before" in outcome.sentence
                assert made.is_consistent() == "old", (when, name)
                made.forget_kept()


@pytest.fixture
def own_engine() -> Iterator[PrivateEngine]:
    with private_engine(images.tag(17)) as engine:
        yield engine


def test_an_engine_that_restarts_in_the_middle_costs_nothing(
    own_engine: PrivateEngine, tmp_path: Path, runs: Runs
) -> None:
    """A restarted engine starts what has the policy `always`, stopped by hand or not: so the policy is held."""
    client = own_engine.client()
    bed = Bed(client)
    servers = PostgresServers(bed)
    try:
        with scene("restore", 17, tmp_path, bed, servers, runs, environment={"DOCKER_HOST": own_engine.host}) as made:
            for point in ("after stop container", "after exchange", "before verify"):
                assert made.restore(at=point).code == SIGKILLED
                own_engine.restart()
                made.recover().went_well()
                assert made.is_consistent() == "old", point
                made.other_copy("old")
                made.forget_kept()
    finally:
        servers.remove_all()
        client.close()
