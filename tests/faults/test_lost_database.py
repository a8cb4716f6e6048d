"""The network or the server goes while a backup runs: it is tried again, and what cannot be had is said in time."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.bed.postgres import PostgresServer, PostgresServers
from tests.bed.progress import wait_until
from tests.bed.proxy import TcpProxy
from tests.faults.victim import Victim

pytestmark = pytest.mark.slow

Proxies = Callable[[str, int], TcpProxy]
MIB = 1 << 20


@pytest.fixture
def remote(
    victim_of: Callable[[PostgresServer], Victim], large_database: PostgresServer, tcp_proxy: Proxies
) -> tuple[Victim, TcpProxy]:
    """A target on the large database that is reached through a proxy."""
    victim = victim_of(large_database)
    proxy = tcp_proxy(large_database.host, large_database.port)
    victim.target.update(host=proxy.host, port=proxy.port)
    return victim, proxy


def test_a_connection_cut_in_the_middle_of_a_dump_is_made_again(remote: tuple[Victim, TcpProxy]) -> None:
    victim, proxy = remote
    proxy.cut_after(5 * MIB)
    outcome = victim.backup().went_well()
    assert "trying again (1 of 2)" in outcome.stderr
    assert victim.is_whole() == [outcome.document["id"]]
    victim.leaves_nothing_stored()


def test_a_connection_cut_for_good_fails_the_backup_and_the_next_succeeds(remote: tuple[Victim, TcpProxy]) -> None:
    victim, proxy = remote
    running = victim.start("backup", victim.name, "--json", at="middle of the dump", action="pause").at_the_point()
    proxy.refuse()
    proxy.cut()
    running.go_on().failed(str(proxy.port))
    victim.leaves_no_process()
    victim.leaves_nothing_stored()
    assert victim.is_whole() == []
    proxy.start()
    victim.backup().went_well()
    assert len(victim.is_whole()) == 1


@pytest.mark.parametrize("point", ["while the tally runs", "middle of the dump"])
def test_a_connection_that_stalls_ends_the_backup_at_its_deadline(remote: tuple[Victim, TcpProxy], point: str) -> None:
    victim, proxy = remote
    victim.target["deadline"] = 10
    running = victim.start("backup", victim.name, "--json", at=point, action="pause").at_the_point()
    proxy.stall()
    outcome = running.go_on().failed()
    assert outcome.seconds < 240
    proxy.resume()
    proxy.cut()
    victim.leaves_no_process()
    victim.leaves_nothing_stored()
    victim.target["deadline"] = 600
    victim.backup().went_well()
    assert len(victim.is_whole()) == 1


def test_a_server_killed_in_the_middle_of_a_dump_fails_the_backup_and_the_next_succeeds(
    victim_of: Callable[[PostgresServer], Victim], own_server: PostgresServer, postgres: PostgresServers
) -> None:
    victim = victim_of(own_server)
    running = victim.start("backup", victim.name, "--json", at="middle of the dump", action="pause").at_the_point()
    victim.engine.containers.get(own_server.container).kill()
    running.go_on().failed()
    victim.leaves_no_process()
    victim.leaves_nothing_stored()
    assert victim.is_whole() == []
    victim.engine.containers.get(own_server.container).start()
    postgres.ready(own_server)
    victim.backup().went_well()
    assert len(victim.is_whole()) == 1


def test_a_server_that_restarts_itself_after_a_crash_is_dumped_again(
    victim_of: Callable[[PostgresServer], Victim], own_server: PostgresServer
) -> None:
    victim = victim_of(own_server)
    running = victim.start("backup", victim.name, "--json", at="middle of the dump", action="pause").at_the_point()
    crash_a_session(victim, own_server)
    outcome = running.go_on().went_well()
    assert "trying again (1 of 2)" in outcome.stderr
    victim.leaves_no_process()
    victim.leaves_nothing_stored()
    assert victim.is_whole() == [outcome.document["id"]]


def crash_a_session(victim: Victim, server: PostgresServer) -> None:
    """Kill a session's process: the postmaster ends all others and starts anew, for shared memory may be spoilt."""
    with server.connect(autocommit=True) as connection:
        pid = connection.info.backend_pid
        victim.engine.containers.get(server.container).exec_run(["sh", "-c", f"kill -9 {pid}"])
    wait_until(lambda: has_restarted(server), 120, "the restart")


def has_restarted(server: PostgresServer) -> bool:
    """Whether connections are taken again, and none of the run's before the crash is left."""
    try:
        return server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rollcall'") == 0
    except psycopg.OperationalError:
        return False
