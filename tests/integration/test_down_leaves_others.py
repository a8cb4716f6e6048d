"""`rollcall down` where Compose knows more containers by the project's name than the plan brings down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import safe_down as down_flow
from tasks.containers.compose_program import compose_commands, of_the_first_generation
from tasks.errors import ComposeFileError, Refused
from tasks.leaving import act
from tasks.leaving.report import DownReport
from tasks.restore.approval import asked
from tests.bed import images
from tests.bed.compose import PROJECT_LABEL, ComposeProject, compose_project
from tests.bed.labels import Bed
from tests.integration.down_scene import plainly

SERVICE = f"""\
    image: {images.tag(17)}
    entrypoint: ["sleep", "600"]
    stop_signal: SIGKILL
    tmpfs: ["/var/lib/postgresql/data"]
    labels: BED_LABELS
    network_mode: bridge
"""
PROFILE = "    profiles: [data]\n"
OTHERS = ["elsewhere", "former", "quiet"]


def staying() -> list[str]:
    """Compose 1 counts the services of every profile."""
    return OTHERS[:2] if of_the_first_generation(compose_commands()[0]) else OTHERS


def text(*services: str) -> str:
    """A compose file with these services; Compose 1 wants a version."""
    return "version: '3.9'\nservices:\n" + "".join(f"  {each}:\n{SERVICE}" for each in services)


class Scene:
    """Project `one` runs web; of its name are, too: a service of another folder, a former one, one of a profile."""

    def __init__(self, bed: Bed, one: ComposeProject, folder: Path) -> None:
        self.bed, self.one = bed, one
        self.two = ComposeProject(bed, one.name, folder / "two")
        self.two.folder.mkdir()
        self.config = folder / "targets.yaml"
        target = {
            "container": bed.name("nobody"), "volume": bed.name("none"), "database": "d", "user": "u",
            "password": {"env": "NONE"}, "storages": ["local"],
        }  # fmt: skip
        self.config.write_text(
            json.dumps({"storages": {"local": {"type": "local", "path": str(folder / "b")}}, "targets": {"t": target}})
        )
        (folder / "b").mkdir()
        self.one.write(text("web", "former", "quiet"))
        self.one.up()
        self.two.write(text("elsewhere"))
        self.two.up()
        self.one.write(text("web", "quiet") + PROFILE)
        (self.one.folder / ".env").write_text(f"COMPOSE_PROJECT_NAME={one.name}\n")

    def runs(self) -> list[str]:
        """The services that run."""
        ours = {"label": f"{PROJECT_LABEL}={self.one.name}"}
        found = self.bed.client.api.containers(filters=ours)
        return sorted(each["Labels"]["com.docker.compose.service"] for each in found)

    def down(self, **options: object) -> DownReport:
        """`rollcall down` on the first folder."""
        with asked("given", "tester"):
            report: DownReport = plainly(down_flow.safe_down)(
                str(self.one.folder), str(self.config), **{"dry_run": False, **options}
            )
        return report


@pytest.fixture
def scene(bed: Bed, tmp_path: Path) -> Iterator[Scene]:
    with compose_project(bed, tmp_path) as one:
        made = Scene(bed, one, tmp_path)
        assert made.runs() == [*OTHERS, "web"]
        yield made


def test_what_is_of_the_name_and_not_of_the_files_goes_on(scene: Scene) -> None:
    report = scene.down()
    assert scene.runs() == staying()
    assert len(report.plan.containers) == 4 - len(staying())
    assert len([each for each in report.plan.notes if "goes on as it is" in each]) == len(staying())
    (still,) = report.others
    assert still.startswith("Still running, as planned: ")
    assert still.count(",") == len(staying())


def test_so_it_does_whatever_the_environment_and_the_options_say(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_REMOVE_ORPHANS", "1")
    (scene.one.folder / ".env").write_text("COMPOSE_FILE=other.yml\nCOMPOSE_REMOVE_ORPHANS=1\n")
    scene.one.file.rename(scene.one.folder / "other.yml")
    scene.down(project_name=scene.one.name)
    assert scene.runs() == staying()


def test_an_override_file_and_an_active_profile_count(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_PROFILES", "data")
    scene.one.write(text("former"), "docker-compose.override.yml")
    scene.down()
    assert scene.runs() == ["elsewhere"]


def test_files_that_are_broken_before_its_turn_comes_bring_nothing_down(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose would do without them, where the environment has a name: with every container of that name."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", scene.one.name)
    stop = act.recreate.stop
    monkeypatch.setattr(act.recreate, "stop", lambda *given: (scene.one.write("services: ["), stop(*given)))
    with pytest.raises(ComposeFileError):
        scene.down()
    assert scene.runs() == [*OTHERS, "web"]


def test_what_came_into_the_files_after_the_plan_is_not_brought_down(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = act.recreate.stop
    monkeypatch.setattr(
        act.recreate, "stop", lambda *given: (scene.one.write(text("web", "former", "elsewhere")), stop(*given))
    )
    with pytest.raises(Refused, match=r"would go now, too.*former"):
        scene.down()
    assert scene.runs() == [*OTHERS, "web"]


def test_the_end_is_looked_at(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a Compose of another day does: what had to stay and does not is said."""
    real = act.down

    def takes_all(project: object, environ: dict[str, str]) -> None:
        real(project, environ)  # type: ignore[arg-type]
        for each in scene.bed.client.containers.list(filters={"label": "com.docker.compose.service=former"}):
            if each.labels[PROJECT_LABEL] == scene.one.name:
                each.remove(force=True)

    monkeypatch.setattr(act, "down", takes_all)
    with pytest.raises(ComposeFileError, match=r"former.* is gone"):
        scene.down()
