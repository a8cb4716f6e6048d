"""A restore that fails at a step is undone: exit 4, one sentence, the content as it was, dependants running."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.models import Manifest
from tasks.storage.catalogue import parsed, serialised
from tests.bed import images
from tests.bed.labels import Bed
from tests.faults.restore_scene import Scene, Scenes, content
from tests.faults.victim import Outcome

pytestmark = pytest.mark.slow

REFUSED, ROLLED_BACK = 3, 4


def undone(made: Scene, outcome: Outcome, *words: str) -> None:
    assert outcome.code == ROLLED_BACK, (outcome.code, outcome.stderr)
    missing = [each for each in (*words, "all is as it was before") if each not in outcome.sentence]
    assert not missing, (missing, outcome.sentence)
    assert made.is_consistent() == "old"


def rewrite_manifest(made: Scene, change: Callable[[Manifest], Manifest]) -> None:
    """Change the stored manifest as nobody but its writer could: its checksum is right again."""
    (path,) = (made.victim.folder / "near").rglob("manifest.json")
    path.chmod(0o600)
    path.write_bytes(serialised(change(parsed(path.read_bytes()))))


def test_a_tally_that_differs_by_one_row(scenes: Scenes) -> None:
    def one_more(manifest: Manifest) -> Manifest:
        counts = {**manifest.tally.counts, "public.experts": 86}
        return manifest.model_copy(update={"tally": manifest.tally.model_copy(update={"counts": counts})})

    with scenes("restore", 17) as made:
        rewrite_manifest(made, one_more)
        undone(made, made.restore(), "rows in public.experts: 85 instead of 86")
        assert made.staging() == [], "an unproven staging volume is removed"


def test_a_scratch_server_that_does_not_start(scenes: Scenes) -> None:
    def nonsense(manifest: Manifest) -> Manifest:
        return manifest.model_copy(update={"cluster": {**manifest.cluster, "encoding": "KLINGON"}})

    with scenes("restore", 15) as made:
        rewrite_manifest(made, nonsense)
        undone(made, made.restore(), "initdb", "KLINGON")
        assert made.staging() == []


def test_no_room_for_the_unpacked_archive(scenes: Scenes, small_disk: Callable[[int], Path]) -> None:
    with scenes("restore", 17) as made:
        made.victim.document["history"] = f"sqlite:///{made.victim.folder}/state/history.db"
        state = small_disk(1) / "state"
        made.victim.document["state"] = str(state)
        fill(state)
        undone(made, made.restore(), "No space left on device")


def fill(state: Path) -> None:
    """Leave some hundred kB: the journal and the locks find room, an archive does not."""
    state.mkdir()
    (state / "ballast").write_bytes(b"-" * 900_000)


def test_a_healthcheck_that_never_turns_green(scenes: Scenes) -> None:
    """What the check looks for is in the old data alone."""
    with scenes("restore", 17, healthcheck="test -e $PGDATA/as-it-was") as made:
        made.container().exec_run(["touch", "/var/lib/postgresql/data/as-it-was"])
        made.victim.target["start_wait"] = 6
        undone(made, made.restore(), "is still running and", "6 s after its start")


def test_a_dependant_that_is_gone_or_sick_is_told_and_undoes_nothing(scenes: Scenes) -> None:
    """Clients write to the restored data by then: their rows are worth more than a worker's health."""
    with scenes("restore", 17) as made:
        gone, sick = made.dependants
        running = made.victim.start(
            "restore-volume", made.victim.name, "--yes", "--json", "--backup", "latest",
            at="after stop dependants", action="pause",
        ).at_the_point()  # fmt: skip
        made.victim.engine.containers.get(gone).remove(force=True, v=True)
        replace_by_one_that_fails(made, sick)
        made.dependants.clear()  # None of them is to run afterwards.
        report = running.go_on().went_well().document
        assert report["outcome"] == "done"
        first, second = report["warnings"]
        assert f"The dependant {gone} does not exist any more" in first
        assert f"{sick} ended with exit code 3" in second
        assert f"docker logs {sick}" in second
        assert made.is_consistent() == "new"
        made.other_copy("new")
        made.dependants.append(sick)


def replace_by_one_that_fails(made: Scene, name: str) -> None:
    """A container of the same name that ends at once."""
    engine = made.victim.engine
    old = engine.containers.get(name)
    image, labels = old.image, old.labels
    assert image is not None
    old.remove(force=True, v=True)
    engine.containers.create(image, ["-c", "exit 3"], entrypoint=["sh"], name=name, labels=labels, network_mode="none")


