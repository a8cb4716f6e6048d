"""A backup that is damaged anywhere, in a single bit or by its length, is restored by nobody, and is named."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from flows import drill as drill_flow
from tasks.containers.engine import OUR_LABEL
from tasks.containers.scratch_place import Place
from tasks.errors import ObjectDamaged, Refused, RollcallError
from tasks.models import Manifest
from tasks.restore.drill import DrillResult
from tasks.restore.rebuild import rebuild_from_backup
from tasks.restore.source import backup_called, manifest_of
from tests.bed import images
from tests.bed.postgres import PostgresServer, create_database, drop_database
from tests.bed.target import NAME, Target, target_for

pytestmark = pytest.mark.slow

FLIPS_EACH, CUTS_EACH = 30, 8
SEED = 20261122
# Whoever gets this far has let a damage pass: there is no such image.
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def server(postgres17: PostgresServer) -> Iterator[PostgresServer]:
    made = create_database(postgres17)
    made.execute(
        "CREATE TABLE experts (id serial PRIMARY KEY, name text NOT NULL)",
        "INSERT INTO experts (name) SELECT 'expert ' || n FROM generate_series(1, 85) AS n",
        "CREATE TABLE knowledge_nodes AS SELECT n AS id, md5(n::text) FROM generate_series(1, 3000) AS n",
        "SELECT lo_from_bytea(0, 'large')",
    )
    yield made
    drop_database(made)


@pytest.fixture(scope="module")
def stored(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, Manifest]:
    target = target_for(server, tmp_path_factory.mktemp("corruption"))
    return target, target.backup()


def files_of(stored: tuple[Target, Manifest]) -> list[Path]:
    target, manifest = stored
    keys = [*(each.key for each in manifest.objects), f"{NAME}/{manifest.id}/manifest.json"]
    return [target.path(key) for key in keys]


def restore(target: Target, backup: str) -> None:
    """As a restore does it, up to the scratch server."""
    source = backup_called(target.config, NAME, backup)
    manifest = manifest_of(target.config, NAME, source)
    place = Place(destination=images.RECIPES[17].volume, pgdata=images.RECIPES[17].pgdata)
    rebuild_from_backup(target.config, NAME, manifest, source.storages, volume="nowhere", image_id=NOWHERE, place=place)


Damage = Callable[[bytes], bytes]


def flipped(bit: int) -> Damage:
    def damage(content: bytes) -> bytes:
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        return bytes(altered)

    return damage


def damages(content: bytes, chance: random.Random) -> Iterator[tuple[str, Damage]]:
    """Bits and lengths: the first and the last ones always, and as many anywhere."""
    bits = {0, 7, 8 * len(content) - 1, *(chance.randrange(8 * len(content)) for _ in range(FLIPS_EACH))}
    for bit in sorted(bits):
        yield f"bit {bit} of {8 * len(content)} flipped", flipped(bit)
    sizes = {0, 1, len(content) - 1, *(chance.randrange(len(content)) for _ in range(CUTS_EACH))}
    for size in sorted(sizes):
        yield f"cut to {size} of {len(content)} bytes", lambda whole, size=size: whole[:size]  # type: ignore[misc]
    yield "one byte more", lambda whole: whole + b"\n"


def test_no_damaged_backup_is_restored_and_each_damage_is_named(
    stored: tuple[Target, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    target, manifest = stored
    chance, met, passed = random.Random(SEED), Counter[str](), list[str]()
    for file in files_of(stored):
        whole = file.read_bytes()
        file.chmod(0o600)
        for what, damage in damages(whole, chance):
            file.write_bytes(damage(whole))
            outcome = attempt(target, manifest, file)
            met[f"{file.name}: {outcome}"] += 1
            if not outcome.startswith("named"):
                passed.append(f"{file.name}, {what}: {outcome}")
        file.write_bytes(whole)
    with capsys.disabled():
        print(
            f"\n{sum(met.values())} damages over {len(files_of(stored))} files, {len(passed)} not named (seed {SEED})"
        )
        for line, number in sorted(met.items()):
            print(f"  {number:4}  {line}")
    assert passed == []
    assert sum(met.values()) >= 200
    with pytest.raises(RollcallError, match="There is no volume nowhere"):
        restore(target, manifest.id)


def attempt(target: Target, manifest: Manifest, file: Path) -> str:
    """How a restore of the damaged backup ends: it must name the file, or the backup whose manifest it is."""
    try:
        restore(target, manifest.id)
    except (ObjectDamaged, Refused) as error:
        named = str(error)
    except RollcallError as error:
        return f"went on to the scratch server: {error}"
    else:
        return "was restored"
    by = "catalogue" if file.name == "manifest.json" else "fetch"
    return f"named by the {by}" if str(file.relative_to(target.store)) in named else f"not named: {named}"


@pytest.mark.parametrize("role", ["dump", "globals", "config"])
def test_a_damaged_object_is_not_proven_by_a_drill_and_no_server_was_started_for_it(
    role: str, stored: tuple[Target, Manifest], engine: docker.DockerClient
) -> None:
    target, manifest = stored
    key = next(each.key for each in manifest.objects if each.role == role)
    file = target.path(key)
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(flipped(8 * (len(whole) // 2))(whole))
    try:
        result = drill(target, manifest.id)
    finally:
        file.write_bytes(whole)
    assert not result.proven
    assert f"No storage gives {key} as it was stored" in str(result.reason)
    labels = [each.get("Labels") or {} for each in engine.api.containers(all=True)]
    assert not [each for each in labels if each.get(OUR_LABEL, "").startswith(target.config.owner(NAME))]


def test_the_same_backup_is_proven_once_it_is_whole_again(stored: tuple[Target, Manifest]) -> None:
    target, manifest = stored
    result = drill(target, manifest.id)
    assert result.proven, result.reason
    assert result.tables == len(manifest.tally.counts) + sum(len(each.counts) for each in manifest.databases.values())


def drill(target: Target, backup: str) -> DrillResult:
    run = getattr(drill_flow.drill, "fn", drill_flow.drill)
    result: DrillResult = run(NAME, str(target.file), backup)
    return result
