"""However many ask the status API at once, the history is read once; and nobody is told what is no longer so."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from deployments.status_api import TOO_OLD, Reader, Snapshot
from tasks.config import Config, load
from tasks.errors import HistoryError

DEADLINE = 60


class Counted(Reader):
    """A reader whose reads are counted, and can be made to wait."""

    def __init__(self, settings: Config, fresh: float) -> None:
        super().__init__(settings, fresh=fresh)
        self.reads = 0
        self.go = threading.Event()
        self.go.set()

    def _take(self) -> Snapshot | HistoryError:
        self.go.wait(DEADLINE)
        self.reads += 1
        return super()._take()


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    target = {"container": "c", "volume": "v", "database": "d", "storages": ["a"]}
    document = {"storages": {"a": {"type": "local", "path": "a"}}, "targets": {"t": target}}
    (tmp_path / "targets.yaml").write_text(json.dumps(document))
    return load(str(tmp_path / "targets.yaml"))


def test_all_who_ask_at_once_get_one_answer(settings: Config) -> None:
    async def ask() -> int:
        reader = Counted(settings, fresh=DEADLINE)
        answers = await asyncio.gather(*(reader.read() for _ in range(50)))
        assert len({id(each) for each in answers}) == 1
        return reader.reads

    assert asyncio.run(ask()) == 1


def test_who_asks_while_it_is_read_anew_does_not_wait(settings: Config) -> None:
    async def ask() -> None:
        reader = Counted(settings, fresh=DEADLINE / TOO_OLD)
        first = await reader.read()
        reader._read_at -= DEADLINE / TOO_OLD
        reader.go.clear()
        assert await reader.read() is first
        reader.go.set()
        while reader.reads < 2 or await reader.read() is first:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), DEADLINE))


def test_an_answer_that_is_too_old_is_not_given(settings: Config) -> None:
    async def ask() -> None:
        reader = Counted(settings, fresh=DEADLINE)
        first = await reader.read()
        reader._read_at -= DEADLINE * TOO_OLD
        assert await reader.read() is not first

    asyncio.run(ask())


def test_who_hangs_up_does_not_end_it_for_the_others(settings: Config) -> None:
    async def ask() -> None:
        reader = Counted(settings, fresh=DEADLINE)
        reader.go.clear()
        impatient, patient = asyncio.create_task(reader.read()), asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        reader.go.set()
        assert isinstance(await patient, Snapshot)
        assert reader.reads == 1

    asyncio.run(asyncio.wait_for(ask(), DEADLINE))


def test_a_failure_is_shared_within_the_second_and_forgotten_after_it(settings: Config, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"history": f"sqlite:///{tmp_path}/file/history.db"})
    (tmp_path / "file").write_text("no folder")

    async def ask() -> None:
        reader = Counted(broken, fresh=DEADLINE)
        for _ in range(3):
            with pytest.raises(HistoryError, match="cannot be opened"):
                await reader.read()
        assert reader.reads == 1
        (tmp_path / "file").unlink()
        reader._read_at -= DEADLINE
        assert isinstance(await reader.read(), Snapshot)

    asyncio.run(ask())
