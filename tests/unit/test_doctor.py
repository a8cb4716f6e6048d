"""The doctor's pure parts: where a volume belongs, clocks, room, who claims a name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.doctor_prefect import block_diagnoses, prefect_diagnoses
from tasks.config import Config, LocalStorage, Target
from tasks.containers.compose_service import Service, service_of
from tasks.containers.observe import Container, Mount
from tasks.doctor import fix
from tasks.doctor.clocks import off_by
from tasks.doctor.compose import claimants, compose_diagnoses, lacks_name, misplaced, wanted_place
from tasks.doctor.diagnosis import Diagnosis, Pin, all_of, tried
from tasks.doctor.server import enough
from tasks.doctor.shelf import shelf_diagnoses
from tasks.errors import EngineError

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
HOME = "/var/lib/postgresql"


def hunter() -> str:
    raise KeyError("hunter2")


def test_an_error_that_nobody_foresaw_is_one_part_that_is_wrong_and_quotes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROLLCALL_DEBUG", raising=False)
    words = "It could not be looked at (KeyError): this is a defect; run again with ROLLCALL_DEBUG=1 to see where."
    assert tried("clock", hunter) == Diagnosis(subject="clock", well=False, words=words)

    def parts() -> Iterator[Diagnosis]:
        yield tried("first", lambda: "Well.")
        hunter()

    assert [(each.subject, each.words) for each in all_of("all", parts)] == [("first", "Well."), ("all", words)]
    monkeypatch.setenv("ROLLCALL_DEBUG", "1")
    with pytest.raises(KeyError):
        tried("clock", hunter)


def test_a_storage_that_cannot_even_be_looked_for_has_no_room_to_tell(tmp_path: Path) -> None:
    """Python raises for such a name what it raises below a folder that may not be entered."""
    config = Config(
        state=tmp_path,
        storages={"near": LocalStorage(type="local", path=tmp_path / ("a" * 300))},
        targets={"t": Target(container="pg", volume="v", database="d", storages=["near"])},
    )
    assert list(shelf_diagnoses(config, "t")) == []


def told_through_blocks(folder: Path) -> Config:
    return Config.model_validate(
        {
            "state": folder,
            "history": f"sqlite:///{folder}/h.db",
            "storages": {"near": {"type": "local", "path": folder}},
            "notify": [{"block": "slack-webhook/gone"}, {"url": {"env": "HOOK"}}, {"block": "slack-webhook/there"}],
            "targets": {"t": {"container": "pg", "volume": "v", "database": "d", "storages": ["near"]}},
        }
    )


def test_a_block_that_notifications_go_through_is_looked_for(tmp_path: Path) -> None:
    known = {"slack-webhook/there": "an-id"}
    found = block_diagnoses(told_through_blocks(tmp_path), known.get)
    assert [(each.subject, each.well, each.words) for each in found] == [
        (
            "notify[0]",
            False,
            "There is no Prefect block 'slack-webhook/gone' on the server: make it in Prefect's UI, or mend its name.",
        ),
        ("notify[2]", True, "The Prefect block slack-webhook/there is there."),
    ]


@pytest.mark.parametrize("api", ["", "http://127.0.0.1:1/api"])
def test_without_a_server_nothing_can_be_sent_through_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", api)
    found = [each for each in prefect_diagnoses(told_through_blocks(tmp_path)) if each.subject.startswith("notify")]
    assert [(each.subject, each.well) for each in found] == [("notify[0]", False), ("notify[2]", False)]


@pytest.mark.parametrize(
    ("pgdata", "place"),
    [
        (f"{HOME}/data", f"{HOME}/data"),
        (f"{HOME}/18/docker", HOME),
        (f"{HOME}/data/pgdata", f"{HOME}/data/pgdata"),
        ("/elsewhere/18/x", "/elsewhere/18/x"),
    ],
)
def test_the_volume_belongs_where_the_image_keeps_its_data(pgdata: str, place: str) -> None:
    assert wanted_place(pgdata) == place


@pytest.mark.parametrize(("seconds", "apart"), [(0, 0), (2, 0), (62, 60), (-60, 60)])
def test_a_clock_is_judged_by_what_the_asking_cannot_explain(seconds: int, apart: int) -> None:
    told = NOON + timedelta(seconds=seconds)
    assert off_by(told, NOON, NOON + timedelta(seconds=2)) == timedelta(seconds=apart)


def test_a_restore_needs_room_for_the_databases_once_more() -> None:
    assert enough(1_000_000, 1_000_000, "/var/lib/docker").startswith("The databases have 1.0 MB;")
    with pytest.raises(EngineError, match=r"the engine's disk \(/var/lib/docker\) has 1\.0 MB left\. Make room"):
        enough(1_000_001, 1_000_000, "/var/lib/docker")


def container(pgdata: str, *places: str) -> Container:
    mounts = [Mount(destination=each, source="", kind="volume", volume=f"v{n}") for n, each in enumerate(places)]
    return Container(
        id="1", name="pg", image_id="i", pgdata=pgdata, port=5432, mounts=mounts, addresses=[], published=[]
    )  # fmt: skip


def test_a_mount_that_was_meant_for_the_data_is_told_from_the_one_that_has_it() -> None:
    found = misplaced(container(f"{HOME}/18/docker", f"{HOME}/data", HOME))
    assert found is not None
    assert found.destination == f"{HOME}/data"
    assert misplaced(container(f"{HOME}/data", f"{HOME}/data", "/backups")) is None


def test_a_file_that_cannot_be_read_claims_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.yml", tmp_path / "b.yml"
    good.write_text("services: {db: {container_name: pg}, web: {container_name: other}, none: {image: x}}\n")
    bad.write_text("{")
    service = Service(project="p", service="web", folder=tmp_path, files=[bad, good, tmp_path / "gone.yml"])
    assert list(claimants(service, "pg")) == [(str(good), "db")]


def test_data_in_the_container_itself_is_told_with_a_line_for_docker_run() -> None:
    found = {
        "Id": "1", "Name": "/pg", "Image": "i", "Mounts": [], "NetworkSettings": {"Networks": {}, "Ports": {}},
        "HostConfig": {"NetworkMode": "bridge"}, "Config": {"Env": [f"PGDATA={HOME}/data"], "Labels": {}},
    }  # fmt: skip
    rules = Target(container="pg", volume="v", database="d", storages=["s"])
    (told,) = compose_diagnoses("t", rules, found, f"{HOME}/data", [], serves=True)
    assert not told.well
    assert "in the container pg itself, in no volume" in told.words
    assert told.lines == [f"docker run … --volume t_data:{HOME}/data"]


def made_by_compose(folder: Path, volume: str) -> dict[str, Any]:
    """The inspect JSON of a container of the project in the folder, whose data is on the volume `v`."""
    (folder / "a.yml").write_text(
        f"services: {{db: {{image: x, container_name: pg, volumes: ['v:{HOME}/data']}}}}\nvolumes: {{v: {volume}}}\n"
    )
    labels = {"project": "p", "service": "db", "project.config_files": "a.yml", "project.working_dir": str(folder)}
    mount = {"Type": "volume", "Name": "v", "Destination": f"{HOME}/data"}
    return {
        "Id": "1", "Name": "/pg", "Image": "i", "Mounts": [mount], "NetworkSettings": {"Networks": {}, "Ports": {}},
        "HostConfig": {"NetworkMode": "bridge", "Binds": [f"v:{HOME}/data"]},
        "Config": {
            "Env": [f"PGDATA={HOME}/data"],
            "Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()},
        },
    }  # fmt: skip


def test_a_service_that_can_be_started_twice_is_noted(tmp_path: Path) -> None:
    found = made_by_compose(tmp_path, "{external: true}") | {"Name": "/p-db-1"}
    pinned, note = compose_diagnoses("t", ON_V, found, f"{HOME}/data", [], serves=True)
    assert pinned.well
    assert (note.well, note.note) == (True, True)
    assert note.lines == ["services:", "  db:", "    container_name: p-db-1"]


@pytest.mark.parametrize(
    ("name", "lacks"),
    [("p-db-1", True), ("p_db_12", True), ("p-db-run-0a1b", True), ("p-db", False), ("p-db-1-x", False), ("pg", False)],
)
def test_the_names_that_compose_makes_are_known(tmp_path: Path, name: str, lacks: bool) -> None:
    service = service_of(made_by_compose(tmp_path, ""))
    assert service
    assert lacks_name(name, service) is lacks


ON_V = Target(container="pg", volume="v", database="d", storages=["s"])


@pytest.mark.parametrize("volume", ["{external: true}", "{external: True, name: v}", "{external: {name: v}}"])
def test_a_volume_that_is_external_in_any_spelling_is_well(tmp_path: Path, volume: str) -> None:
    (told,) = compose_diagnoses("t", ON_V, made_by_compose(tmp_path, volume), f"{HOME}/data", [], serves=True)
    assert told.well, told.words


def test_a_volume_whose_name_alone_is_fixed_has_its_own_sentence(tmp_path: Path) -> None:
    def told(volume: str) -> Diagnosis:
        (one,) = compose_diagnoses("t", ON_V, made_by_compose(tmp_path, volume), f"{HOME}/data", [], serves=True)
        assert not one.well
        return one

    fixed, own, driven = told("{name: v}"), told(""), told("{name: v, driver: local}")
    lacks = "The volume v belongs to its project, whose `down --volumes` removes it: it lacks external: true."
    assert fixed.words.startswith(lacks)
    assert "+ name: v" not in fixed.lines
    assert own.words.startswith("The volume v is not pinned: an up from another project starts with an empty one.")
    assert driven.words.startswith(lacks)
    assert driven.pin is None, "what the volume is made by is not thrown away by a program"


def test_compose_files_of_an_engine_elsewhere_are_not_looked_for_here(tmp_path: Path) -> None:
    """The file of that name here pins nothing, and claims the name: it is another one."""
    found = made_by_compose(tmp_path, "{}")
    other = {"Config": {"Labels": found["Config"]["Labels"] | {"com.docker.compose.project": "other"}}}
    rules = ON_V
    elsewhere = compose_diagnoses("t", rules, found, f"{HOME}/data", [other], True, "db1.example")
    assert [(each.well, each.words.partition(",")[0]) for each in elsewhere] == [
        (True, "Compose files are on db1.example")
    ]
    assert not all(each.well for each in compose_diagnoses("t", rules, found, f"{HOME}/data", [other], True))


def test_once_the_volume_is_pinned_init_scripts_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    pinning = Diagnosis(subject="t: compose file", well=False, words="", pin=Pin(target="t", container="c", volume="v"))
    scripts = [Diagnosis(subject=f"{name}: init scripts", well=False, words="", lines=["x"]) for name in ("t", "u")]
    monkeypatch.setattr(fix, "_fixed", lambda _config, each, _pin, _run: each.model_copy(update={"well": True}))
    found = fix.fixed(Config.model_construct(), [pinning, *scripts])
    assert [(each.well, each.lines) for each in found[1:]] == [(True, []), (False, ["x"])]
