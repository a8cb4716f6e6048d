"""An image in which a helper's shell or tools cannot start is named, and nobody is said to have ended the helper."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.containers.clusters import look_into
from tasks.containers.contents import is_empty
from tasks.containers.copying import copy_volume
from tasks.containers.engine import OUR_LABEL
from tasks.containers.exchange_by_helper import FoldersByHelper
from tasks.containers.leashed import leashed
from tasks.containers.scratch import Place
from tasks.errors import EngineError, RestoreFailed
from tests.bed import debian
from tests.bed.labels import Bed

SH = Path("/bin/sh").resolve()
SHELLS: dict[str, tuple[bytes | None, int, str]] = {
    "no shell": (None, 0, "executable file not found in"),
    "no libraries": (SH.read_bytes(), 0o755, "exec /bin/sh: no such file or directory"),
    "no right": (SH.read_bytes(), 0o644, "executable file not found in"),
    "another machine's": (b"\x7fELF\x00", 0o755, "exec /bin/sh: exec format error"),
}
EMPTY_FOLDERS = ("proc", "sys", "dev", "etc", "tmp", "volumes", "volume", "source", "copy", "rollcall")


@pytest.fixture
def made(bed: Bed) -> Iterator[Callable[[dict[str, tuple[bytes, int]]], str]]:
    """Makes an image of some programs, and of nothing else."""
    images: list[str] = []

    def make(programs: dict[str, tuple[bytes, int]]) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for folder in EMPTY_FOLDERS:
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o777
                archive.addfile(entry)
            for name, (content, mode) in programs.items():
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.size, entry.mode = len(content), mode
                archive.addfile(entry, io.BytesIO(content))
        tag = f"{bed.run_id}-{len(images)}"
        bed.client.api.import_image_from_data(buffer.getvalue(), repository="rollcall-bed/broken", tag=tag)
        images.append(f"rollcall-bed/broken:{tag}")
        return images[-1]

    yield make
    for each in images:
        bed.client.images.remove(each, force=True)


@pytest.fixture
def volume(bed: Bed) -> Iterator[str]:
    name = str(bed.client.volumes.create(bed.name("volume"), labels=bed.labels).name)
    yield name
    bed.remove_volume(name)


@pytest.fixture
def owner(bed: Bed) -> Iterator[str]:
    chosen = bed.name("owner")
    yield chosen
    assert bed.client.api.containers(all=True, filters={"label": f"{OUR_LABEL}={chosen}"}) == []


def says(bed: Bed, image: str, volume: str, owner: str) -> dict[str, str]:
    """What each kind of helper says of the image."""
    place = Place(destination="/d", pgdata="/d")
    api = bed.client.api
    root = str(Path(str(api.inspect_volume(volume)["Mountpoint"])).parents[1])

    def scratch() -> None:
        with leashed(bed.client, image_id=image, owner=owner, user="0:0", mounts=[]) as box:
            box.run(["postgres", "--version"])

    helpers: dict[str, Callable[[], object]] = {
        "clusters": lambda: look_into(bed.client, image, [volume], owner),
        "contents": lambda: is_empty(bed.client, volume, image, owner),
        "exchange": lambda: FoldersByHelper(bed.client, root, [volume], image, owner).arrange(),
        "leashed": scratch,
        "copying": lambda: copy_volume(
            bed.client, source=volume, volume=volume, place=place, image_id=image, owner=owner, deadline=60
        ),
    }
    said = {}
    for name, run in helpers.items():
        with pytest.raises((EngineError, RestoreFailed)) as told:
            run()
        said[name] = str(told.value)
    return said


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_cannot_start_is_named_with_its_image(
    bed: Bed, made: Callable[..., str], volume: str, owner: str, shell: str
) -> None:
    content, mode, why = SHELLS[shell]
    image = made({} if content is None else {"sh": (content, mode)})

    for name, said in says(bed, image, volume, owner).items():
        assert why in said, name
        assert image in said, name
        assert "ended from outside" not in said, name
        assert "use an image that has" in said, name
        assert "Traceback" not in said and "OCI runtime" not in said, name


def test_tools_that_are_not_there_are_named_with_their_image(
    bed: Bed, made: Callable[..., str], volume: str, owner: str
) -> None:
    shell = next(debian.unpacked("bash-static").glob("**/bin/bash-static"))
    image = made({"sh": (shell.read_bytes(), 0o755)})

    said = says(bed, image, volume, owner)

    missing = {name: words.partition(" cannot be started")[0].rpartition(" ")[2] for name, words in said.items()}
    assert missing | {"copying": ""} == {
        "clusters": "find", "contents": "find", "exchange": "grep", "leashed": "postgres", "copying": "",
    }  # fmt: skip
    for name, words in said.items():
        assert image in words or name == "copying", name
        assert "ended from outside" not in words, name
