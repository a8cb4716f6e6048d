"""Whether another project runs the service whose container is missing."""

import pytest

from tasks.checks.look import namesake
from tasks.config import Target
from tasks.containers.observe import Container, Mount

RULES = Target(container="proj-db-1", volume="proj_pgdata", database="d", storages=["s"])


def running(project: str | None, service: str | None, volume: str | None) -> Container:
    mount = Mount(destination="/data", source="/v", kind="volume" if volume else "bind", volume=volume)
    return Container(
        id="1", name=f"{project}-{service}-1", image_id="i", pgdata="/data", port=5432, mounts=[mount], addresses=[],
        published=[], compose_project=project, compose_service=service,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("project", "service", "volume", "alike"),
    [
        ("other", "db", "other_pgdata", True),
        ("other", "db", "proj_pgdata", False),  # then it is found by the volume
        ("other", "db", "other_files", False),
        ("other", "web", "other_pgdata", False),
        ("proj", "db", "proj_other", False),
        ("other", "db", None, False),
        (None, None, "other_pgdata", False),
    ],
)
def test_a_container_of_the_same_service_is_named(
    project: str | None, service: str | None, volume: str | None, alike: bool
) -> None:
    said = namesake(RULES, running(project, service, volume))
    assert bool(said) is alike
    if alike:
        assert "other-db-1, on volume other_pgdata" in said
        assert "start proj-db-1 from the project proj again" in said
