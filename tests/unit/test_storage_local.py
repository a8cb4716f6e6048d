"""What only a folder promises: its owner's eyes only, nothing half-written, no write to an unmounted disk."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from pathlib import Path
from subprocess import run

import pytest

from tasks import config
from tasks.errors import StorageError, StorageUnreachable
from tasks.secrets import EnvReference
from tasks.storage import open_storage
from tasks.storage.contract import Counted, Stored, get_bytes, put_bytes
from tasks.storage.local import PARTIAL, LocalStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    return LocalStorage("local", root)


def test_files_and_folders_are_for_their_owner_alone(storage: LocalStorage, root: Path) -> None:
    put_bytes(storage, "t/1/dump", b"-")
    assert {stat.S_IMODE(each.stat().st_mode) for each in (root, root / "t", root / "t/1")} == {0o700}
    assert stat.S_IMODE((root / "t/1/dump").stat().st_mode) == 0o600


def test_a_half_written_object_is_not_listed(storage: LocalStorage, root: Path) -> None:
    class Looking(io.BytesIO):
        def read(self, n: int | None = -1, /) -> bytes:
            assert list(storage.keys("")) == []
            assert len(list(root.rglob(f"{PARTIAL}*"))) == 1
            return super().read(n)

    storage.put("t/1/dump", Looking(b"content"))
    assert list(storage.keys("")) == ["t/1/dump"]
    assert list(root.rglob(f"{PARTIAL}*")) == []


def test_what_killed_runs_left_goes_after_a_day(storage: LocalStorage, root: Path) -> None:
    put_bytes(storage, "t/0/dump", b"-")
    for backup_id in ("old", "young"):
        (root / "t" / backup_id).mkdir()
        (root / "t" / backup_id / f"{PARTIAL}x").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(root / "t/old" / f"{PARTIAL}x", (yesterday, yesterday))
    put_bytes(storage, "t/1/dump", b"-")
    assert sorted(each.name for each in (root / "t").iterdir()) == ["0", "1", "young"]


def test_folders_that_become_empty_go_and_the_storage_itself_stays(storage: LocalStorage, root: Path) -> None:
    put_bytes(storage, "t/1/dump", b"-")
    storage.delete("t/1/dump")
    assert root.is_dir() and list(root.iterdir()) == []


def test_a_disk_that_is_not_mounted_is_not_written_to(tmp_path: Path) -> None:
    storage = LocalStorage("local", tmp_path / "disk" / "store")
    with pytest.raises(StorageError, match=r"storage local has no folder .*/disk to be in: is its disk mounted"):
        put_bytes(storage, "t/1/dump", b"-")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_never_made_holds_nothing_yet(storage: LocalStorage) -> None:
    assert list(storage.keys("")) == []


def test_a_folder_whose_parent_vanished_is_no_empty_storage(tmp_path: Path) -> None:
    storage = LocalStorage("local", tmp_path / "disk" / "backups")
    for verb in (
        lambda: list(storage.keys("")),
        lambda: get_bytes(storage, "t/1/d"),
        lambda: storage.delete("t/1/d"),
    ):
        with pytest.raises(StorageError, match="is its disk mounted"):
            verb()


def test_a_file_where_a_folder_should_be_is_told(storage: LocalStorage, root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(StorageError, match=r"storage local .* could not write t/1/dump: .*[Cc]heck the folder"):
        put_bytes(storage, "t/1/dump", b"-")


def test_a_folder_that_may_not_be_written_is_told(root: Path) -> None:
    """As another user, for root may write anywhere."""
    code = (
        "import os, sys; from pathlib import Path; from tasks.errors import StorageError\n"
        "from tasks.storage.contract import put_bytes; from tasks.storage.local import LocalStorage\n"
        "os.setuid(65534)\n"
        "try: put_bytes(LocalStorage('local', Path(sys.argv[1])), 't/1/dump', b'-')\n"
        "except StorageError as error: print(error)"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Below a folder that anybody may enter, so that it is the storage's own right that is missing.
    folder = Path("/tmp") / f"rollcall-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        done = run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    finally:
        folder.rmdir()
    assert "could not write t/1/dump: Permission denied. Check the folder, its owner and rights." in done.stdout


def test_a_file_system_without_links_is_written_all_the_same(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    put_bytes(storage, "t/1/dump", b"content")
    assert get_bytes(storage, "t/1/dump") == b"content"
    with pytest.raises(StorageError, match="nothing overwrites"):
        put_bytes(storage, "t/1/dump", b"other")
    assert list(storage.keys("")) == ["t/1/dump"]


def test_a_mount_that_went_stale_may_come_back(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: int) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "fsync", stale)
    with pytest.raises(StorageUnreachable, match="Stale file handle"):
        put_bytes(storage, "t/1/dump", b"-")


def test_nothing_appears_if_the_disk_refuses_to_sync(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_bytes(storage, "t/0/dump", b"-")
    real, calls = os.fsync, []

    def failing_at_last(descriptor: int) -> None:
        calls.append(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and (root / "t/1/dump").exists():
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing_at_last)
    with pytest.raises(StorageError, match="Input/output error"):
        put_bytes(storage, "t/1/dump", b"-")
    assert len(calls) >= 3
    assert [each.name for each in root.rglob("*")] == ["t", "0", "dump"]


def test_a_counted_source_keeps_what_the_producer_raised() -> None:
    class Broken:
        def read(self, n: int, /) -> bytes:
            raise error

    error = RuntimeError("producer")
    counted = Counted(Broken())
    with pytest.raises(RuntimeError):
        counted.read(1)
    assert counted.failure is error
    assert counted.stored == Stored(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_a_missing_key_to_a_bucket_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    missing = EnvReference(env="NO_SUCH_KEY")
    section = config.S3Storage(type="s3", bucket="bucket", access_key_id=missing, secret_access_key=missing)
    with pytest.raises(StorageError, match=r"offsite.*NO_SUCH_KEY"):
        open_storage("offsite", section)
