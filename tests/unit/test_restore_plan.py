"""The plan of a restore: which situation it is, what is in the way, what it says, and when it counts as another one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.containers.other_files import OtherFiles
from tasks.restore.facts import Dependant, Mending, Passed, Request, Source, World
from tasks.restore.plan import Plan, make_plan
from tasks.restore.words import plan_markdown, plan_text

RIGHT, WRONG = "atra_knowledge_postgres_data", "knowledge_os_postgres_data"
NOW = datetime(2026, 2, 1, 3, 0, tzinfo=UTC)
BACKUP = Source(
    kind="backup",
    name="20260201T020000Z-3f9a1c",
    system_identifier="1",
    storages=["local", "offsite"],
    created_at=NOW,
    proven_at=NOW,
    counts={"public.experts": 85, "public.knowledge_nodes": 26_337},
    databases=["knowledge_os", "postgres"],
    roles=["admin", "clerk"],
    server_version="16.4",
    bytes=1_000_000_000,
)
PINNED = Source(kind="pinned", name=RIGHT, system_identifier="1", counts=BACKUP.counts)
COPY = Source(kind="volume", name="old_data", system_identifier="1", server_version="16", bytes=1_000_000_000)


def world(**more: Any) -> World:
    given: dict[str, Any] = {
        "target": "knowledge_os",
        "container": "knowledge_postgres",
        "container_id": "c0ffee" * 10,
        "image_id": "sha256:1",
        "running": True,
        "destination": "/var/lib/postgresql/data",
        "pgdata": "/var/lib/postgresql/data",
        "mounted": RIGHT,
        "pinned": RIGHT,
        "pinned_exists": True,
        "mounted_cluster": "1",
        "pinned_cluster": "1",
        "known_cluster": "1",
        "major": "16",
        "answers": True,
        "counts": {"public.experts": 1, "public.knowledge_nodes": 27},
        "databases": ["knowledge_os", "postgres"],
        "roles": ["admin"],
        "dependants": [
            Dependant(name="dashboard", exists=True, running=True),
            Dependant(name="agent", exists=True, running=True),
            Dependant(name="worker", exists=True, running=False),
        ],
        "free_bytes": 100_000_000_000,
    }
    return World.model_validate(given | more)


def astray(**more: Any) -> World:
    mending = Mending(path="/srv/knowledge_os/docker-compose.yml", changes=["+ external: true", f"+ name: {RIGHT}"])
    return world(**{"mounted": WRONG, "mounted_cluster": "2", "mending": mending} | more)


def plan(seen: World, source: Source | None = BACKUP, **asked: Any) -> Plan:
    return make_plan(seen, source, Request(**asked))


def test_a_plan_for_a_standby_says_that_it_becomes_a_primary_where_data_is_rebuilt() -> None:
    said = make_plan(world(standby=True), BACKUP, Request(backup="latest")).notes
    assert any("is a standby now. What is restored is a primary" in each for each in said)
    attached = make_plan(world(standby=True, mounted=WRONG), PINNED, Request()).notes
    assert not any("standby" in each for each in attached)


def test_a_backup_that_cannot_be_rebuilt_is_refused_by_the_plan_and_its_roles_are_not_offered_to_stay_behind() -> None:
    why = "Backup B holds no roles (roles: false in the configuration), so nobody could log in; restore it by hand."
    without_roles = BACKUP.model_copy(update={"roles": ["postgres"], "cannot_be_rebuilt": [why]})
    for seen in (world(roles=["admin", "clerk"]), world(roles=None), astray()):
        assert plan(seen, without_roles).blockers == [why]


def names(made: Plan) -> list[str]:
    return [step.name for step in made.steps]


@pytest.mark.parametrize(
    ("seen", "source", "situation"),
    [
        (world(), None, "nothing"),
        (world(), PINNED, "nothing"),
        (world(), BACKUP, "restore"),
        (world(), COPY, "restore"),
        (astray(), PINNED, "reattach"),
        (astray(), BACKUP, "both"),
        (astray(pinned_exists=False, pinned_cluster=None), BACKUP, "both"),
        (world(mounted=None), BACKUP, "both"),
    ],
)
def test_the_situation_follows_from_what_is_mounted_and_where_the_data_comes_from(
    seen: World, source: Source | None, situation: str
) -> None:
    assert plan(seen, source).situation == situation


CUT_OVER = ["hold restart policy", "stop dependants", "stop container"]
END = ["verify", "commit", "release restart policy", "start dependants"]


def test_a_restore_exchanges_folders_while_the_container_is_stopped() -> None:
    assert names(plan(world())) == ["rebuild", *CUT_OVER, "exchange", "start container", *END]


def test_a_reattachment_creates_the_replacement_before_anything_is_stopped() -> None:
    assert names(plan(astray(), PINNED)) == [
        "hold restart policy", "create replacement", "stop dependants", "stop container", "put old aside",
        "name replacement", "start replacement", "verify", "mend compose file", *END[1:],
    ]  # fmt: skip


def test_with_both_the_pinned_volume_is_filled_before_the_replacement_mounts_it() -> None:
    made = names(plan(astray(pinned_exists=False, pinned_cluster=None)))
    assert made[:4] == ["rebuild", "create pinned volume", "exchange", "hold restart policy"]
    assert names(plan(astray()))[:3] == ["rebuild", "exchange", "hold restart policy"]


def test_a_compose_file_that_a_person_must_change_is_said_and_not_touched() -> None:
    by_hand = Mending(path="compose.yml", changes=[], by_hand="write this")
    made = plan(astray(mending=by_hand), PINNED)
    assert "mend compose file" not in names(made)
    assert "write this" in plan_text(made)


def test_a_pinned_volume_that_is_gone_and_was_no_plain_one_is_not_made_anew_as_one() -> None:
    bound = Mending(path="compose.yml", changes=[], dropped=["driver", "driver_opts"], special=["driver_opts"])
    gone = astray(pinned_exists=False, pinned_cluster=None, mending=bound)
    (why,) = plan(gone).blockers
    assert f"The volume {RIGHT} does not exist, and compose.yml gives it driver_opts: made anew here it would" in why
    assert f"docker volume create {RIGHT}" in why
    assert plan(astray(pinned_cluster=None, mending=bound)).blockers == [], "somebody has made it"
    assert plan(astray(mending=bound), PINNED).blockers == []


def test_the_labels_that_a_volume_made_anew_does_not_get_are_named() -> None:
    labelled = Mending(path="compose.yml", changes=[], dropped=["driver", "labels"])
    made = plan(astray(pinned_exists=False, pinned_cluster=None, mending=labelled))
    assert f"Create the volume {RIGHT}, without the labels of the compose file." in [each.does for each in made.steps]
    assert made.blockers == []


def test_a_file_that_names_the_right_volume_is_to_be_changed_for_another_reason() -> None:
    by_hand = Mending(path="compose.yml", changes=[], by_hand="write this", fixed=True)
    assert "or `down --volumes` removes the volume:" in plan_text(plan(astray(mending=by_hand), PINNED))


def test_only_what_runs_is_stopped_and_started_in_the_order_of_the_configuration() -> None:
    made = plan(world())
    said = {step.name: step.does for step in made.steps}
    assert made.dependants == ["dashboard", "agent"]
    assert said["stop dependants"] == "Stop agent, dashboard."
    assert said["start dependants"] == (
        "Start dashboard, agent, in this order; one that does not come up is told, and undoes nothing."
    )


def test_every_step_before_the_commit_that_changes_something_names_its_undo() -> None:
    for made in (plan(world()), plan(astray(), PINNED), plan(astray(pinned_exists=False))):
        before = made.steps[: names(made).index("commit")]
        assert [step.name for step in before if not step.undo] == ["verify"]


@pytest.mark.parametrize(
    ("seen", "source", "asked", "words"),
    [
        (world(databases=["knowledge_os", "sales"]), BACKUP, {}, "database sales is there now"),
        (world(databases=["knowledge_os", "old"], closed=["old"]), BACKUP, {}, "database old is there now"),
        (world(roles=["admin", "reader"]), BACKUP, {}, "role reader is there now"),
        (world(free_bytes=2_000_000_000), BACKUP, {}, "3.0 GB are needed"),
        (world(free_bytes=500_000_000), COPY, {}, "1.0 GB are needed"),
        (world(major="15"), BACKUP, {}, "is of PostgreSQL 16, and the container's image runs 15"),
        (
            world(answers=False, why_silent="It does not run."),
            BACKUP,
            {},
            "cannot be backed up first: It does not run.",
        ),
        (world(), BACKUP, {"without_safety_backup": True}, "cannot be left out"),
        (world(obstacles=["The container is paused."]), BACKUP, {}, "The container is paused."),
        (astray(obstacles=["The container is removed when it stops."]), PINNED, {}, "removed when it stops"),
        (world(no_scratch="Run this on the engine's own host."), BACKUP, {}, "Run this on the engine's own host."),
        (astray(no_scratch="Run this on the engine's own host."), COPY, {}, "Run this on the engine's own host."),
    ],
)
def test_what_is_in_the_way_is_one_sentence_each(
    seen: World, source: Source, asked: dict[str, Any], words: str
) -> None:
    found = plan(seen, source, **asked).blockers
    assert len(found) == 1
    assert words in found[0]
    assert words in plan_text(plan(seen, source, **asked))


@pytest.mark.parametrize(
    ("seen", "source", "asked"),
    [
        (world(), BACKUP, {}),
        (world(databases=["knowledge_os", "sales"]), BACKUP, {"leave_behind": ["sales"]}),
        (world(roles=["reader"]), BACKUP, {"leave_behind": ["reader"]}),
        (world(free_bytes=None, major=""), BACKUP, {}),
        (world(answers=False), BACKUP, {"without_safety_backup": True}),
        (astray(databases=["of the wrong cluster"], roles=["its own"]), BACKUP, {}),
        (world(roles=["reader"]), BACKUP.model_copy(update={"roles": None}), {}),
        (astray(no_scratch="Nothing is rebuilt."), PINNED, {}),
    ],
)
def test_nothing_is_in_the_way_where_nothing_would_be_lost(seen: World, source: Source, asked: dict[str, Any]) -> None:
    assert plan(seen, source, **asked).blockers == []


def test_a_plan_is_the_same_while_rows_come_and_another_once_the_world_changes() -> None:
    approved = plan(world())
    assert plan(world(counts={"public.experts": 2})).hash == approved.hash
    others = [
        plan(world(container_id="another")),
        plan(world(mounted=WRONG)),
        plan(world(), BACKUP.model_copy(update={"name": "another"})),
        plan(world(roles=["reader"])),
        plan(world(dependants=[])),
    ]
    assert approved.hash not in {each.hash for each in others}


def test_newer_good_backups_that_no_drill_has_proven_are_said_and_make_no_other_plan() -> None:
    one = Passed(number=1, newest="20260201T150000Z-aaaaaa", created_at=NOW + timedelta(hours=12))
    made = plan(world(), BACKUP.model_copy(update={"passed": one}))
    assert made.notes[-1] == (
        "1 good backup is newer than 20260201T020000Z-3f9a1c, which was chosen because a drill has proven it. The "
        "newest is 20260201T150000Z-aaaaaa of 2026-02-01 15:00 UTC, 12.0 hours later: --backup latest takes that, and "
        "proves it first, too."
    )
    several = one.model_copy(update={"number": 6, "created_at": NOW + timedelta(days=6)})
    later = plan(world(), BACKUP.model_copy(update={"passed": several}))
    assert "6 good backups are newer" in plan_text(later)
    assert "6.0 days later" in plan_text(later)
    assert plan(world()).hash == made.hash == later.hash


def test_what_a_backup_omits_is_said_and_a_closed_database_is_not_looked_for_where_nobody_can_ask() -> None:
    lacking = BACKUP.model_copy(update={"omitted": ["databases: narrowed by the configuration to knowledge_os"]})
    assert "Not in backup 20260201T020000Z-3f9a1c: databases: narrowed" in plan_text(plan(world(), lacking))
    made = plan(world(databases=["knowledge_os", "old"], closed=["old"]), COPY)
    assert (made.blockers, made.databases_now) == ([], ["knowledge_os"])
    assert "Nobody can see whether old_data holds the database old" in plan_text(made)


def test_a_quarantined_and_an_unproven_source_are_said() -> None:
    bad = plan(world(), BACKUP.model_copy(update={"quarantined": True}))
    new = plan(world(), BACKUP.model_copy(update={"proven_at": None}))
    assert "QUARANTINED" in plan_text(bad)
    assert "No drill has proven backup" in plan_text(new)


EXPECTED = """\
Plan HASH for knowledge_os
REATTACH: the container mounts another volume, and the pinned one still holds the data.

  container   knowledge_postgres (c0ffeec0ffee)
  mounts now  knowledge_os_postgres_data
  pinned      atra_knowledge_postgres_data
  source      volume atra_knowledge_postgres_data as it is (cluster 1)

  table                         rows now      rows after
  public.experts                       1              85
  public.knowledge_nodes              27          26,337

