"""Undoing a restore on the engine: what was found in a restart loop, and what a late call of a killed run has done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.config import load
from tasks.containers import recreate
from tasks.containers.engine import inspect_container
from tasks.restore.end_state import prove_undone
from tasks.restore.facts import Request
from tasks.restore.hands import Hands
from tasks.restore.journal import Header, Journal
from tasks.restore.plan import make_plan
from tasks.restore.proposal import as_found
from tasks.restore.steps import STEPS
from tests.bed import images
from tests.bed.journals import HERE
from tests.bed.labels import Bed
from tests.bed.progress import wait_until
from tests.unit.test_restore_plan import PINNED, astray

LOOPS = "echo no room >&2; exit 1"
ALWAYS = {"Name": "always"}


@pytest.fixture
def hands(bed: Bed, tmp_path: Path) -> Iterator[Hands]:
    """A restore of a container that ends again and again, and is restarted; it has made a replacement."""
    (tmp_path / "targets.yaml").write_text(
        "storages: {local: {type: local, path: ./backups}}\n"
        "targets: {knowledge_os: {container: c, volume: v, database: d, storages: [local]}}\n"
    )
    old, new = bed.name("undo-old"), bed.name("undo-new")
    host = bed.client.api.create_host_config(
        network_mode="none", tmpfs={"/var/lib/postgresql/data": ""}, restart_policy=ALWAYS
    )
    ids = [
        bed.client.api.create_container(
            images.tag(17), ["-c", LOOPS], entrypoint=["sh"], name=name, labels=bed.labels, host_config=host
        )["Id"]
        for name in (old, new)
    ]
    bed.client.api.start(old)
    wait_until(lambda: inspect_container(bed.client, old)["RestartCount"] > 0, 60, "the first restart")
    plan = make_plan(astray(), PINNED, Request()).model_copy(
        update={"container": old, "container_id": ids[0], "safety_backup": False, "dependants": []}
    )
    now = datetime.now(UTC)
    before = as_found(inspect_container(bed.client, old), now)
    header = Header(
        run="r", plan=plan, approved_by="ann", owner="o", staging="s", begun_at=now, before=before, engine=HERE
    )
    journal = Journal.begin(tmp_path, header)
    journal.write("done", "create replacement", {"replacement": ids[1]})
    yield Hands(load(str(tmp_path / "targets.yaml")), journal)
    for each in ids:
        bed.remove_container(each)


def test_what_was_restarted_again_and_again_is_so_again(bed: Bed, hands: Hands) -> None:
    container = hands.plan.container_id
    for step in ("hold restart policy", "stop container"):
        hands.journal.write("starting", step)
        STEPS[step].do(hands)
        hands.journal.write("done", step)
    for step in ("stop container", "hold restart policy"):
        STEPS[step].undo(hands)
    assert prove_undone(hands) == []
    found = inspect_container(bed.client, container)
    assert recreate.policy_of(found)["Name"] == "always"
    assert hands.journal.header.before.looping
    assert found["State"]["Running"]
    wait_until(lambda: inspect_container(bed.client, container)["RestartCount"] > 0, 60, "a restart by the engine")


def test_the_old_container_gets_its_name_back_from_a_replacement_that_was_renamed_late(bed: Bed, hands: Hands) -> None:
    old, name = hands.plan.container_id, hands.plan.container
    recreate.stop(bed.client, old)
    bed.client.api.rename(old, hands.names[1])
    bed.client.api.rename(hands.journal.facts["replacement"], name)
    STEPS["put old aside"].undo(hands)
    assert inspect_container(bed.client, name)["Id"] == old
    assert inspect_container(bed.client, hands.names[0])["Id"] == hands.journal.facts["replacement"]
