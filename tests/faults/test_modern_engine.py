"""What asks most of an engine, once more on that of Debian 13; the suite itself runs on the one that is here."""

from __future__ import annotations

import pytest

from tests.bed.modern_engine import modern_engine

VERSION = "26."
SECONDS = 2400
FILES = (
    "tests/integration/test_at_rest.py",
    "tests/integration/test_recreate.py",
    "tests/integration/test_volumes.py",
    "tests/integration/test_exchange.py",
    "tests/integration/test_clusters.py",
    "tests/integration/test_scratch.py",
    "tests/faults/test_killed_in_a_stop.py",
)
# Its user may talk to this machine's own /var/run/docker.sock, and not to a socket in a test's folder.
LEFT_OUT = "tests/integration/test_exchange.py::test_a_user_who_may_only_talk_to_the_engine_exchanges_by_helper"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_what_asks_most_of_an_engine_holds_on_that_of_the_next_debian() -> None:
    with modern_engine() as engine:
        client = engine.client()
        assert client.version()["Version"].startswith(VERSION)
        client.close()
        ran = engine.test(["-m", "not slow", "-q", "-p", "no:cacheprovider", "--deselect", LEFT_OUT, *FILES], SECONDS)
    assert ran.returncode == 0, ran.stdout[-20000:] + ran.stderr[-2000:]