def test_rows_written_before_a_restore_is_undone_are_kept_in_a_volume_that_is_named(scenes: Scenes) -> None:
    with scenes("restore", 17) as made:
        running = made.victim.start(
            "restore-volume", made.victim.name, "--yes", "--json", "--backup", "latest",
            at="before verify|after verify", action="pause|fail",
        ).at_the_point()  # fmt: skip
        made.servers.ready(made.server).execute("INSERT INTO experts (name) VALUES ('written meanwhile')")
        written = content(made.server)
        outcome = running.go_on()
        (kept,) = made.staging()
        undone(made, outcome, f"is in the volume {kept}, which is kept")
        made.holds(kept, written)


def test_a_second_target_of_the_same_volume_waits_for_the_first_ones_recovery(scenes: Scenes) -> None:
    """Two targets, with floors of their own, in one cluster: what is half-way for one is so for both."""
    with scenes("restore", 17) as made:
        victim, second = made.victim, f"{made.victim.name}-too"
        victim.document["targets"][second] = {**victim.target, "dependents": []}
        assert made.restore(at="after start container").code == -9
        told = victim.start("verify", second, "--json").ended()
        assert "restore.interrupted" in told.codes
        refused = victim.start("restore-volume", second, "--yes", "--json", "--from-volume", made.pinned).ended()
        assert refused.code == REFUSED, refused.stderr
        assert refused.sentence.endswith(f"rollcall recover {victim.name}")
        assert victim.start("backup", second, "--json").ended().failed("rollcall recover").sentence
        made.recover().went_well()
        assert made.is_consistent() == "old"
        again = victim.start("verify", second, "--json").ended()
        assert "restore.interrupted" not in again.codes


def test_a_port_that_somebody_takes_meanwhile_is_told_and_recover_waits_for_it(scenes: Scenes) -> None:
    """Neither the replacement nor the old container can have it: only `recover` can go on, once it is free."""
    with scenes("reattach", 17, publish=True) as made:
        port = int(made.container().attrs["HostConfig"]["PortBindings"]["5432/tcp"][0]["HostPort"])
        running = made.victim.start(
            "restore-volume", made.victim.name, "--yes", "--json", at="after stop container", action="pause"
        ).at_the_point()
        with socket.create_server(("127.0.0.1", port)):
            outcome = running.go_on()
            assert outcome.code == 1, outcome.stderr
            assert "rollcall recover" in outcome.sentence
            assert made.recover().code == 1
        made.recover().went_well()
        assert made.is_consistent() == "old"


def test_a_dry_run_and_nothing_to_do_touch_nothing(scenes: Scenes) -> None:
    with scenes("restore", 17) as made:
        before: dict[str, Any] = made.container().attrs["State"]
        planned = made.restore("--dry-run").went_well().document
        assert planned["outcome"] == "planned"
        assert planned["plan"]["counts_now"]["public.experts"] == 1
        assert planned["plan"]["counts_after"]["public.experts"] == 85
        assert made.container().attrs["State"] == before
        assert made.staging() == []
        assert len(made.victim.is_whole()) == 1


@pytest.fixture
def own_image(bed: Bed) -> Iterator[str]:
    """An image like that of PostgreSQL 17, which a test may remove."""
    name = f"{bed.name('own-image')}:17"
    recipe = f"FROM {images.tag(17)}\nLABEL rollcall.bed.of={name}\n"
    bed.client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, labels=bed.labels, rm=True)
    yield name
    if bed.client.images.list(name=name):
        bed.client.images.remove(name, force=True)


def test_an_image_that_is_gone_before_or_meanwhile(scenes: Scenes, own_image: str) -> None:
    """Only of a container that does not run can it be removed at all."""
    with scenes("restore", 17, image=own_image) as made:
        made.container().stop()
        before = made.container().id
        running = made.victim.start(
            "restore-volume", made.victim.name, "--yes", "--json", "--backup", "latest", "--without-safety-backup",
            at="before rebuild", action="pause",
        ).at_the_point()  # fmt: skip
        made.victim.engine.images.remove(own_image, force=True)
        outcome = running.go_on()
        assert outcome.code == ROLLED_BACK, outcome.stderr
        assert "image" in outcome.sentence
        again = made.restore("--without-safety-backup")
        assert again.code == REFUSED, again.stderr
        assert f"({own_image}) is not on this engine any more" in again.sentence
        assert (made.container().id, made.container().status) == (before, "exited")
        assert made.staging() == []
        made.holds(made.pinned, made.old)
