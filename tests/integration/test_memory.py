"""Memory stays flat: a backup a thousand times larger takes hardly more, whatever it is stored in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.memory import LARGE, LIMIT, NOISE, SMALL, compare, fill
from tests.bed.postgres import PostgresServer, create_database, drop_database
from tests.bed.s3 import S3Endpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def databases(postgres15: PostgresServer) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A small one and a large one."""
    small, large = create_database(postgres15, "small"), create_database(postgres15, "large")
    fill(small, SMALL)
    fill(large, LARGE, NOISE)
    yield small, large
    for each in (small, large):
        drop_database(each)


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> S3Endpoint | None:
    """Where to: None is a folder."""
    if request.param == "local":
        return None
    endpoint: S3Endpoint = request.getfixturevalue("s3_server")
    client = endpoint.client()
    client.create_bucket(Bucket="measured")
    client.close()
    return endpoint


@pytest.mark.parametrize("s3", ["local", "s3"], indirect=True)
def test_a_backup_of_gigabytes_takes_64_mib_more_than_one_of_megabytes_at_most(
    databases: tuple[PostgresServer, PostgresServer], tmp_path: Path, s3: S3Endpoint | None
) -> None:
    first, second = compare(*databases, tmp_path, s3)

    assert first.raw < 1.2 * SMALL and second.raw >= LARGE
    assert second.stored > 0.45 * NOISE, "the noise was compressed away, and filled no buffer"
    assert second.peak - first.peak <= LIMIT, f"{second.peak >> 20} MiB against {first.peak >> 20} MiB"
