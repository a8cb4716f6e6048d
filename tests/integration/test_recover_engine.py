"""A restore is recovered on the engine that it was interrupted on, and on no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tasks.config import Config, load
from tasks.containers.engine import OUR_LABEL, EngineIdentity
from tasks.errors import NeedsRecover
from tasks.restore.facts import Request
from tasks.restore.hands import Hands
from tasks.restore.journal import Header, Journal, active_path
from tasks.restore.plan import make_plan
from tasks.restore.proposal import begin
from tasks.restore.recover import recover, recover_first
from tests.bed import images
from tests.bed.labels import Bed
from tests.unit.test_restore_plan import BACKUP, world

TARGET = "knowledge_os"
ELSEWHERE = EngineIdentity(id="AAAA:BBBB", name="nas")
CONFIG = """
storages: {local: {type: local, path: ./backups}}
targets:
  knowledge_os: {container: c, volume: v, database: d, user: u, storages: [local]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    return load(str(tmp_path / "targets.yaml"))


@pytest.fixture
def interrupted(bed: Bed, config: Config) -> Iterator[Hands]:
    """A restore of a container that does not run, killed as soon as its journal was there."""
    name = bed.name("restored")
    box = created(bed, name)
    yield begin(config, make_plan(world(container=name, container_id=box.id), BACKUP, Request()), "ann")
    bed.remove_container(name)


@pytest.fixture
def helper(bed: Bed, config: Config) -> Iterator[str]:
    """What a killed run of the target left, which recovering removes."""
    name = bed.name("helper")
    created(bed, name, {OUR_LABEL: config.owner(TARGET)})
    yield name
    bed.remove_container(name)


def created(bed: Bed, name: str, labels: dict[str, str] | None = None) -> Container:
    """A container that never runs, without a volume."""
    tmpfs = {images.RECIPES[17].volume: ""}
    return bed.client.containers.create(
        images.tag(17), name=name, labels=bed.labels | (labels or {}), network_mode="none", tmpfs=tmpfs
    )


def of_engine(config: Config, begun: Hands, engine: EngineIdentity) -> None:
    """Make it a restore that was interrupted on that engine."""
    header: Header = begun.journal.header.model_copy(update={"engine": engine})
    begun.journal.path.unlink()
    Journal.begin(config.state, header).write("starting", "verify")


def there(bed: Bed, name: str) -> bool:
    return bool(bed.client.api.containers(all=True, filters={"name": f"^/{name}$"}))


def test_the_journal_says_which_engine_it_is_of_and_is_recovered_there(bed: Bed, interrupted: Hands) -> None:
    engine = interrupted.journal.header.engine
    assert engine.id == bed.client.info()["ID"] != ""
    assert recover(interrupted.config, TARGET).outcome == "undone"


def test_on_another_engine_nothing_is_touched_and_the_journal_stays(
    bed: Bed, config: Config, interrupted: Hands, helper: str
) -> None:
    of_engine(config, interrupted, ELSEWHERE)
    path = active_path(config.state, TARGET)
    before = path.read_bytes()
    here = bed.client.info()
    for attempt in (recover, recover_first):
        with pytest.raises(NeedsRecover, match=f"interrupted on the Docker engine of nas .*{here['ID']}"):
            attempt(config, TARGET)
    assert path.read_bytes() == before
    assert there(bed, helper)


def test_an_engine_that_lost_its_id_is_known_by_its_name_and_the_container(
    bed: Bed, config: Config, interrupted: Hands, helper: str
) -> None:
    lost = EngineIdentity(id="AAAA:BBBB", name=bed.client.info()["Name"])
    ours = interrupted.journal.header
    gone = ours.plan.model_copy(update={"container_id": "0" * 64})
    interrupted.journal.header = ours.model_copy(update={"plan": gone})
    of_engine(config, interrupted, lost)
    with pytest.raises(NeedsRecover, match="id AAAA:BBBB"):
        recover(config, TARGET)

    interrupted.journal.header = ours
    of_engine(config, interrupted, ELSEWHERE)
    with pytest.raises(NeedsRecover, match="engine of nas"):
        recover(config, TARGET)
    of_engine(config, interrupted, lost)
    assert recover(config, TARGET).outcome == "undone"
    assert not there(bed, helper)
