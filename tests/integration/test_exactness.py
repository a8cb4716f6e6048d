"""Every backup, restored elsewhere with stock tools, holds exactly what its manifest says, under any write load."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.databases.connect import Login
from tasks.databases.tally import frozen
from tasks.models import Manifest, Tally
from tests.bed.postgres import PostgresServer, PostgresServers, drop_database
from tests.bed.stock import restore_new
from tests.bed.target import Target, target_for
from tests.bed.writer import BOTH_SIDES, LOCKSTEP_ROWS, Writer

pytestmark = pytest.mark.slow

BACKUPS = 20
FAST = ["-c", "fsync=off"]


@pytest.fixture(params=(15, 18))
def server(request: pytest.FixtureRequest, postgres: PostgresServers) -> PostgresServer:
    return postgres(version=request.param, command=FAST)


@pytest.fixture
def elsewhere(server: PostgresServer, request: pytest.FixtureRequest) -> PostgresServer:
    shared: PostgresServer = request.getfixturevalue(f"postgres{server.version}")
    return shared


@pytest.fixture
def target(server: PostgresServer, tmp_path: Path) -> Target:
    return target_for(server, tmp_path, databases=[], roles=False, retention={"last": BACKUPS + 1})


def tally_of(server: PostgresServer) -> Tally:
    login = Login(server.host, server.port, server.user, server.password, server.database)
    with frozen(login, lock_wait=10) as held:
        return held.tally()


def differences(said: Tally, found: Tally) -> Iterator[str]:
    """Whatever a restored database holds that its manifest does not say, and the other way round."""
    for what in ("counts", "sequences", "schema_objects", "materialized_views"):
        before, after = getattr(said, what), getattr(found, what)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"{what} {name}: {before.get(name)} in the manifest, {after.get(name)} restored"
    if said.large_objects != found.large_objects:
        yield f"large objects: {said.large_objects} in the manifest, {found.large_objects} restored"
    if said.schema_fingerprint != found.schema_fingerprint:
        yield "schema fingerprint"


def mixed(restored: PostgresServer, tally: Tally) -> Iterator[str]:
    """What cannot be at any one instant."""
    if tally.counts["app.lockstep"] != LOCKSTEP_ROWS:
        yield f"lockstep: {tally.counts['app.lockstep']} rows"
    if tally.counts["app.left_side"] + tally.counts["app.right_side"] != BOTH_SIDES:
        yield "the two sides"
    if restored.value("SELECT sum(balance) FROM app.accounts") != 0:
        yield "the balances"


def dump_of(target: Target, manifest: Manifest) -> Path:
    return target.path(next(each.key for each in manifest.objects if each.role == "dump"))


def test_every_backup_restores_to_exactly_its_tally_while_others_write(
    server: PostgresServer,
    elsewhere: PostgresServer,
    target: Target,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "rollcall")
    compared, wrong, counts = 0, list[str](), set[tuple[tuple[str, int], ...]]()
    with Writer(server) as writer:
        manifests = [target.backup() for _ in range(BACKUPS)]
        writer.check()
        turns = dict(writer.turns)
    writer.check()
    for manifest in manifests:
        restored = restore_new(elsewhere, dump_of(target, manifest))
        found = tally_of(restored)
        wrong += [f"{manifest.id} {each}" for each in differences(manifest.tally, found)]
        wrong += [f"{manifest.id} {each}" for each in mixed(restored, found)]
        compared += len(found.counts)
        counts.add(tuple(found.counts.items()))
        drop_database(restored)
    again = sum("Once more" in record.message for record in caplog.records)
    with capsys.disabled():
        print(
            f"\nPostgreSQL {server.version}: {len(manifests)} backups, {compared} tables compared, "
            f"{len(wrong)} differences; {sum(turns.values())} transactions meanwhile, {again} second attempts"
        )
    assert wrong == []
    assert len(counts) == BACKUPS, "the writer did not change anything between two backups"
