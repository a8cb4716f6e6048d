"""Somebody else on the pinned volume: a second server is critical, a helper that has it mounted is a notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.containers.engine import OUR_LABEL
from tasks.containers.neighbours import look_around
from tasks.watching.sighting import sight
from tasks.watching.telling import certain
from tests.bed import images
from tests.bed.labels import Bed, pause
from tests.bed.postgres import PASSWORD, USER, PostgresServer, PostgresServers
from tests.bed.progress import wait_until
from tests.bed.target import NAME, Target, target_for

PGDATA = images.RECIPES[15].volume
FAST = ["-c", "fsync=off"]
Second = Callable[..., str]


@pytest.fixture
def server(postgres: PostgresServers) -> PostgresServer:
    started = postgres(version=15, command=FAST)
    started.execute("CREATE TABLE experts AS SELECT generate_series(1, 85) AS id")
    return started


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    made = target_for(server, tmp_path)
    assert made.verify().verdict != "critical"
    return made


@pytest.fixture
def second(bed: Bed) -> Iterator[Second]:
    """Starts another container of the image, by default with a server on what is mounted; returns its name."""
    made: list[str] = []

    def start(mount: str, destination: str = PGDATA, mode: str = "rw", **given: Any) -> str:
        name = bed.name("second")
        made.append(name)
        options: dict[str, Any] = {
            "name": name,
            "environment": {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD},
            "labels": bed.labels | given.pop("labels", {}),
            "volumes": {mount: {"bind": destination, "mode": mode}} if mount else {},
            "command": FAST,
        }
        box = bed.client.containers.create(images.tag(15), **options | given)
        box.start()
        if "command" not in given and "entrypoint" not in given:
            wait_until(lambda: b"ready to accept connections" in box.logs(), 120, "the second server", box.logs)
        return name

    yield start
    for name in made:
        bed.remove_container(name)


def shared(target: Target) -> list[tuple[str, str]]:
    """Severity and message of each `volume.shared` that a check finds."""
    return [(each.severity, each.message) for each in target.verify().findings if each.code == "volume.shared"]


def volume_folder(bed: Bed, name: str) -> str:
    return str(bed.client.api.inspect_volume(name)["Mountpoint"])


def test_a_second_server_on_the_volume_is_critical_until_it_stops(
    bed: Bed, server: PostgresServer, target: Target, second: Second
) -> None:
    other = second(server.volume, labels={"com.docker.compose.project": "two"})
    result = target.verify()
    found = [each for each in result.findings if each.code == "volume.shared"]
    assert result.verdict == "critical"
    assert [each.severity for each in found] == ["critical"]
    assert f"{other} (compose project two)" in found[0].message
    assert f"docker stop {other}" in found[0].message

    manifest = target.backup()
    assert manifest.quarantined, "the data may be damaged"
    assert "volume.shared" in {each.code for each in manifest.findings}

    pause(bed.client.containers.get(other))
    [(severity, message)] = shared(target)
    assert (severity, f"{other} (compose project two, paused)" in message) == ("critical", True)

    bed.client.containers.get(other).kill()
    wait_until(lambda: not shared(target), 30, "the end of it", lambda: str(shared(target)))
    assert not target.backup().quarantined


def test_a_second_server_is_seen_by_whatever_way_it_came_to_the_data(
    bed: Bed, server: PostgresServer, target: Target, second: Second
) -> None:
    folder, alias = volume_folder(bed, server.volume), bed.name("alias")
    options = {"type": "none", "o": "bind", "device": folder}
    bed.client.volumes.create(alias, driver_opts=options, labels=bed.labels)
    try:
        # A process that is called as the server is and leaves the files alone: five servers would damage them.
        named = "exec -a postgres bash -c 'sleep 300; :'"
        ways: list[tuple[str, str, dict[str, Any]]] = [
            (folder, PGDATA, {}),
            (folder, "/srv/pg", {"environment": {"PGDATA": "/srv/pg"}}),
            (str(Path(folder).parent), "/srv", {"environment": {"PGDATA": "/srv/_data"}}),
            (alias, PGDATA, {}),
            ("", "", {"volumes_from": [server.container]}),
            (folder, "/other", {"command": ["-c", f"{named} -D /other"]}),
        ]
        for mount, destination, given in ways:
            other = second(mount, destination, **{"entrypoint": "bash", "command": ["-c", named]} | given)
            wait_until(lambda: [each for each, _ in shared(target)] == ["critical"], 60, f"{mount} {given} is seen")
            bed.remove_container(other)
        assert not shared(target)
    finally:
        bed.remove_volume(alias)


def test_a_container_that_runs_no_server_on_the_volume_is_no_alarm(
    bed: Bed, server: PostgresServer, target: Target, second: Second
) -> None:
    sleeping = {"entrypoint": "sleep", "command": ["300"]}
    helper = second("", volumes_from=[server.container], **sleeping)
    assert [severity for severity, _ in shared(target)] == ["notice"]
    assert helper in shared(target)[0][1]
    assert not target.backup().quarantined
    bed.remove_container(helper)

    second(server.volume, "/data", "ro", **sleeping)  # It cannot write.
    second("/var/lib/docker", "/host", **sleeping)  # It looks at the whole host.
    second(server.volume, "/backups", environment={"PGDATA": "/own", "POSTGRES_PASSWORD": PASSWORD}, command=FAST)
    stopped = second(server.volume, **sleeping)
    bed.client.containers.get(stopped).kill()
    second(server.volume, labels={OUR_LABEL: "a test"}, **sleeping)
    wait_until(lambda: [severity for severity, _ in shared(target)] == ["notice"], 30, "one that could write")


def test_whoever_starts_again_and_again_is_judged_by_what_it_runs(
    bed: Bed, server: PostgresServer, target: Target, second: Second
) -> None:
    forever = {"Name": "always"}
    other = second(server.volume, restart_policy=forever, command=["postgres", "-c", "no_such_setting=1"])
    wait_until(lambda: bed.client.containers.get(other).status == "restarting", 60, "a crash loop")
    assert [severity for severity, _ in shared(target)] == ["critical"]


def test_a_container_that_is_down_is_not_to_be_started_beside_another(
    bed: Bed, server: PostgresServer, target: Target, second: Second
) -> None:
    other = second(server.volume)
    bed.client.containers.get(server.container).kill()
    [(severity, message)] = shared(target)
    assert severity == "critical"
    assert f"{server.container} does not run: do not start it" in message
    assert f"If {other} is not the one that people use, first: docker stop {other}" in message
    seen = sight(bed.client, target.config.target(NAME), look_around(bed.client))
    assert (seen.servers, seen.own) == ((other,), "down")
    assert certain(NAME, target.config.target(NAME), seen) is None, "it is the only server there"
