"""`rollcall doctor` on a real project: it finds what would lose the data, and writes only what is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.config import load
from tasks.doctor.diagnosis import Diagnosis
from tasks.doctor.examine import examine
from tasks.doctor.fix import fixed
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PASSWORD, PostgresServer
from tests.bed.rebuilding import data_mount
from tests.bed.recorder import HttpRecorder
from tests.bed.target import NAME, target_for
from tests.integration.down_scene import CONTENT, DATA, DownScene, down_scene, text


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DownScene]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with down_scene(bed, tmp_path, monkeypatch) as made:
        yield made


def found(scene: DownScene) -> dict[str, Diagnosis]:
    """By subject, without the target's name."""
    return {each.subject.removeprefix(f"{scene.target}: "): each for each in examine(load(str(scene.config)))}


def wrong(scene: DownScene) -> dict[str, str]:
    return {subject: each.words for subject, each in found(scene).items() if not each.well and subject != "notify"}


def with_init_scripts(scene: DownScene) -> str:
    scripts = scene.project.folder / "initdb"
    scripts.mkdir()
    return text(scene.container).replace(f"[data:{DATA}]", f"[data:{DATA}, ./initdb:/docker-entrypoint-initdb.d:ro]")


def test_an_unpinned_volume_is_pinned_by_fix_and_nothing_else_is_changed(scene: DownScene) -> None:
    scene.project.write(with_init_scripts(scene))
    scene.project.up()
    before, rows = scene.project.file.read_text(), scene.ask(CONTENT)
    diagnoses = examine(load(str(scene.config)))
    missed = {each.subject.partition(": ")[2]: each for each in diagnoses if not each.well and ": " in each.subject}
    assert set(missed) == {"compose file", "init scripts"}
    assert f"+ name: {scene.volume()}" in missed["compose file"].lines

    written = {each.subject: each for each in fixed(load(str(scene.config)), diagnoses)}[
        f"{scene.target}: compose file"
    ]

    assert written.well, written.words
    (kept,) = scene.project.folder.glob("docker-compose.yml.before-*")
    assert kept.read_text() == before
    lines = scene.project.file.read_text().splitlines()
    assert [each for each in lines if each not in before.splitlines()] == [
        f"  data: {{external: true, name: {scene.volume()}}}"
    ]
    assert wrong(scene) == {}
    scene.project.up()
    assert data_mount(scene.project.container(), DATA) == scene.volume()
    assert scene.ask(CONTENT) == rows


@pytest.mark.slow
def test_a_volume_that_is_not_the_pinned_one_is_never_written_into_a_file(scene: DownScene) -> None:
    scene.configure(volume="atra_right")
    before = scene.project.file.read_text()

    diagnoses = examine(load(str(scene.config)))

    words = {each.subject: each.words for each in diagnoses}[f"{scene.target}: compose file"]
    assert "no file is changed before that is put right" in words
    assert [each for each in fixed(load(str(scene.config)), diagnoses) if each.words.startswith("Written")] == []
    assert scene.project.file.read_text() == before


@pytest.mark.slow
def test_data_in_an_anonymous_volume_beside_the_named_one_is_told_with_the_lines(scene: DownScene) -> None:
    """What a compose file for PostgreSQL 17 does to PostgreSQL 18, whose image keeps its data elsewhere."""
    scene.project.compose("rm", "-s", "-f", "db")
    scene.client.volumes.get(scene.volume()).remove()
    scene.project.write(text(scene.container).replace(images.tag(17), images.tag(18)))
    scene.project.up()
    scene.ask("SELECT 1")
    (loose,) = [
        each["Name"] for each in scene.project.container()["Mounts"]
        if each["Type"] == "volume" and each["Name"] != scene.volume()
    ]  # fmt: skip

    told = found(scene)["data volume"]

    assert not told.well
    assert f"{scene.volume()} is mounted at {DATA}, where PGDATA (/var/lib/postgresql/18/docker) is not" in told.words
    assert f"    name: {loose}" in told.lines
    assert f"      - postgres_data:/var/lib/postgresql  # instead of what is mounted at {DATA}" in told.lines


@pytest.mark.slow
def test_another_project_that_claims_the_containers_name_is_told(scene: DownScene, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    claims = f"services:\n  postgres:\n    container_name: {scene.container}\n"
    (folder / "docker-compose.yml").write_text(claims)
    labels = {
        **scene.bed.labels,
        "com.docker.compose.project": "other",
        "com.docker.compose.service": "web",
        "com.docker.compose.project.working_dir": str(folder),
        "com.docker.compose.project.config_files": "docker-compose.yml",
    }
    box = scene.client.containers.create(images.tag(17), name=scene.bed.name("web"), labels=labels)
    try:
        told = found(scene)["container name"]
        assert f"Project other claims the container name {scene.container} too, in its service postgres" in told.words
        assert told.lines[0] == f"# {folder}/docker-compose.yml"
    finally:
        box.remove(v=True)


@pytest.mark.slow
def test_rights_are_told_with_the_statement_that_gives_them(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer], tmp_path: Path
) -> None:
    server = fresh_database(postgres17)
    role = f"reader_{server.database}"
    server.execute(
        "CREATE TABLE experts (id int)",
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT pg_read_all_settings TO {role}",
    )
    target = target_for(server, tmp_path, user=role, databases=[], roles=False)

    def rights() -> Diagnosis:
        return {each.subject: each for each in examine(target.config)}[f"{NAME}: rights"]

    try:
        assert not rights().well
        assert f"cannot read all of public.experts in {server.database}" in rights().words
        assert f'GRANT pg_read_all_data TO "{role}"' in rights().words
        server.execute(f"GRANT SELECT ON experts TO {role}")
        assert rights().well, rights().words
        target_for(server, tmp_path, user=role, databases=[], roles=True)
        assert "password verifiers" in rights().words
        server.execute(f"GRANT pg_read_all_data TO {role}")
        assert rights().well, rights().words
    finally:
        server.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.slow
def test_a_pin_that_no_check_has_seen_may_be_a_slip_and_the_mounted_volume_is_named(
    postgres17: PostgresServer, fresh_database: Callable[[PostgresServer], PostgresServer], tmp_path: Path
) -> None:
    server = fresh_database(postgres17)

    def volume(name: str) -> str:
        target = target_for(server, tmp_path, volume=name, databases=[])
        return {each.subject: each for each in examine(target.config)}[f"{NAME}: volume"].words

    advice = f"{server.container} keeps its data on {server.volume}: if that is right, write it as `volume`."
    assert advice in volume("never-made")
    target_for(server, tmp_path, databases=[]).verify()
    assert advice not in volume("never-made"), "it was seen on the right volume: now it is a loss"


def test_a_test_message_is_sent_only_when_asked_for(http_recorder: HttpRecorder, tmp_path: Path) -> None:
    (tmp_path / "url").touch(mode=0o600)
    (tmp_path / "url").write_text(http_recorder.apprise_url)
    (tmp_path / "targets.yaml").write_text(
        "storages: {local: {type: local, path: .}}\n"
        f"notify: [{{url: {{file: {tmp_path}/url}}}}]\n"
        "targets: {t: {container: nobody-at-all, volume: none-at-all, database: d, storages: [local]}}\n"
    )
    settings = load(str(tmp_path / "targets.yaml"))

    examine(settings)
    assert http_recorder.messages == []
    told = {each.subject: each for each in examine(settings, notify=True)}["notify"]
    assert told.well, told.words
    assert len(http_recorder.wait_for(1)) == 1
