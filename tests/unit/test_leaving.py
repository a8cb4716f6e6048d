"""When a backup holds every row of a volume, and what a `down` does with each: every fact that tells, one at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.containers.clusters import ClusterVolume
from tasks.containers.compose_project import DeclaredVolume, Project
from tasks.containers.control_file import ControlFile
from tasks.containers.other_files import OtherFiles
from tasks.containers.volumes import Volume
from tasks.errors import Refused
from tasks.leaving.coverage import covering, uncovered
from tasks.leaving.facts import Box, Concerned, Earlier, Holding, Stored, World
from tasks.leaving.look import stored_of
from tasks.leaving.plan import DownPlan, as_approved, make_plan
from tasks.leaving.report import DownReport
from tasks.leaving.words import down_lines, plan_text
from tasks.models import Manifest
from tasks.storage.catalogue import Entry

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
VOLUME = "atra_data"


def control(**given: Any) -> ControlFile:
    known = {
        "system_identifier": "7000",
        "control_version": 1300,
        "catalog_version": 202209061,
        "state": "shut down",
        "checkpoint_lsn": "1/10",
        "timeline": 1,
        "changed_at": NOW,
        "next_xid": 800,
    }
    return ControlFile.model_validate(known | given)


def stored(**given: Any) -> Stored:
    known = {
        "id": "B",
        "created_at": NOW,
        "quarantined": False,
        "whole": True,
        "proven_at": NOW,
        "system_identifier": "7000",
        "timeline": 1,
        "settled_xid": 800,
        "volume": VOLUME,
    }
    return Stored.model_validate(known | given)


def cluster(path: str = "", **given: Any) -> ClusterVolume:
    volume = Volume(name=VOLUME, driver="local", labels={}, options={}, created_at="", mountpoint="", users=[])
    return ClusterVolume(volume=volume, path=path, major="17", control=control(**given), bytes=47_000_000)


def test_a_proven_backup_since_which_no_transaction_had_an_id_holds_all() -> None:
    assert covering(control(), VOLUME, [stored()]) == stored()


@pytest.mark.parametrize(
    ("cluster_is", "backup_is", "why"),
    [
        ({"next_xid": 801}, {}, "something was written after backup B of 2026-02-01 12:00:00 UTC"),
        ({"next_xid": 799}, {}, "something was written after backup B"),
        ({}, {"settled_xid": None}, "somebody was writing when backup B began"),
        ({"next_xid": None}, {}, "something was written after"),
        ({"state": "in production"}, {}, "its server was not shut down in order (in production)"),
        ({"state": "shut down in recovery"}, {}, "its server was not shut down in order (shut down in recovery)"),
        ({"sound": False}, {}, "its control file is damaged"),
        ({"timeline": 2}, {}, "something was written after"),
        ({}, {"volume": "a copy of it"}, "no backup of it is stored"),
        ({}, {"system_identifier": "7001"}, "no backup of it is stored"),
        ({}, {"proven_at": None}, "its newest backup, B, is not proven"),
        ({}, {"quarantined": True}, "its newest backup, B, is quarantined"),
        ({}, {"whole": False}, "its newest backup, B, does not hold every database, table and role"),
    ],
)
def test_every_other_fact_makes_it_uncertain(cluster_is: dict[str, Any], backup_is: dict[str, Any], why: str) -> None:
    found, backup = control(**cluster_is), stored(**backup_is)
    assert covering(found, VOLUME, [backup]) is None
    assert uncovered(found, VOLUME, [backup]).startswith(why)


def holding(**given: Any) -> Holding:
    return Holding.model_validate({"name": VOLUME, "key": "data", "clusters": [cluster()], "targets": ["k"]} | given)


def concerned(**given: Any) -> Concerned:
    known = {"name": "k", "pinned": VOLUME, "box": "pg", "answers": True, "serves_from": VOLUME}
    return Concerned.model_validate(known | given)


def plan(
    *holdings: Holding, targets: list[Concerned] | None = None, boxes: list[Box] | None = None, remove: bool = True
) -> DownPlan:
    declared = [DeclaredVolume(key=each.key, name=each.name, external=each.external) for each in holdings if each.key]
    project = Project(
        name="atra", folder=Path("/srv/atra"), command=["docker-compose"], options=[], services=["db"], volumes=declared
    )
    known = [concerned()] if targets is None else targets
    return make_plan(World(project=project, boxes=boxes or [], holdings=list(holdings), targets=known), remove)


def test_a_database_goes_once_proven_and_without_the_option_stays() -> None:
    made = plan(holding())
    assert (made.volumes[0].fate, made.backups, made.blockers) == ("goes once proven", {"k": None}, [])
    stays = plan(holding(), remove=False)
    assert (stays.volumes[0].fate, stays.backups, stays.blockers) == ("stays", {"k": None}, [])


EARLIER = Earlier(at=NOW, folder="/srv/atra", ids=["1"], starts=["pg"], left=["The container old is not started."])


def after_a_killed_one(remove: bool = True, without_backup: bool = False) -> DownPlan:
    silent = concerned(answers=False, why_silent="It does not run.")
    project = Project(
        name="atra", folder=Path("/srv/atra"), command=["docker-compose"], options=[], services=["db"], volumes=[]
    )
    world = World(project=project, boxes=[], holdings=[holding()], targets=[silent], earlier=EARLIER)
    return make_plan(world, remove, without_backup)


def test_what_a_killed_down_stopped_is_in_the_plan_and_backed_up_once_it_runs() -> None:
    made = after_a_killed_one()
    assert (made.blockers, made.backups, made.notes) == ([], {"k": None}, [])
    assert "Stopped on 2026-02-01 12:00 UTC by a down that was killed:\n  pg: started again first" in plan_text(made)
    assert "  The container old is not started." in plan_text(made)
    assert after_a_killed_one(remove=False, without_backup=True).backups == {}


def test_a_plan_that_is_not_the_approved_one_once_all_runs_again_is_refused() -> None:
    approved = after_a_killed_one()
    assert as_approved(approved, plan(holding())).earlier == EARLIER
    with pytest.raises(Refused, match="k was to be backed up first, and does not answer"):
        as_approved(approved, plan(holding(), targets=[concerned(answers=False)], remove=False))
    with pytest.raises(Refused, match=r"More volumes would go than were approved: cache"):
        as_approved(approved, plan(holding(), holding(name="cache", key="cache", clusters=[], empty=True, targets=[])))


def test_an_external_volume_stays_whatever_is_asked() -> None:
    made = plan(holding(external=True))
    assert (made.volumes[0].fate, made.going, made.blockers) == ("stays", [], [])


def test_an_ordinary_volume_goes_and_an_undeclared_one_stays() -> None:
    cache = holding(name="cache", clusters=[], targets=[], known_by=["app"])
    old = holding(name="old", key=None, clusters=[], targets=[], known_by=["app"])
    assert [each.fate for each in plan(cache, old).volumes] == ["goes", "stays"]


@pytest.mark.parametrize(
    ("holding_is", "why"),
    [
        ({"known_by": ["pg"], "beside_data": True}, "a tablespace, or its log, may be in it"),
        ({"known_by": []}, "no container of the project is there any more to show what it is for"),
        ({"known_by": []}, "docker volume rm more"),
        ({"known_by": ["app"], "strangers": ["other"]}, "mounted by other"),
    ],
)
def test_a_volume_that_may_be_needed_stays(holding_is: dict[str, Any], why: str) -> None:
    (found,) = plan(holding(name="more", clusters=[], targets=[], **holding_is), targets=[]).volumes
    assert found.fate == "stays"
    assert why in found.why


def test_what_stayed_says_why_when_it_is_over() -> None:
    made = plan(holding(name="more", clusters=[], targets=[], known_by=[]), targets=[])
    lines = down_lines(DownReport(project="atra", outcome="down", plan=made, approved_by="somebody"))
    assert [each for each in lines if "Still there: more (no container of the project is there any more" in each]


def test_a_database_that_allows_no_connections_is_in_no_backup() -> None:
    """So a backup of its cluster is nothing to remove a volume by."""
    tally = {"counts": {}}
    manifest = Manifest.model_validate(
        {
            "id": "b", "target": "k", "created_at": "2026-11-01T00:00:00Z", "verdict": "healthy", "quarantined": False,
            "method": "dump", "server_version": "17", "database": "k", "objects": [], "tally": tally,
            "databases": {"postgres": tally},
            "identity": {
                "container": "pg", "volume": VOLUME, "system_identifier": "1", "timeline": 1, "checkpoint_lsn": "0/1",
                "server_version": "17",
            },
        }
    )  # fmt: skip

    def whole(**databases: bool) -> bool:
        known = {name: {"allow_connections": allowed} for name, allowed in databases.items()}
        return stored_of(Entry(manifest.model_copy(update={"cluster": {"databases": known}}), ["near"], None)).whole

    assert whole(k=True, postgres=True, template0=False)
    assert not whole(k=True, postgres=True, template0=False, archive=False)


@pytest.mark.parametrize(
    ("holding_is", "target_is", "why"),
    [
        ({"targets": []}, {}, "belongs to no target"),
        ({"clusters": None}, {}, "cannot be looked into"),
        ({"clusters": [], "expects_data": True}, {}, "no cluster in it can be read"),
        ({"strangers": ["other_pg"]}, {}, "is mounted by other_pg, which is not of project atra"),
        ({}, {"pinned": "another"}, "the pinned volume is another: mend that first"),
        (
            {},
            {"answers": False, "why_silent": "It is down."},
            "no backup of it is stored. It is down. Have its database",
        ),
        ({}, {"serves_from": "wrong_data"}, "Its target k is on wrong_data now"),
    ],
)
def test_a_precious_volume_that_cannot_be_proven_is_in_the_way(
    holding_is: dict[str, Any], target_is: dict[str, Any], why: str
) -> None:
    (blocker,) = plan(holding(**holding_is), targets=[concerned(**target_is)]).blockers
    assert why in blocker
    assert plan(holding(**holding_is), targets=[concerned(**target_is)], remove=False).blockers == []


def test_files_that_no_backup_holds_are_in_the_way_and_named() -> None:
    others = [OtherFiles(path=path, files=1, bytes=4096) for path in ("uploads/", "db/server.key", "a", "b")]
    (blocker,) = plan(holding(others=others)).blockers
    assert "volume atra_data also holds uploads/, db/server.key, a and 1 more (4 files, 16 kB), which no" in blocker
    stays = plan(holding(others=others), remove=False)
    assert stays.blockers == []
    assert "; also uploads/, db/server.key, a and 1 more" in plan_text(stays)


def test_another_cluster_in_the_volume_is_in_the_way_unless_a_backup_holds_it() -> None:
    both = holding(clusters=[cluster("17/docker", system_identifier="6999"), cluster("18/docker")])
    (blocker,) = plan(both, targets=[concerned(serves_path="18/docker")]).blockers
    assert "every row of the folder 17/docker in the volume atra_data: no backup of it is stored" in blocker
    assert "copy this one elsewhere" in blocker


def test_a_stopped_database_goes_by_the_backup_that_already_holds_it() -> None:
    made = plan(holding(), targets=[concerned(answers=False, stored=[stored(id="old", settled_xid=1), stored()])])
    assert (made.backups, made.blockers) == ({"k": "B"}, [])


def test_an_anonymous_database_and_one_in_the_container_are_in_the_way_of_any_down() -> None:
    loose = holding(name="f" * 64, key=None, anonymous=True, targets=[])
    inside = Box(name="pg", id="1", running=True, layer_cluster=True)
    first, second = plan(loose, boxes=[inside], remove=False).blockers
    assert "in itself, in no volume" in first
    assert "is anonymous and holds a PostgreSQL 17 cluster" in second


def test_an_empty_volume_of_a_database_is_nothing_precious() -> None:
    made = plan(holding(clusters=[], empty=True, expects_data=True, targets=[]), targets=[])
    assert (made.volumes[0].fate, made.blockers) == ("goes", [])


def test_a_volume_of_a_target_never_goes_without_a_proven_backup_however_empty_it_seems() -> None:
    made = plan(holding(clusters=[], empty=True))
    assert (made.volumes[0].fate, made.volumes[0].precious) == ("goes once proven", True)
    (blocker,) = made.blockers
    assert "it seems to be empty; look at it yourself" in blocker
    assert plan(holding(clusters=[], empty=True), remove=False).blockers == []
    assert plan(holding(clusters=[], empty=True, exists=False)).blockers == []


def test_the_plan_names_every_volume_and_says_what_stays() -> None:
    text = plan_text(
        plan(holding(external=True), holding(name="cache", key="cache", clusters=[], targets=[], known_by=["a"]))
    )
    assert text.splitlines()[0] == "DOWN WITH VOLUMES of project atra in /srv/atra"
    assert "★ atra_data  stays: external in the compose file; a PostgreSQL 17 cluster, 47 MB, last written 2026" in text
    assert "remove the volume cache" in text
    assert "remove the volume atra_data" not in text
