"""A Prefect server of `serve` that lives and answers nothing: it is ended, and started again."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.tracking import answers
from tests.bed.postgres import PostgresServer
from tests.bed.progress import wait_until
from tests.bed.serving import children_of, own_ports, served
from tests.bed.target import NAME, target_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SECONDS = 800


def test_a_server_that_hangs_is_ended_and_started_again(
    postgres15: PostgresServer,
    fresh_database: Callable[[PostgresServer], PostgresServer],
    tmp_path: Path,
) -> None:
    shop = fresh_database(postgres15)
    shop.execute("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 42) n")
    target = target_for(shop, tmp_path, databases=[shop.database], roles=False)
    document = json.loads(target.file.read_text()) | own_ports(grace=30)
    document |= {"schedules": dict.fromkeys(("backup", "verify", "drill"), "never")}
    target.file.write_text(json.dumps(document))
    with served(target.file) as here:
        (server,) = children_of(here.process.pid, "leashed_server")
        os.kill(server, signal.SIGSTOP)
        words = "gave no answer for 300 s, and was ended"
        wait_until(lambda: words in here.log.read_text(), SECONDS, "that it is noticed", here.log.read_text)
        wait_until(lambda: answers(here.said["api"]), SECONDS, "its return", here.log.read_text)
        assert children_of(here.process.pid, "leashed_server") != [server]
        assert here.run("verify", NAME)["state"]["type"] == "COMPLETED"
        assert "Traceback" not in here.log.read_text()
        assert here.stop() == 0
