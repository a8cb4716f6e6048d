"""Which cluster is it? Real containers and volumes, mixed up in every way that people do it."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.checks.acceptance import accept_present
from tasks.containers.engine import OUR_LABEL
from tasks.history.store import open_history
from tasks.models import CheckResult
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.shell import shell
from tests.bed.target import NAME, Target, target_for

FAST = ["-c", "fsync=off"]
EXPERTS = 85
FLOORS = {"tables": {"experts": {"min": 80}}}


def fill(server: PostgresServer, rows: int = EXPERTS) -> None:
    server.execute("CREATE TABLE experts (id int)", f"INSERT INTO experts SELECT generate_series(1, {rows})")


@pytest.fixture
def server(postgres: PostgresServers) -> PostgresServer:
    started = postgres(version=15, command=FAST)
    fill(started)
    return started


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    return target_for(server, tmp_path, **FLOORS)


def told(result: CheckResult) -> dict[str, str]:
    """Severity by code, without what a target without a backup is told each time."""
    return {each.code: each.severity for each in result.findings if each.code != "backup.missing"}


def is_well(result: CheckResult) -> bool:
    return set(told(result).values()) <= {"notice"}


def message(result: CheckResult, code: str) -> str:
    return next(each.message for each in result.findings if each.code == code)


def pinned(target: Target) -> str | None:
    with open_history(target.config.history) as history:
        pin = history.pin(NAME)
    return pin.system_identifier if pin else None


def in_volumes(bed: Bed, script: str, **volumes: str) -> None:
    """Run a line of shell as root with volumes at /NAME."""
    shell(bed.client, images.tag(15), script, labels=bed.labels, **volumes)


def again(bed: Bed, postgres: PostgresServers, server: PostgresServer, **given: object) -> PostgresServer:
    """A new container of the same name in the place of the old one."""
    bed.remove_container(server.container)
    options: dict[str, object] = {"container": server.container, "volume": server.volume, "command": FAST}
    return postgres(server.version, server.database, **(options | given))  # type: ignore[arg-type]


def test_first_sight_with_floors_met_pins_the_cluster_once(target: Target) -> None:
    first, second = target.verify(), target.verify()
    assert first.identity is not None
    assert told(first) == {"cluster.pinned": "notice"}
    assert told(second) == {}
    assert pinned(target) == first.identity.system_identifier


def test_first_sight_below_the_floors_is_critical_and_pins_nothing(server: PostgresServer, target: Target) -> None:
    server.execute("DELETE FROM experts WHERE id > 1")
    result = target.verify()
    assert told(result) == {"rows.below_min": "critical"}
    assert pinned(target) is None
    server.execute("INSERT INTO experts SELECT generate_series(2, 85)")
    assert told(target.verify()) == {"cluster.pinned": "notice"}


def test_fresh_cluster_under_the_same_volume_name_is_critical(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    assert is_well(target.verify())
    before = pinned(target)
    bed.remove_container(server.container)
    bed.remove_volume(server.volume)
    fill(again(bed, postgres, server))
    result = target.verify()
    assert told(result)["cluster.changed"] == "critical"
    assert pinned(target) == before
    assert str(before) in message(result, "cluster.changed")


def test_accept_after_a_planned_change_makes_the_new_cluster_the_one(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    target.verify()
    bed.remove_container(server.container)
    bed.remove_volume(server.volume)
    fill(again(bed, postgres, server), 82)
    seen = target.verify()
    assert seen.verdict == "critical"
    accept_present(target.config, NAME, "moved on purpose", "a test", seen.checked_at.replace(microsecond=0), None)
    assert told(target.verify()) == {}


def test_older_copy_of_the_right_volume_is_critical(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    copy = bed.name("copy")
    bed.client.volumes.create(copy, labels=bed.labels)
    box = bed.client.containers.get(server.container)
    target.verify()
    box.stop(timeout=120)
    in_volumes(bed, "cp -a /data/. /copy/", data=server.volume, copy=copy)
    box.start()
    server = postgres.ready(server)
    server.execute("CREATE TABLE later AS SELECT generate_series(1, 1000) AS i", "CHECKPOINT")
    assert is_well(target.verify())
    box.stop(timeout=120)
    in_volumes(bed, "find /data -mindepth 1 -delete; cp -a /copy/. /data/", data=server.volume, copy=copy)
    box.start()
    postgres.ready(server)
    result = target.verify()
    bed.remove_volume(copy)
    assert told(result)["cluster.rewound"] == "critical"


def test_renamed_container_on_the_right_volume_is_healthy_with_a_notice(
    bed: Bed, server: PostgresServer, target: Target
) -> None:
    target.verify()
    box = bed.client.containers.get(server.container)
    box.rename(f"{server.container}-renamed")
    try:
        result = target.verify()
    finally:
        box.rename(server.container)
    assert result.verdict != "critical"
    assert told(result) == {"container.renamed": "notice"}


def test_a_stray_on_the_volume_neither_hides_a_renamed_container_nor_passes_for_it(
    bed: Bed, server: PostgresServer, target: Target
) -> None:
    target.verify()
    box, renamed = bed.client.containers.get(server.container), bed.name("renamed")
    strays = [
        bed.client.containers.run(
            images.tag(15), ["300"], entrypoint="sleep", detach=True, name=bed.name("stray"), labels=bed.labels | more,
            volumes={server.volume: {"bind": images.RECIPES[15].volume, "mode": mode}},
        )
        for more, mode in (({}, "ro"), ({OUR_LABEL: "a test"}, "rw"))
    ]  # fmt: skip
    try:
        box.rename(renamed)
        assert "container.renamed" in told(target.verify())
        box.kill()
        assert "container.missing" in told(target.verify())
    finally:
        box.rename(server.container)
        for each in strays:
            bed.remove_container(str(each.name))


def test_another_compose_project_on_the_right_volume_is_healthy_with_a_notice(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    target.verify()
    again(bed, postgres, server, labels={"com.docker.compose.project": "bed-project"})
    result = target.verify()
    assert told(result) == {"project.changed": "notice"}
    assert "bed-project" in message(result, "project.changed")


def test_wrong_volume_is_named_beside_the_right_one(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    target.verify()
    wrong = bed.name("knowledge_os_postgres_data")
    fill(again(bed, postgres, server, volume=wrong), 1)
    result = target.verify()
    assert told(result)["volume.mismatch"] == "critical"
    assert wrong in message(result, "volume.mismatch")
    assert server.volume in message(result, "volume.mismatch")


def test_data_in_a_bind_mount_is_critical(bed: Bed, server: PostgresServer, tmp_path: Path) -> None:
    """The pinned volume exists all the while, and is mounted too: elsewhere."""
    folder = tmp_path / "pgdata"
    folder.mkdir()
    name = bed.name("bound")
    bed.client.containers.run(
        images.tag(15),
        FAST,
        name=name,
        detach=True,
        labels=bed.labels,
        environment={"POSTGRES_USER": server.user, "POSTGRES_PASSWORD": server.password, "POSTGRES_DB": "knowledge_os"},
        volumes={
            str(folder): {"bind": "/var/lib/postgresql/data", "mode": "rw"},
            server.volume: {"bind": "/var/lib/elsewhere", "mode": "ro"},
        },
    )
    try:
        bound = PostgresServers(bed).ready(replace(server, container=name))
        fill(bound)
        result = target_for(bound, tmp_path / "bound", **FLOORS).verify()
    finally:
        bed.remove_container(name)
    assert told(result)["volume.mismatch"] == "critical"
    assert f"in the host's folder {folder}" in message(result, "volume.mismatch")
    assert f"write `folder: {folder}` instead of `volume: {server.volume}`" in message(result, "volume.mismatch")
    assert f"where {name} belongs" in message(result, "volume.shared"), "the other server is on it"


def test_lost_history_is_rebuilt_from_manifests_and_still_catches_the_wrong_cluster(
    bed: Bed, postgres: PostgresServers, server: PostgresServer, target: Target
) -> None:
    manifest = target.backup()
    target.history.unlink()
    right = target.verify()
    assert right.verdict == "healthy"
    assert told(right) == {}
    assert pinned(target) == manifest.identity.system_identifier
    target.history.unlink()
    bed.remove_container(server.container)
    bed.remove_volume(server.volume)
    fill(again(bed, postgres, server))
    assert told(target.verify())["cluster.changed"] == "critical"


def test_loss_latches_until_the_rows_are_back(server: PostgresServer, target: Target) -> None:
    server.execute("CREATE TABLE nodes AS SELECT generate_series(1, 26337) AS id")
    assert is_well(target.verify())
    server.execute("DELETE FROM nodes WHERE id > 10001")
    for _ in range(4):
        assert told(target.verify()) == {"rows.dropped": "critical"}
    server.execute("INSERT INTO nodes SELECT generate_series(10002, 26337)")
    assert told(target.verify()) == {}


def test_volume_above_pgdata_is_found_as_the_longest_prefix(postgres: PostgresServers, tmp_path: Path) -> None:
    server = postgres(version=18, command=FAST, volume=None, container=f"pg18-prefix-{secrets.token_hex(3)}")
    fill(server)
    result = target_for(server, tmp_path, **FLOORS).verify()
    assert result.identity is not None
    assert result.identity.pgdata == "/var/lib/postgresql/18/docker"
    assert result.identity.volume == server.volume
    assert told(result) == {"cluster.pinned": "notice"}
