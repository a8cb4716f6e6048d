"""What a target may be pinned to: a volume's name or a folder of the engine's host, and exactly one of them."""

from pathlib import Path
from typing import Any

import pytest

from tasks.config import Target, load
from tasks.containers.observe import Container, Mount, kept_at
from tasks.errors import ConfigError
from tasks.history.judge import judge_identity
from tasks.history.records import Pin
from tasks.history.replay import START
from tasks.models import Identity
from tasks.sections import is_folder, plain_folder

CONFIG = """
storages: {{l: {{type: local, path: .}}}}
targets: {{t: {{container: c, {place} database: d, storages: [l]}}}}
"""


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("", "targets.t: takes either volume"),
        ("volume: v, folder: /srv/pg,", "targets.t: takes either volume"),
        ("volume: /srv/pg,", "has a path as its volume; write it as folder: /srv/pg"),
        ("folder: ./pg,", "targets.t.folder: must be the whole path"),
        ("folder: ~/pg,", "targets.t.folder: must be the whole path"),
        ("folder: v,", "targets.t.folder: must be the whole path"),
        ("folder: /,", "targets.t.folder: must be the whole path"),
    ],
)
def test_a_place_that_cannot_be_is_one_sentence(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "targets.yaml").write_text(CONFIG.format(place=place))
    with pytest.raises(ConfigError) as told:
        load(str(tmp_path / "targets.yaml"))
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("/srv/pg/", "/srv/pg"),
        ("/Users/a/pg", "/host_mnt/Users/a/pg"),
        ("C:\\pg", "/run/desktop/mnt/host/c/pg"),
        ("/srv/immich/../pg", "/srv/pg"),
        ("/srv/pg/data", "/srv/pg"),  # PGDATA is a folder below what is mounted
    ],
)
def test_a_folder_is_the_same_in_every_spelling(written: str, shown: str) -> None:
    assert is_folder(written)
    mount = Mount(destination="/d", source=shown, kind="bind", volume=None)
    box = Container(
        id="1", name="c", image_id="i", pgdata="/d/data", port=1, mounts=[mount], addresses=[], published=[]
    )
    assert kept_at(box, written) == written
    assert kept_at(box, "/srv/other") == shown
    assert plain_folder(shown).startswith("/")


def identity(**given: Any) -> Identity:
    facts = {"container": "c", "volume": None, "system_identifier": "7", "timeline": 1, "checkpoint_lsn": "0/1"}
    return Identity.model_validate({**facts, "server_version": "16.4", **given})


@pytest.mark.parametrize(
    ("known", "now", "pinned", "words"),
    [
        (None, {"volume": "b"}, "a", "write `volume: b` instead of `volume: a`"),
        ("7", {"volume": "b"}, "a", "write `volume: b` instead of `volume: a`"),
        ("8", {"volume": "b"}, "a", "started with the wrong volume, start it on a again"),
        (None, {"folder": "/b"}, "a", "write `folder: /b` instead of `volume: a`"),
        ("8", {"folder": "/b"}, "/a", "started with the wrong folder, start it on /a again"),
        (None, {"volume": "b"}, "/a", "write `volume: b` instead of `folder: /a`"),
        ("7", {"data_on": "memory"}, "a", "in memory (a tmpfs); it must be on volume a: back it up now"),
    ],
)
def test_advice_about_another_place_is_right_for_whoever_mistyped_it(
    known: str | None, now: dict[str, Any], pinned: str, words: str
) -> None:
    pin = Pin(target="t", system_identifier=known, volume="a", pinned_at=START, reason="") if known else None
    found = judge_identity(identity(**now), pin, None, pinned)
    assert words in next(each.message for each in found if each.code == "volume.mismatch")


def test_a_pinned_folder_is_well() -> None:
    assert [each.code for each in judge_identity(identity(folder="/a"), None, None, "/a")] == ["cluster.pinned"]
    assert Target(container="c", folder="/a", database="d", storages=["l"]).pinned == "/a"
