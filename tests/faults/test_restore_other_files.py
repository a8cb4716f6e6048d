"""Files in a volume that are no part of its cluster outlive a restore: uploads beside it, keys and settings in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bed import images
from tests.bed.certificates import Authority
from tests.bed.shell import shell
from tests.faults.restore_scene import Scene, Scenes

SIGKILLED = -9
UPLOAD = "uploads/a photo.jpg"
WITH_TLS = 15  # not every build of the bed's has it
SETTINGS = "include_dir = 'conf.d'\n"


def pgdata(made: Scene) -> str:
    """Below the volume's root, with a slash at the end; empty where it is the root."""
    return "18/docker/" if made.server.version == 18 else ""


def in_volume(made: Scene, script: str, volume: str | None = None) -> str:
    """What a line of shell prints in the volume."""
    image = images.tag(made.server.version)
    return shell(made.victim.engine, image, f"cd /it && {script}", labels=made.servers.bed.labels,
                 it=volume or made.pinned).strip()  # fmt: skip


def with_keys(made: Scene, folder: Path) -> None:
    """TLS with a key in PGDATA, and a folder of settings; the server is started with them and backed up."""
    signed = Authority(folder / "authority", "authority").server("server", "127.0.0.1")
    files = {
        "server.crt": signed.certificate.read_text(),
        "server.key": signed.key.read_text(),
        "conf.d/a.conf": "work_mem = '7MB'\n",
    }
    settings = SETTINGS + ("ssl = on\n" if made.server.version == WITH_TLS else "")
    in_volume(made, f"mkdir -p {pgdata(made)}conf.d uploads && echo photo > '{UPLOAD}'")
    for name, text in files.items():
        in_volume(made, f"cat > {pgdata(made)}{name} <<'END'\n{text}END")
    in_volume(made, f"cat >> {pgdata(made)}postgresql.conf <<'END'\n{settings}END")
    own = f"cd ./{pgdata(made)} && chmod 600 server.key && chown -R $(stat -c %u:%g PG_VERSION) server.* conf.d"
    in_volume(made, own)
    made.container().restart(timeout=30)
    made.servers.ready(made.server)


def has_all(made: Scene) -> bool:
    """Whether the server runs with its keys and settings, and the upload is where it was."""
    server = made.servers.ready(made.server)
    tls = "on" if made.server.version == WITH_TLS else "off"
    assert (server.value("SHOW ssl"), server.value("SHOW work_mem")) == (tls, "7MB")
    assert in_volume(made, f"stat -c %a {pgdata(made)}server.key") == "600"
    return in_volume(made, f"cat '{UPLOAD}'") == "photo"


@pytest.mark.slow
@pytest.mark.parametrize("version", [15, 18])
def test_uploads_and_keys_outlive_a_kill_an_undo_and_a_restore(scenes: Scenes, version: int, tmp_path: Path) -> None:
    with scenes("restore", version) as made:
        with_keys(made, tmp_path)
        for point in ("before exchange", "after exchange"):
            assert made.restore(at=point).code == SIGKILLED
            made.recover().went_well()
            assert made.is_consistent() == "old"
            assert has_all(made)
            made.forget_kept()

        document = made.restore().went_well().document

        assert made.is_consistent() == "new"
        assert in_volume(made, f"cat '{UPLOAD}'") == "photo"
        (kept,) = made.staging()
        assert in_volume(made, f"[ -e '{UPLOAD}' ] && echo there || echo not", kept) == (
            "not" if version == 18 else "there"
        )
        made.other_copy("new")
        notes = " ".join(document["plan"]["notes"])
        assert "is taken over as it is there now" in notes
        assert ("uploads/ (1 file" in notes) == (version == 18)


@pytest.mark.slow
def test_a_configuration_whose_key_is_lost_is_refused_before_the_database_is_stopped(
    scenes: Scenes, tmp_path: Path
) -> None:
    with scenes("restore", WITH_TLS) as made:
        with_keys(made, tmp_path)
        backup = made.victim.backup().document["id"]  # quarantined, for rows are missing: so it is named
        started = made.container().attrs["State"]["StartedAt"]
        in_volume(made, "rm server.key")

        outcome = made.victim.start("restore-volume", made.victim.name, "--yes", "--json", "--backup", backup).ended()

        assert outcome.code == 4
        assert "ssl_key_file is /var/lib/postgresql/data/server.key, which is not there" in outcome.sentence
        assert "the database was not stopped" in outcome.sentence
        assert made.container().attrs["State"]["StartedAt"] == started
        assert made.is_consistent() == "old"