First:
  a backup of what is there now; nothing is touched if that fails

Steps (↓ the database is down; ↩ how each is undone):
   1.   Set the restart policy of knowledge_postgres to `no`, so that nothing starts it half-way.  ↩ Set it back.
   2.   Create a replacement of knowledge_postgres that differs in its data volume alone: atra_knowledge_postgres_data.  ↩ Remove the replacement.
   3. ↓ Stop knowledge_postgres: from here on the database is down.  ↩ Start it again.
   4. ↓ Rename knowledge_postgres out of the way; it is kept.  ↩ Give it its name back.
   5. ↓ Name the replacement knowledge_postgres.  ↩ Take the name back.
   6. ↓ Start the replacement.  ↩ Stop it.
   7. ↓ Wait until knowledge_postgres answers; check volume, cluster and rows.
   8.   Pin the volume in /srv/knowledge_os/docker-compose.yml; the original is kept beside it.  ↩ Put the original back.
   9.   Record the cluster and its rows as the ones to expect from now on.
  10.   Set the restart policy of knowledge_postgres to what it was.

Compose file:
  /srv/knowledge_os/docker-compose.yml
  + external: true
  + name: atra_knowledge_postgres_data

Kept:
  a backup of what is there now, in every storage that answers
  the volume knowledge_os_postgres_data, untouched, and the old container, stopped, under another name"""  # noqa: E501


def test_the_whole_text_is_what_a_person_reads_before_approving() -> None:
    made = plan(astray(dependants=[]), PINNED)
    assert plan_text(made).replace(made.hash, "HASH") == EXPECTED


def test_the_form_says_what_the_terminal_says() -> None:
    made = plan(astray())
    text, markdown = plan_text(made), plan_markdown(made)
    for step in made.steps:
        assert step.does in text
        assert step.does in markdown
    for each in [*made.kept, *made.notes, made.hash, WRONG, RIGHT, "26,337"]:
        assert each in text
        assert each in markdown


UPLOADS = OtherFiles(path="uploads/", files=1, bytes=4096)
KEY = OtherFiles(path="18/docker/server.key", files=1, bytes=4096)
BELOW: dict[str, Any] = {"destination": "/var/lib/postgresql", "pgdata": "/var/lib/postgresql/18/docker", "major": "16"}


def test_what_lies_beside_pgdata_stays_and_keys_in_it_are_taken_over() -> None:
    plan = make_plan(world(**BELOW, others={RIGHT: [UPLOADS, KEY]}), BACKUP, Request())
    assert (plan.exchanged, plan.taken_over_from) == ("18/docker", RIGHT)
    assert f"Exchange the folders 18/docker of {RIGHT} and the staging volume." in plan_text(plan)
    assert f"The volume {RIGHT} also holds uploads/ (1 file, 4 kB): that stays where it is." in plan.notes
    assert [each for each in plan.notes if "18/docker/server.key (1 file, 4 kB), which no backup" in each]
    calm = make_plan(world(**BELOW, others={RIGHT: [UPLOADS]}), BACKUP, Request())
    assert calm.taken_over_from is None


def test_what_is_taken_over_needs_room_too() -> None:
    tight = {**BELOW, "free_bytes": 3_500_000_000}
    dump = OtherFiles(path="18/docker/dump.sql", files=1, bytes=80_000_000_000)
    assert plan(world(**tight, others={RIGHT: [KEY, UPLOADS]})).blockers == []
    (blocker,) = plan(world(**tight, others={RIGHT: [KEY, dump]})).blockers
    assert "about 83.0 GB are needed" in blocker


@pytest.mark.parametrize(
    "more",
    [{}, {**BELOW, "linked": [RIGHT]}, {**BELOW, "bare": [RIGHT]}, {**BELOW, "pinned_exists": False, "mounted": WRONG}],
)
def test_all_that_is_in_the_volume_is_exchanged_where_pgdata_is_its_root_or_not_the_whole_cluster(
    more: dict[str, Any],
) -> None:
    assert make_plan(world(**more), BACKUP, Request()).exchanged == ""


def test_a_cluster_with_parts_beside_pgdata_takes_what_else_is_there_along_and_says_so() -> None:
    plan = make_plan(world(**BELOW, linked=[RIGHT], others={RIGHT: [UPLOADS]}), BACKUP, Request())
    assert [each for each in plan.notes if "uploads/ (1 file, 4 kB), and its cluster has parts beside" in each]


def test_what_lies_in_the_wrong_volume_stays_there_and_is_named() -> None:
    astray = world(**BELOW, mounted=WRONG, others={WRONG: [UPLOADS]})
    (note,) = [each for each in make_plan(astray, PINNED, Request()).notes if "uploads/" in each]
    assert note == f"The volume {WRONG} also holds uploads/ (1 file, 4 kB): that stays there, and is not in {RIGHT}."


@pytest.mark.parametrize("there", [[], [UPLOADS], [KEY.model_copy(update={"path": "18/docker/other.key"})]])
def test_a_key_that_is_nowhere_any_more_is_named_beforehand(there: list[OtherFiles]) -> None:
    needs = BACKUP.model_copy(update={"needs": ["conf.d", "server.key"]})
    known = [OtherFiles(path="18/docker/conf.d/", files=2)]
    words = f"reads server.key in PGDATA, which no backup holds and the volume {RIGHT} does not hold either"
    plan = make_plan(world(**BELOW, others={RIGHT: [*known, *there]}), needs, Request())
    assert [each for each in plan.notes if words in each]
    unnamed = OtherFiles(path="18/docker/", files=9, more=True)
    for each in (KEY, unnamed):
        plan = make_plan(world(**BELOW, others={RIGHT: [*known, each]}), needs, Request())
        assert not [each for each in plan.notes if "does not hold either" in each]
