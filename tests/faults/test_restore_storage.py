"""A restore and its storages: the network goes in the middle of the fetch; nothing but the storage is left."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.bed.progress import wait_until
from tests.bed.proxy import TcpProxy
from tests.bed.s3 import S3Endpoint
from tests.faults.restore_scene import Scene, Scenes, Situation
from tests.faults.victim import Process, Victim

pytestmark = pytest.mark.slow

Proxies = Callable[[str, int], TcpProxy]
ROLLED_BACK = 4
MIDDLE = 20_000  # bytes: the dump of a scene has more than twice as many


@pytest.fixture
def proxy(s3_server: S3Endpoint, tcp_proxy: Proxies) -> TcpProxy:
    """A proxy to the S3 server."""
    parts = urlsplit(s3_server.endpoint_url)
    return tcp_proxy(parts.hostname or "", parts.port or 0)


@pytest.fixture
def only_s3(s3_server: S3Endpoint, s3_bucket: str, proxy: TcpProxy) -> Callable[[Victim], None]:
    """Lets every backup go to a bucket behind the proxy, and nowhere else."""

    def change(victim: Victim) -> None:
        victim.add_s3("offsite", s3_server, s3_bucket, f"http://127.0.0.1:{proxy.port}", timeout=2)
        victim.target["storages"] = ["offsite"]

    return change


def about_to_fetch(made: Scene) -> Process:
    """A restore whose next step is to fetch the backup; the backup of what is there before is taken by then."""
    return made.victim.start(
        "restore-volume", made.victim.name, "--yes", "--json", "--backup", latest_good(made),
        at="before rebuild", action="pause",
    ).at_the_point()  # fmt: skip


def latest_good(made: Scene) -> str:
    """The id of the backup that the scene began with."""
    good = [each for each in made.victim.listed()["backups"] if not each["quarantined"]]
    return str(good[0]["id"])


def test_a_network_that_goes_in_the_middle_of_the_fetch_costs_nothing(
    scenes: Scenes, only_s3: Callable[[Victim], None], proxy: TcpProxy
) -> None:
    with scenes("restore", 17, storages=only_s3) as made:
        running = about_to_fetch(made)
        proxy.cut_after(MIDDLE, "down")
        before = proxy.bytes_down
        gone = threading.Thread(target=refuse_after, args=(proxy, before + MIDDLE))
        gone.start()
        outcome = running.go_on()
        gone.join()
        assert outcome.code == ROLLED_BACK, outcome.stderr
        assert "offsite" in outcome.sentence
        assert "all is as it was before" in outcome.sentence
        assert made.is_consistent() == "old"
        assert made.staging() == [], "an unproven staging volume is removed"
        proxy.start()
        made.restore("--backup", latest_good(made)).went_well()
        assert made.is_consistent() == "new"


def refuse_after(proxy: TcpProxy, passed: int) -> None:
    """Once so many bytes have come, the bucket is away."""
    wait_until(lambda: proxy.bytes_down >= passed, 60, "the middle of the fetch")
    proxy.refuse()
    proxy.cut()


def test_a_fetch_that_stalls_is_given_up(scenes: Scenes, only_s3: Callable[[Victim], None], proxy: TcpProxy) -> None:
    with scenes("restore", 15, storages=only_s3) as made:
        running = about_to_fetch(made)
        proxy.stall()
        outcome = running.go_on()
        proxy.cut()
        assert outcome.code == ROLLED_BACK, outcome.stderr
        assert "offsite" in outcome.sentence
        assert made.is_consistent() == "old"


def test_a_fetch_that_is_cut_once_goes_on(scenes: Scenes, only_s3: Callable[[Victim], None], proxy: TcpProxy) -> None:
    with scenes("restore", 18, storages=only_s3) as made:
        running = about_to_fetch(made)
        proxy.cut_after(MIDDLE, "down")
        running.go_on().went_well()
        assert made.is_consistent() == "new"
        made.other_copy("new")


@pytest.mark.parametrize(("situation", "version"), [("restore", 17), ("both", 15)])
def test_configuration_and_storage_alone_bring_the_database_back(
    scenes: Scenes, only_s3: Callable[[Victim], None], situation: Situation, version: int
) -> None:
    """The state folder (history, pins, journals) and the local copies went with the old disk."""
    with scenes(situation, version, storages=only_s3) as made:
        for each in ("state", "near"):
            shutil.rmtree(made.victim.folder / each, ignore_errors=True)
        assert not (made.victim.folder / "state").exists()
        report = made.restore().went_well().document
        assert report["plan"]["situation"] == situation
        assert report["counts"]["knowledge_os"]["public.experts"] == 85
        assert made.is_consistent() == "new"
        made.other_copy("new")
