"""Servers that listen in their own way: a backup takes the same way in as doctor and verify."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from tasks.checks.look import look_at_cluster, look_at_container
from tasks.doctor.examine import examine
from tasks.errors import RollcallError
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PASSWORD, USER, PostgresServer
from tests.bed.progress import wait_until
from tests.bed.target import NAME, Target, target_for

DATABASE = "knowledge_os"


def started(bed: Bed, folder: Path, command: list[str], **how: Any) -> Target:
    """A server with these arguments, and its configuration once it answers."""
    name, volume = bed.name("listening"), bed.name("listening-data")
    bed.client.volumes.create(volume, labels=bed.labels)
    bed.client.containers.run(
        images.tag(15), command, name=name, detach=True, labels=bed.labels,
        environment={"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": DATABASE},
        volumes={volume: {"bind": images.RECIPES[15].volume, "mode": "rw"}}, **how,
    )  # fmt: skip
    target = target_for(PostgresServer(name, volume, "", 15, DATABASE, ""), folder)
    rules = target.config.target(NAME)

    def answers() -> bool:
        try:
            look_at_cluster(rules, look_at_container(rules))
        except RollcallError as error:
            said.append(str(error))
            return False
        return True

    said: list[str] = []
    wait_until(answers, 120, f"an answer of {name}", lambda: said[-1] if said else "")
    return target


def assert_backed_up(target: Target) -> None:
    said = {each.subject: each for each in examine(target.config)}[f"{NAME}: pg_dump"]
    assert said.well, said.words
    assert not target.backup().quarantined


@pytest.fixture
def own_network(bed: Bed) -> Any:
    """A network whose addresses are known beforehand."""
    third = secrets.randbelow(200)
    pool = IPAMPool(subnet=f"10.213.{third}.0/24")
    network = bed.client.networks.create(
        bed.name("own"), ipam=IPAMConfig(pool_configs=[pool]), labels=bed.labels, check_duplicate=True
    )
    yield network, f"10.213.{third}.10"
    network.remove()


def test_a_server_that_listens_on_its_own_address_alone_is_backed_up(
    bed: Bed, own_network: Any, tmp_path: Path
) -> None:
    network, address = own_network
    endpoint = bed.client.api.create_endpoint_config(ipv4_address=address)
    try:
        target = started(
            bed, tmp_path, ["-c", f"listen_addresses={address}"],
            network=network.name, networking_config={network.name: endpoint},
        )  # fmt: skip
        assert_backed_up(target)
    finally:
        bed.remove_container(target_container(tmp_path))


def target_container(folder: Path) -> str:
    """The container that the configuration in the folder names."""
    return Target(folder).config.target(NAME).container


def test_a_server_with_another_port_on_its_command_line_is_backed_up(bed: Bed, tmp_path: Path) -> None:
    assert_backed_up(started(bed, tmp_path, ["-c", "port=5544"]))


def test_a_server_in_the_network_of_another_container_is_backed_up(bed: Bed, tmp_path: Path) -> None:
    lender = bed.client.containers.run(
        images.tag(15), ["-c", "sleep 1000"], entrypoint=["sh"], name=bed.name("lender"), detach=True,
        labels=bed.labels,
    )  # fmt: skip
    assert_backed_up(started(bed, tmp_path, [], network_mode=f"container:{lender.id}"))
