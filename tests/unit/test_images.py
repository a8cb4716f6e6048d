"""What an image's environment says of PostgreSQL in it."""

import pytest

from tasks.containers.images import PostgresImage, major_of, read_image


@pytest.mark.parametrize(
    ("environment", "major"),
    [
        ({"PG_MAJOR": "17", "PG_VERSION": "17.2-1.pgdg120+1"}, "17"),
        ({"PG_MAJOR": "9.6", "PG_VERSION": "9.6.24-1.pgdg90+1"}, "9.6"),
        ({"PG_VERSION": "15.4-1.pgdg120+1"}, "15"),
        ({"PG_VERSION": "18.0"}, "18"),
        ({"PG_VERSION": "9.6.24"}, "9.6"),
        ({"PG_MAJOR": "", "PG_VERSION": "16.1"}, "16"),
        ({"PG_MAJOR": "latest"}, ""),
        ({"PG_MAJOR": "9"}, ""),
        ({}, ""),
    ],
)
def test_the_major_version_is_the_one_that_the_environment_names(environment: dict[str, str], major: str) -> None:
    assert major_of(environment) == major


def test_an_image_without_pgdata_runs_no_postgresql() -> None:
    assert read_image({"Id": "1", "Config": {"Env": ["PATH=/bin", "PG_MAJOR=17"]}}) is None
    assert read_image({"Id": "1", "Config": {"Env": None}}) is None
    assert read_image({}) is None


def test_an_image_says_where_its_volume_is() -> None:
    found = {
        "Id": "sha256:1",
        "RepoTags": ["postgres:18"],
        "Created": "2026-01-01T00:00:00Z",
        "Config": {
            "Env": ["PATH=/bin", "PGDATA=/var/lib/postgresql/18/docker", "PG_MAJOR=18", "X=a=b"],
            "Volumes": {"/var/lib/postgresql": {}},
        },
    }
    assert read_image(found) == PostgresImage(
        id="sha256:1",
        tags=["postgres:18"],
        major="18",
        pgdata="/var/lib/postgresql/18/docker",
        volumes=["/var/lib/postgresql"],
        created_at="2026-01-01T00:00:00Z",
    )
