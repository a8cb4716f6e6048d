"""Renames in real folders: the atomic call, both ways to reach it, and what happens where it is not to be had."""

import ctypes
import errno
import os
import platform
from pathlib import Path

import pytest

from tasks.containers import exchange_here
from tasks.containers.exchange_here import CALL_NUMBERS, FoldersHere, exchange_paths
from tasks.containers.exchange_moves import ASIDE, DATA, Move, Place, aside, moves
from tasks.errors import EngineError

VOLUMES = ["pinned", "staging"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for each in VOLUMES:
        (tmp_path / each / DATA).mkdir(parents=True)
        (tmp_path / each / DATA / "whose").write_text(each)
    return tmp_path


@pytest.fixture
def folders(root: Path) -> FoldersHere:
    return FoldersHere(root, VOLUMES)


def whose(root: Path) -> dict[str, str]:
    return {each: (root / each / DATA / "whose").read_text() for each in VOLUMES}


def exchanged(folders: FoldersHere) -> list[Move]:
    found = folders.arrange()
    one, other = Place("pinned", DATA), Place("staging", DATA)
    return moves(found, {"pinned": found[other], "staging": found[one]})


SWAPPED = {"pinned": "staging", "staging": "pinned"}


def test_folders_are_exchanged_and_nothing_else_is_left(root: Path, folders: FoldersHere) -> None:
    before = folders.arrange()
    after = folders.arrange(exchanged(folders))
    assert whose(root) == SWAPPED
    assert list(after) == list(before)
    assert list(after.values()) == list(before.values())[::-1]
    assert [each.name for each in (root / "pinned").iterdir()] == [DATA]


def test_the_exchange_is_one_call_where_there_is_one(
    root: Path, folders: FoldersHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = exchanged(folders)
    monkeypatch.setattr(Path, "rename", None)
    folders.arrange(chosen)
    assert whose(root) == SWAPPED


@pytest.mark.parametrize("code", sorted(exchange_here.NOT_THERE), ids=errno.errorcode.__getitem__)
def test_three_renames_take_the_place_of_a_call_that_is_not_there(
    root: Path, folders: FoldersHere, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(exchange_here, "_renameat2", lambda: refused)
    folders.arrange(exchanged(folders))
    assert whose(root) == SWAPPED


def test_three_renames_take_the_place_of_a_call_nobody_knows(
    root: Path, folders: FoldersHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_here, "_renameat2", lambda: None)
    folders.arrange(exchanged(folders))
    assert whose(root) == SWAPPED


def test_the_call_by_its_number_does_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = exchange_here._by_number(ctypes.CDLL(None, use_errno=True), CALL_NUMBERS[platform.machine()])
    monkeypatch.setattr(exchange_here, "_renameat2", lambda: call)
    assert exchange_paths(root / "pinned" / DATA, root / "staging" / DATA)
    assert whose(root) == SWAPPED
    with pytest.raises(FileNotFoundError):
        exchange_paths(root / "pinned" / DATA, root / "nowhere")


def test_an_unknown_processor_has_no_number() -> None:
    assert exchange_here._by_number(ctypes.CDLL(None), None) is None


def test_a_folder_that_is_gone_is_one_clear_sentence_and_nothing_is_moved(root: Path, folders: FoldersHere) -> None:
    chosen = exchanged(folders)
    (root / "staging" / DATA).rename(root / "staging" / "elsewhere")
    with pytest.raises(EngineError, match=r"pinned and staging cannot be exchanged .* No such file or directory\.$"):
        folders.arrange(chosen)
    assert (root / "pinned" / DATA / "whose").read_text() == "pinned"


def test_no_rename_lands_on_a_folder_that_is_there(root: Path, folders: FoldersHere) -> None:
    """rename(2) would silently take the place of one that is empty."""
    (root / "staging" / ASIDE).mkdir()
    with pytest.raises(EngineError, match=r"staging/_data\.rollcall-exchange is there"):
        folders.arrange([Move(Place("pinned", DATA), Place("staging", ASIDE))])
    assert (root / "pinned" / DATA / "whose").read_text() == "pinned"


def test_what_an_interrupted_exchange_left_is_seen(root: Path, folders: FoldersHere) -> None:
    (root / "pinned" / DATA).rename(root / "pinned" / ASIDE)
    found = folders.arrange()
    status = (root / "pinned" / ASIDE).stat()
    assert found[Place("pinned", ASIDE)] == f"{status.st_dev}:{status.st_ino}"
    assert list(found) == [Place("pinned", ASIDE), Place("staging", DATA)]


def test_folders_that_are_not_there_cannot_be_used_from_here(tmp_path: Path, root: Path) -> None:
    assert FoldersHere(root, VOLUMES).usable()
    assert not FoldersHere(tmp_path, ["pinned", "nowhere"]).usable()


def test_a_folder_below_is_exchanged_and_all_beside_it_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = f"{DATA}/18/docker"
    for each in VOLUMES:
        (root / each / below).mkdir(parents=True)
        (root / each / below / "whose").write_text(each)
    folders = FoldersHere(root, VOLUMES, below)
    for atomic in (True, False):
        if not atomic:
            monkeypatch.setattr(exchange_here, "_renameat2", lambda: None)
        found = folders.arrange()
        wanted = {"pinned": found[Place("staging", below)], "staging": found[Place("pinned", below)]}
        after = folders.arrange(moves(found, wanted, below))
        assert moves(after, wanted, below) == []
        owner = "staging" if atomic else "pinned"
        assert (root / "pinned" / below / "whose").read_text() == owner
    assert whose(root) == {each: each for each in VOLUMES}
    assert aside(below) == f"{ASIDE}-18-docker"


def test_a_link_in_the_place_of_a_folder_is_not_moved(root: Path) -> None:
    (root / "pinned" / DATA / "db").symlink_to("elsewhere")
    with pytest.raises(EngineError, match="is no folder"):
        FoldersHere(root, VOLUMES, f"{DATA}/db").arrange()


@pytest.mark.parametrize("link", [DATA, f"{DATA}/18"])
def test_a_link_on_the_way_to_a_folder_is_not_followed(root: Path, link: str) -> None:
    below = f"{DATA}/18/docker"
    for each in VOLUMES:
        (root / each / below).mkdir(parents=True)
    elsewhere = (root / "pinned" / link).rename(root / "elsewhere")
    (root / "pinned" / link).symlink_to(elsewhere)
    before = {path: path.lstat().st_ino for path in root.rglob("docker")}
    with pytest.raises(EngineError, match=f"{link} is a link"):
        FoldersHere(root, VOLUMES, below).arrange([Move(Place("pinned", below), Place("pinned", aside(below)))])
    assert {path: path.lstat().st_ino for path in root.rglob("docker")} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights away")
def test_folders_of_others_cannot_be_used_by_a_user_without_the_right(root: Path) -> None:
    root.chmod(0o711)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            os._exit(FoldersHere(root, VOLUMES).usable())
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
