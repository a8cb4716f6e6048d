"""A compose file is mended so that the real Compose keeps the container and its data, or the exact change is told."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.containers import recreate
from tasks.containers.compose_file import CannotMend, plan_mend, service_of
from tasks.containers.compose_program import check, config_hash
from tasks.restore import mending
from tests.bed import images
from tests.bed.compose import ComposeProject, answers_query, compose_command, compose_project
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.bed.rebuilding import data_mount, nothing_left, recreate_on

DATA = "/var/lib/postgresql/data"
RUN = "20261125-test"
SECRET = "correct-horse"
TEXT = """\
# Ours.
services:
  db:
    image: "IMAGE"   # pinned by hand
    command: ["bash", "-c", "trap 'exit 0' INT TERM; sleep infinity & wait"]
    init: true
    environment: {PASSWORD: "correct-horse", MODE: '0755'}
    labels: BED_LABELS
    volumes:
    - data:/var/lib/postgresql/data   # rows
networks: {default: {labels: BED_LABELS}}

volumes:
  data:   # rows
    labels: BED_LABELS

# the end
""".replace("IMAGE", images.tag(15))
MARK = "networks: {default: {labels: BED_LABELS}}\n"
MENDED = """\
  data:   # rows
    external: true
    name: PINNED
"""


@dataclass
class Scene:
    """A project, and a volume that its database belongs on."""

    bed: Bed
    project: ComposeProject
    pinned: str

    def mended(self, service: str = "db") -> dict[str, Any]:
        """Re-create the service's container on the pinned volume, mend its file; return the new container's JSON."""
        old = self.project.container(service)
        labels = mending.labels_of(old, self.pinned)
        assert list(labels) == ["com.docker.compose.config-hash"], "the new hash is not known"
        new = recreate_on(self.bed.client, old, self.pinned, DATA, labels)
        mending.mend(old, self.pinned, RUN)
        self.bed.client.api.remove_container(old["Id"], v=False)
        return new

    def refused(self, service: str = "db") -> str:
        """Why the file is left alone, with the text to write; it is indeed left alone."""
        before = files_of(self.project.folder)
        planned = mending.mending_of(self.project.container(service), self.pinned)
        assert planned is not None
        assert planned.by_hand
        assert files_of(self.project.folder) == before
        return planned.by_hand


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, compose: str) -> Iterator[Scene]:
    with nothing_left(bed):
        pinned = str(bed.client.volumes.create(bed.name("pinned"), labels=bed.labels).name)
        with compose_project(bed, tmp_path, TEXT) as project:
            yield Scene(bed, project, pinned)


def test_the_next_up_keeps_the_container_and_only_the_volumes_lines_differ(scene: Scene) -> None:
    scene.project.up()
    text = scene.project.file.read_text()

    new = scene.mended()

    assert re.search("is up-to-date|Running", scene.project.up())
    assert scene.project.container()["Id"] == new["Id"]
    assert data_mount(scene.project.container(), DATA) == scene.pinned
    assert scene.project.file.read_text() == re.sub(
        r"  data:   # rows\n    labels: .*\n", MENDED.replace("PINNED", scene.pinned), text
    )
    assert sorted(files_of(scene.project.folder)) == ["docker-compose.yml", f"docker-compose.yml.before-{RUN}"]


def test_the_plan_shows_the_change_and_changes_nothing(scene: Scene) -> None:
    scene.project.up()
    before = files_of(scene.project.folder)

    planned = mending.mending_of(scene.project.container(), scene.pinned)

    assert planned is not None
    assert planned.by_hand is None
    assert planned.changes[:3] == ["in volumes, data:", "+ external: true", f"+ name: {scene.pinned}"]
    assert planned.changes[3].startswith("- labels (")
    assert files_of(scene.project.folder) == before


def test_down_with_volumes_leaves_the_pinned_volume(scene: Scene) -> None:
    scene.project.up()
    scene.mended()

    scene.project.down("--volumes")

    assert scene.pinned in {each.name for each in scene.bed.client.volumes.list()}
    scene.project.up()
    assert data_mount(scene.project.container(), DATA) == scene.pinned


def test_a_container_that_compose_makes_once_more_keeps_the_pinned_volume(scene: Scene) -> None:
    scene.project.up()
    new = scene.mended()
    scene.project.file.write_text(scene.project.file.read_text().replace("'0755'", "'0700'"))

    scene.project.up()

    assert scene.project.container()["Id"] != new["Id"]
    assert data_mount(scene.project.container(), DATA) == scene.pinned


def test_the_last_file_that_declares_the_volume_is_mended(scene: Scene) -> None:
    override = scene.project.write("volumes:\n  data: {}\nservices: {db: {cap_add: [SYS_PTRACE]}}\n", "more.yml")
    files = ("docker-compose.yml", "more.yml")
    scene.project.write(TEXT.replace("  data:   # rows\n    labels: BED_LABELS\n", "  data:\n"))
    scene.project.up(files=files)
    before = scene.project.file.read_text()

    new = scene.mended()

    assert override.read_text().startswith(f"volumes:\n  data: {{external: true, name: {scene.pinned}}}\n")
    assert scene.project.file.read_text() == before
    scene.project.up(files=files)
    assert scene.project.container()["Id"] == new["Id"]


def in_a_folder_below(scene: Scene) -> tuple[str, ...]:
    scene.project.file.unlink()
    scene.project.write(TEXT, "deploy/docker-compose.yml")
    return ("deploy/docker-compose.yml",)


def behind_a_link(scene: Scene) -> tuple[str, ...]:
    (scene.project.folder / "real").mkdir()
    scene.project.file.rename(scene.project.folder / "real/file.yml")
    scene.project.file.symlink_to("real/file.yml")
    return ("docker-compose.yml",)


def in_the_long_syntax(scene: Scene) -> tuple[str, ...]:
    long = "- {type: volume, source: data, target: /var/lib/postgresql/data, volume: {nocopy: true}}"
    scene.project.write("version: '3.8'\n" + TEXT.replace("- data:/var/lib/postgresql/data", long))
    return ()


def with_another_name(scene: Scene) -> tuple[str, ...]:
    wrong = scene.bed.client.volumes.create(scene.bed.name("wrong"), labels=scene.bed.labels).name
    scene.project.write(
        TEXT.replace("  data:   # rows\n    labels: BED_LABELS\n", f"  data: {{external: true, name: {wrong}}}\n")
    )
    return ()


def through_an_anchor(scene: Scene) -> tuple[str, ...]:
    text = TEXT.replace("services:", "x-db: &db\n  volumes: ['data:/var/lib/postgresql/data']\nservices:", 1)
    scene.project.write(text.replace("    volumes:\n    - data:/var/lib/postgresql/data   # rows\n", "    <<: *db\n"))
    return ()


def extended(scene: Scene) -> tuple[str, ...]:
    base = "services:\n  base:\n    volumes: ['data:/var/lib/postgresql/data']\nvolumes: {data: }\n"
    scene.project.write("version: '2.4'\n" + base, "base.yml")
    extends = "    extends: {file: base.yml, service: base}\n"
    text = TEXT.replace("    volumes:\n    - data:/var/lib/postgresql/data   # rows\n", extends)
    scene.project.write("version: '2.4'\n" + text)
    return ()


def in_a_profile(scene: Scene) -> tuple[str, ...]:
    scene.project.write(TEXT.replace("    init: true\n", "    init: true\n    profiles: [database]\n"))
    (scene.project.folder / ".env").write_text("COMPOSE_PROFILES=database\n")
    return ()


def with_an_env_file(scene: Scene) -> tuple[str, ...]:
    scene.project.write(TEXT.replace('"correct-horse"', '"${SECRET_WORD}"'))
    (scene.project.folder / ".env").write_text("SECRET_WORD=whatever\n")
    return ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "written",
    [
        in_a_folder_below,
        behind_a_link,
        in_the_long_syntax,
        with_another_name,
        through_an_anchor,
        extended,
        in_a_profile,
        with_an_env_file,
    ],
    ids=lambda each: each.__name__,
)
def test_a_volume_is_mended_however_it_is_declared(scene: Scene, written: Callable[[Scene], tuple[str, ...]]) -> None:
    files = written(scene)
    scene.project.up(files=files)
    was_link = scene.project.file.is_symlink()

    new = scene.mended()

    scene.project.up(files=files)
    assert scene.project.container()["Id"] == new["Id"]
    assert data_mount(scene.project.container(), DATA) == scene.pinned
    assert scene.project.file.is_symlink() == was_link
    assert not [name for name in files_of(scene.project.folder) if "rollcall" in name]


def test_a_kept_container_is_in_nobodys_way_only_without_the_labels_of_compose(scene: Scene) -> None:
    scene.project.up()
    client = scene.bed.client
    old = scene.project.container()
    labels = mending.labels_of(old, scene.pinned)
    new = recreate_on(client, old, scene.pinned, DATA, labels)
    mending.mend(old, scene.pinned, RUN)

    wrong = data_mount(old, DATA)
    image: dict[str, Any] = client.api.inspect_image(old["Image"])  # type: ignore[no-untyped-call]
    hidden = recreate.replacement(
        client.api.inspect_container(old["Id"]),
        image,
        api_version=client.api.api_version,
        wrong=wrong,
        pinned=wrong,
        destination=DATA,
        labels={name: None for name in old["Config"]["Labels"] if name.startswith("com.docker.compose.")},
    )
    kept = recreate.create(client, hidden, f"{hidden.name}.hidden")
    client.api.remove_container(old["Id"], v=False)

    scene.project.up()
    assert scene.project.container()["Id"] == new["Id"]
    assert data_mount(client.api.inspect_container(kept), DATA) == wrong
    differs = recreate.difference(old, client.api.inspect_container(kept))
    recreate.remove_created(client, kept)
    assert [each for each in differs if not each.startswith("Config.Labels.com.docker.compose.")] == []


def test_with_its_labels_compose_takes_the_kept_container_for_the_service(
    scene: Scene,
) -> None:
    """Why a kept container must lose its labels: this is what Compose does, and no wish of ours."""
    if compose_command() != ("docker-compose",):
        pytest.skip("What Compose 1 does; 2 removes the old one.")
    scene.project.up()
    old = scene.project.container()
    new = recreate_on(scene.bed.client, old, scene.pinned, DATA, mending.labels_of(old, scene.pinned))
    mending.mend(old, scene.pinned, RUN)

    scene.project.up()

    assert scene.project.container()["Id"] != new["Id"]


# What is left to a person


def anonymous(text: str) -> str:
    return text.replace("    volumes:\n    - data:/var/lib/postgresql/data   # rows\n", "")


def bound(text: str) -> str:
    return text.replace("- data:", "- ./rows:")


def by_variable(text: str) -> str:
    return text.replace("- data:", "- ${VOLUME:-data}:")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (anonymous, "gets an anonymous volume"),
        (bound, "mounts ./rows at /var/lib/postgresql/data, which is no volume"),
        (by_variable, r"leaves it to a variable \(\$\{VOLUME:-data\}\)"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_a_person_must_write_is_told_and_works_as_it_is(
    scene: Scene, change: Callable[[str], str], why: str
) -> None:
    scene.project.write(change(TEXT))
    scene.project.up()

    said = scene.refused()

    assert re.search(why, said)
    told = said.partition("Write:\n")[2]
    assert f"name: {scene.pinned}" in told
    # Followed literally: as a file of its own beside the first, which Compose merges.
    scene.project.write(f"version: '3.7'\n{told}\n", "told.yml")
    scene.project.down()
    scene.project.up(files=("docker-compose.yml", "told.yml"))
    assert data_mount(scene.project.container(), DATA) == scene.pinned


def test_a_volume_of_an_included_file_is_told_there_and_is_pinned_once_it_is_written(scene: Scene) -> None:
    scene.project.write(TEXT, "parts/db.yml")
    scene.project.write("include: [{path: parts/db.yml}]\nservices: {}\n")
    scene.project.up()

    said = scene.refused()

    file = scene.project.folder / "parts/db.yml"
    assert said.startswith(f"{file}, which is included, declares the volume data. Write there:\nvolumes:\n  data:\n")
    file.write_text(
        file.read_text().replace(
            "  data:   # rows\n    labels", f"  data: {{external: true, name: {scene.pinned}}}\nx-a:\n    labels"
        )
    )
    assert mending.mending_of(scene.project.container(), scene.pinned) is None
    scene.project.down()
    scene.project.up()
    assert data_mount(scene.project.container(), DATA) == scene.pinned


def test_a_profile_and_a_volume_of_the_extended_file_are_found(scene: Scene) -> None:
    base = TEXT.partition("networks:")[0].replace("    init: true", "    init: true\n    profiles: [data]")
    scene.project.write(base, "base.yml")
    scene.project.write(f"services: {{db: {{extends: {{file: base.yml, service: db}}}}}}\n{TEXT.partition(MARK)[2]}")
    scene.project.compose("--profile", "data", "up", "-d")
    planned = mending.mending_of(scene.project.container(), scene.pinned)
    assert planned is not None
    assert planned.by_hand is None
    assert f"+ name: {scene.pinned}" in planned.changes


def test_a_variable_that_only_the_users_shell_knows_is_named(scene: Scene) -> None:
    scene.project.write(TEXT.replace('"correct-horse"', '"${SECRET_WORD}"'))
    scene.project.up(env={**os.environ, "SECRET_WORD": SECRET})

    said = scene.refused()

    assert "variables that it uses are not set here: SECRET_WORD" in said
    assert SECRET not in said
    assert said.endswith(f"Write:\nvolumes:\n  data:\n    external: true\n    name: {scene.pinned}")
    assert mending.labels_of(scene.project.container(), scene.pinned) == {}


def test_a_file_that_compose_does_not_accept_is_left_and_none_of_its_values_told(scene: Scene) -> None:
    scene.project.up()
    scene.project.file.write_text(scene.project.file.read_text().replace("init: true", "init: correct-horse"))

    said = scene.refused()

    assert "Compose does not accept it; see why by: " in said
    assert SECRET not in said


def test_a_file_that_was_edited_since_the_last_up_has_no_known_hash(scene: Scene) -> None:
    scene.project.up()
    found = scene.project.container()
    scene.project.file.write_text(scene.project.file.read_text().replace("'0755'", "'0700'"))

    planned = mending.mending_of(found, scene.pinned)

    assert planned is not None
    assert planned.changes[-1] == "The next `up` will re-create the container once (the data stays)."
    assert mending.labels_of(found, scene.pinned) == {}


def test_a_folder_that_is_gone_is_told(scene: Scene) -> None:
    scene.project.up()
    found = scene.project.container()
    scene.project.file.unlink()
    service = service_of(found)
    assert service is not None
    with pytest.raises(CannotMend, match=r"docker-compose.yml is not mended: it cannot be read \(No such file"):
        plan_mend(service, DATA, scene.pinned)


def test_options_that_have_to_go_are_named_without_what_they_say(scene: Scene) -> None:
    options = "    driver: local\n    driver_opts: {type: tmpfs, device: tmpfs, o: 'uid=0'}  # correct-horse\n"
    scene.project.write(TEXT.replace("  data:   # rows\n", "  data:   # rows\n" + options))
    scene.project.up()
    service = service_of(scene.project.container())
    assert service is not None

    planned = plan_mend(service, DATA, scene.pinned)

    assert planned is not None
    assert planned.changes[3].startswith("- driver, driver_opts, labels (")
    told = mending.mending_of(scene.project.container(), scene.pinned)
    assert told is not None and told.special == ["driver_opts"]
    assert "uid=0" not in f"{planned!r} {planned.model_dump_json()}"
    assert SECRET not in f"{planned!r} {planned.model_dump_json()}"
    check(service, planned, scene.pinned)
    assert config_hash(service, planned, "another") is None


# Writing, and putting back


@pytest.fixture
def planned(scene: Scene) -> tuple[Scene, dict[str, Any], dict[str, str]]:
    """A project that is up, its container, and what the journal would hold."""
    scene.project.up()
    found = scene.project.container()
    return scene, found, mending.prepare_mend(found, scene.pinned)


def unmend(facts: dict[str, str]) -> None:
    mending.unmend(Path(facts["mended_file"]), RUN, facts["text_before"], facts["text_after"])


def test_a_mended_file_keeps_mode_and_owner_and_is_put_back_to_the_byte(
    planned: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    scene, found, facts = planned
    file = scene.project.file
    file.chmod(0o640)
    os.chown(file, 1234, 2345)
    original = file.read_bytes()

    mending.mend(found, scene.pinned, RUN)
    assert file.read_bytes() != original
    assert (file.stat().st_mode & 0o777, file.stat().st_uid, file.stat().st_gid) == (0o640, 1234, 2345)
    assert mending.kept_original(file, RUN).read_bytes() == original

    for _ in range(2):
        unmend(facts)
        assert file.read_bytes() == original
    assert (file.stat().st_mode & 0o777, file.stat().st_uid, file.stat().st_gid) == (0o640, 1234, 2345)


def test_a_file_that_somebody_changed_after_the_mend_is_not_put_back(
    planned: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    scene, found, facts = planned
    mending.mend(found, scene.pinned, RUN)
    with scene.project.file.open("a") as file:
        file.write("# mine\n")
    changed = scene.project.file.read_bytes()

    unmend(facts)

    assert scene.project.file.read_bytes() == changed


def test_lines_that_end_as_on_windows_are_left_to_a_person(scene: Scene) -> None:
    scene.project.up()
    scene.project.file.write_bytes(scene.project.file.read_bytes().replace(b"\n", b"\r\n"))

    assert "its lines end as on Windows" in scene.refused()


@pytest.mark.slow
@pytest.mark.parametrize("version", images.VERSIONS)
def test_rows_are_there_after_up_and_after_down_and_up(postgres: PostgresServers, scene: Scene, version: int) -> None:
    destination = images.RECIPES[version].volume
    good = postgres(version=version, volume=scene.bed.name("good"))
    good.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS n")
    recreate.stop(scene.bed.client, good.container)
    scene.pinned = good.volume
    command = re.compile(r"    command: .*\n    init: true\n")
    text = command.sub("", TEXT).replace(images.tag(15), images.tag(version)).replace(DATA, destination)
    environment = "{POSTGRES_USER: admin, POSTGRES_PASSWORD: 'correct horse', POSTGRES_DB: knowledge_os}"
    scene.project.write(re.sub(r"environment: .*", f"environment: {environment}", text))
    scene.project.up()
    old = scene.project.container()
    name = old["Name"].lstrip("/")
    assert answers_query(scene.bed, name, "SELECT to_regclass('experts') IS NULL") == "t"

    labels = mending.labels_of(old, scene.pinned)
    new = recreate_on(scene.bed.client, old, scene.pinned, destination, labels)
    mending.mend(old, scene.pinned, RUN)
    scene.bed.client.api.remove_container(old["Id"], v=False)

    scene.project.up()
    assert scene.project.container()["Id"] == new["Id"]
    assert answers_query(scene.bed, name, "SELECT count(*) FROM experts") == "85"
    scene.project.down("--volumes")
    scene.project.up()
    assert answers_query(scene.bed, name, "SELECT count(*) FROM experts") == "85"
