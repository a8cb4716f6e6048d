"""What a run leaves to be read in Prefect's UI: what it is, then what to do, and no more than Prefect keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasks.alerts.all_targets import targets_report
from tasks.alerts.artifacts import LARGEST, artifact_key, fitted
from tasks.alerts.run_reports import backup_report, failure_report, verify_report
from tasks.errors import DatabaseUnreachable, NeedsRecover, RolledBack
from tasks.history.chart import embedded
from tasks.history.records import RowsOverTime, Run, StoredBackup
from tasks.history.standing import Standing
from tasks.models import CheckResult, Finding, Manifest, StoredObject, Tally
from tasks.restore.drill import DrillResult
from tasks.restore.report import RestoreReport
from tasks.restore.words import drill_markdown, plan_markdown, restore_markdown
from tests.unit.test_artifacts import DURING, EXPECTED, IDENTITY, LOST, WHEN, cells
from tests.unit.test_restore_plan import PINNED, astray, plan, world

ODD = 'a|b `c` <img src=x onerror=y>\n| d | "e" [f](g) *h*'
ODD_SHOWN = r'a\|b \`c\` &lt;img src=x onerror=y&gt; \| d \| "e" \[f\](g) \*h\*'
MANY = {f"schema_{number % 7}.a_table_with_a_long_name_{number:06}": number for number in range(2_000)}


def check(**changes: Any) -> CheckResult:
    plain = CheckResult(
        target="knowledge_os", verdict="critical", checked_at=WHEN, findings=LOST, counts=DURING, identity=IDENTITY
    )
    return plain.model_copy(update=changes)


def manifest(**changes: Any) -> Manifest:
    dump = {"key": "k/b1/k.dump.zst", "role": "dump", "database": "knowledge_os", "sha256": "ab" * 32}
    plain = Manifest(
        id="b1",
        target="knowledge_os",
        created_at=WHEN,
        verdict="healthy",
        quarantined=False,
        method="dump",
        server_version="16.4",
        database="knowledge_os",
        objects=[
            StoredObject.model_validate({**dump, "storage": name, "bytes": 856_000_000, "raw_bytes": 2_200_000_000})
            for name in ("local", "offsite")
        ],
        tally=Tally(counts={"public.experts": 85}),
        identity=IDENTITY,
        timings={"dump": 33.0, "read_back": 11.0},
    )
    return plain.model_copy(update=changes)


def paragraphs(report: str) -> list[str]:
    return report.rstrip("\n").split("\n\n")


def test_a_critical_check_says_first_what_is_wrong_and_then_what_to_do() -> None:
    report = verify_report(check(), EXPECTED, {"experts": "data:image/png;base64,AAAA"})
    assert paragraphs(report)[:5] == [
        "# ⚠ CRITICAL: knowledge_os",
        "**84 of 85 experts gone, 26,310 of 26,337 knowledge_nodes gone**",
        "**Next:** rollcall backups knowledge_os; meant? rollcall accept knowledge_os --reason TEXT",
        "The deployment **restore-volume** shows what would put it back: with `dry_run` on, it plans and touches "
        "nothing.",
        "Checked 2026-02-01 02:05:00 UTC: 43 rows in 4 tables.",
    ]
    assert "![experts](data:image/png;base64,AAAA)" in report
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## Findings",
        "## Rows",
        "## Identity",
    ]


def test_a_wrong_volume_leads_and_its_step_is_the_next() -> None:
    wrong = Finding(code="volume.mismatch", severity="critical", message="It is on another volume.")
    shown = paragraphs(verify_report(check(findings=[*LOST, wrong]), EXPECTED))
    assert shown[1].startswith("**wrong volume, 84 of 85 experts gone")
    assert shown[2] == "**Next:** put the pinned volume back (never down -v), then rollcall verify knowledge_os"


def test_a_healthy_check_asks_for_nothing() -> None:
    shown = paragraphs(verify_report(check(verdict="healthy", findings=[], counts={"public.a": 1}), {"public.a": 1}))
    assert shown[:3] == [
        "# ✔ healthy: knowledge_os",
        "Checked 2026-02-01 02:05:00 UTC: 1 row in 1 table.",
        "## Findings",
    ]


def test_a_check_that_reached_nothing_has_a_report() -> None:
    report = verify_report(check(findings=[], counts={}, identity=None), {})
    assert "Checked 2026-02-01 02:05:00 UTC; nothing could be counted." in report
    assert "No tables were counted." in report


def test_the_report_of_a_backup_says_where_how_much_and_how_fast() -> None:
    other = {"other": Tally(counts={"public.x": 4}), "postgres": Tally(counts={})}
    report = backup_report(manifest(databases=other), {"public.experts": 85}, deleted=["a1", "a2"])
    assert report.startswith("# ✔ stored: knowledge_os\n\nBackup **b1**, taken 2026-02-01 02:05:00 UTC by dump")
    assert "One copy is 856 MB of 2.2 GB; 44.0 s in all at 50.0 MB/s." in report
    assert "| local | 1 | 856 MB | k/b1 |" in report
    assert "<summary>1 object in each, read back and equal to the byte</summary>" in report
    assert "<td>dump of knowledge_os</td>" in report and "<td>abababab…</td>" in report
    assert "| read_back | 11.00 |" in report
    assert "Deleted 2: a1, a2" in report
    assert "Database other: 4 rows in 1 table</summary>" in report
    assert "\n\nDatabase postgres: no tables\n\n" in report


@pytest.mark.parametrize(
    ("newest", "said"), [("b0", "A restore takes **b0**."), (None, "There is no good backup yet.")]
)
def test_a_quarantined_backup_says_what_that_means_and_why_nothing_was_deleted(newest: str | None, said: str) -> None:
    bad = manifest(quarantined=True, verdict="critical", findings=LOST, tally=Tally(counts=DURING))
    report = backup_report(bad, EXPECTED, frozen="the verdict is critical", newest_good=newest)
    shown = paragraphs(report)
    assert shown[0] == "# ⚠ QUARANTINED: knowledge_os"
    assert shown[1].startswith("It is kept, and never counts as a good one") and shown[1].endswith(said)
    assert shown[2].startswith("**84 of 85 experts gone") and shown[3].startswith("**Next:** ")
    assert "⚠ Held, nothing was deleted: the verdict is critical" in report


def test_a_manifest_without_objects_and_times_has_a_report() -> None:
    report = backup_report(manifest(objects=[], timings={}, omitted=["roles"]), {})
    assert "Nothing was stored." in report
    assert "## Not in this backup\n\n- roles" in report


@pytest.mark.parametrize(
    ("what", "error", "head", "now", "following"),
    [
        (
            "restore-volume",
            RolledBack("It does not answer."),
            "# ⚠ The restore of shop was undone",
            "Nothing is lost",
            "start the restore again",
        ),
        (
            "restore-volume",
            NeedsRecover("No room."),
            "# ⚠ The restore of shop was interrupted",
            "neither finished nor undone",
            "rollcall recover shop",
        ),
        (
            "backup",
            DatabaseUnreachable("No answer."),
            "# ⚠ The backup of shop did not come to its end",
            "none that is there was touched",
            "rollcall backup shop",
        ),
        (
            "verify",
            DatabaseUnreachable("No answer."),
            "# ⚠ The verify of shop did not come to its end",
            "Nobody knows how the target is",
            "rollcall verify shop",
        ),
    ],
)
def test_a_run_that_failed_says_why_how_things_are_and_what_to_do(
    what: str, error: Any, head: str, now: str, following: str
) -> None:
    shown = paragraphs(failure_report("shop", what, error, WHEN))
    assert shown[0] == head
    assert shown[1] == f"**Reason:** {error}"
    assert shown[2].startswith("**Now:** ") and now in shown[2]
    assert shown[3].startswith("**Next:** ") and following in shown[3]
    assert shown[4] == "It ended 2026-02-01 02:05:00 UTC."


def test_a_drill_that_proved_nothing_says_why_and_what_to_do() -> None:
    bad = DrillResult(
        target="shop", backup="b1", proven=False, reason="It has 84 rows.", differences=["+ 1"] * 3, rto_seconds=4.2
    )
    shown = paragraphs(drill_markdown(bad, most=2))
    assert shown[:3] == [
        "# ⚠ NOT PROVEN: shop",
        "- Backup b1 is NOT proven. It has 84 rows.\n- Tried for 4.2 s.",
        "**Next:** do not rely on this backup. Take a new one (rollcall backup shop) and drill that; "
        "rollcall backups shop lists those that are proven.",
    ]
    assert shown[4] == "- \\+ 1\n- \\+ 1\n- and 1 more"


def restored(**tables: dict[str, int]) -> RestoreReport:
    made = plan(world())
    return RestoreReport(
        target="knowledge_os",
        outcome="done",
        plan=made,
        approved_by="Ann",
        database="knowledge_os",
        counts={"knowledge_os": tables["found"]},
        rebuilt={"knowledge_os": tables["rebuilt"]},
        downtime_seconds=4.2,
        total_seconds=81.2,
    )


def test_the_proof_sets_each_table_beside_what_was_promised_and_what_was_rebuilt_unequal_ones_first() -> None:
    promised = {"public.experts": 85, "public.knowledge_nodes": 26_337}
    report = restore_markdown(restored(found=promised | {"public.experts": 84}, rebuilt=promised))
    proof = report[report.index("## Proof") : report.index("## Time")]
    assert cells(proof) == [
        ["⚠", "public.experts", "85", "85", "84"],
        ["✔", "public.knowledge_nodes", "26,337", "26,337", "26,337"],
    ]


def test_a_plan_says_its_rows_its_steps_and_what_changes_in_the_compose_file() -> None:
    shown = plan_markdown(plan(astray(), PINNED))
    assert cells(shown[shown.index("### Rows") : shown.index("### Steps")]) == [
        ["public.experts", "1", "85"],
        ["public.knowledge_nodes", "27", "26,337"],
    ]
    steps = shown[shown.index("### Steps") : shown.index("### Compose file")].rstrip().splitlines()[4:]
    assert [line.partition(" ")[0] for line in steps] == [f"**{number}.**" for number in range(1, 13)]
    assert all(line.endswith("  ") for line in steps[:-1]), "each in a line of its own"
    assert "- \\+ external: true\n" in shown


def standing(name: str, **changes: Any) -> Standing:
    drill = Run(target=name, kind="drill", started_at=WHEN, ended_at=WHEN, outcome="proven", message="b1 in 41.3 s")
    plain = Standing(
        target=name,
        verdict="healthy",
        findings=[],
        counts={"public.experts": 85},
        identity_ok=True,
        checked_at=WHEN - timedelta(minutes=7),
        stale=False,
        last_backup=StoredBackup(
            target=name,
            id="b1",
            created_at=WHEN - timedelta(hours=9),
            quarantined=False,
            stored={"local": 856_000_000, "offsite": 856_000_000},
            raw_bytes=2_200_000_000,
            seconds=44.0,
        ),
        last_proven_at=WHEN - timedelta(days=3),
        last_drill=drill,
    )
    return plain.model_copy(update=changes)


def test_the_page_of_all_targets_has_a_row_each_and_a_word_on_those_that_are_not_well() -> None:
    bad = standing("shop", verdict="critical", findings=LOST, last_backup=None, last_proven_at=None, last_drill=None)
    report = targets_report([standing("wiki"), bad], WHEN)
    assert paragraphs(report)[0] == "# ⚠ 1 of 2 targets not healthy"
    assert cells(report) == [
        ["shop", "⚠ CRITICAL", "85", "7 min ago", "⚠ none", "not proven yet"],
        ["wiki", "✔ healthy", "85", "7 min ago", "9 h ago, 856 MB × 2", "3 days ago, in 41.3 s"],
    ]
    assert "## shop\n\n- ⚠ **critical** rows.dropped: lost" in report
    assert report.endswith("**Next:** rollcall backups shop; meant? rollcall accept shop --reason TEXT\n")
    assert "## wiki" not in report


def test_a_target_whose_last_drill_failed_is_not_called_proven() -> None:
    failed = standing("shop").last_drill
    assert failed is not None
    report = targets_report([standing("shop", last_drill=failed.model_copy(update={"outcome": "not proven"}))], WHEN)
    assert cells(report)[0][5] == "⚠ the last drill failed"


@pytest.mark.parametrize(
    ("wrong", "head"), [(0, "✔ All 50 targets are healthy"), (50, "⚠ 50 of 50 targets not healthy")]
)
def test_the_page_of_fifty_targets_tells_of_the_worst_and_counts_the_rest(wrong: int, head: str) -> None:
    bad: dict[str, Any] = {"verdict": "critical", "findings": LOST} if wrong else {}
    report = targets_report([standing(f"team_{number:02}", **bad) for number in range(50)], WHEN)
    assert report.startswith(f"# {head}\n")
    assert len(cells(report.partition("\n## ")[0])) == 50
    assert report.count("\n## ") == min(20, wrong)
    assert ("What is wrong with 30 more targets is in the reports of their checks." in report) == bool(wrong)


def dropped(number: int) -> Finding:
    name = list(MANY)[number]
    return Finding(code="rows.dropped", severity="critical", message=f"{name} has 1 row.", table=name)


PICTURE = {"Rows by table over 30 days": "data:image/png;base64," + "A" * 80_000}
REPORTS = {
    "verify": lambda most: verify_report(
        check(counts=MANY, findings=[dropped(number) for number in range(1000)]), MANY, PICTURE, most=most
    ),
    "backup": lambda most: backup_report(
        manifest(
            tally=Tally(counts=MANY),
            databases={f"db{number}": Tally(counts=MANY) for number in range(10)},
            omitted=[f"file {number}" for number in range(2000)],
        ),
        MANY,
        [f"backup-{number}" for number in range(2000)],
        most=most,
    ),
    "proof": lambda most: restore_markdown(restored(found=MANY, rebuilt=MANY), most),
    "drill": lambda most: drill_markdown(
        DrillResult(target="t", backup="b", proven=False, reason="R.", rto_seconds=1, differences=list(MANY) * 2), most
    ),
    "targets": lambda most: targets_report(
        [standing(f"team_{number:03}", verdict="critical", findings=[dropped(number)]) for number in range(2000)],
        WHEN,
        most,
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_no_report_is_larger_than_prefect_keeps_and_what_is_left_out_is_counted(name: str) -> None:
    make = REPORTS[name]
    report = fitted(make)
    assert len(make(10**9).encode()) > LARGEST > len(report.encode())
    assert "The rest is left out here" not in report, "shortened list by list, not cut"
    assert " more" in report


def test_the_picture_stays_where_a_report_is_shortened() -> None:
    assert PICTURE["Rows by table over 30 days"] in fitted(REPORTS["verify"])


def test_a_small_report_leaves_nothing_out() -> None:
    counts = dict(list(MANY.items())[:300])
    report = fitted(lambda most: verify_report(check(counts=counts, findings=[]), counts, most=most))
    assert all(name in report for name in counts)
    assert "left out" not in report


@pytest.mark.parametrize(
    "report",
    [
        verify_report(
            check(counts={ODD: 3}, findings=[dropped(0).model_copy(update={"table": ODD, "message": ODD})]), {}
        ),
        backup_report(manifest(tally=Tally(counts={ODD: 3})), {}),
        plan_markdown(plan(world(counts={ODD: 3}))),
        restore_markdown(restored(found={ODD: 3}, rebuilt={})),
    ],
    ids=["verify", "backup", "plan", "proof"],
)
def test_a_name_of_any_letters_is_words_in_one_cell(report: str) -> None:
    assert f"| {ODD_SHOWN} |" in report
    assert "<img" not in report


def test_names_in_a_fold_are_words_too() -> None:
    counts = {f"{ODD}{number:03}": 1 for number in range(100)}
    report = verify_report(check(counts=counts, findings=[]), {})
    assert '<td>a|b `c` &lt;img src=x onerror=y&gt; | d | "e" [f](g) *h*099</td>' in report


def test_keys_of_reports_are_of_letters_that_prefect_takes() -> None:
    assert artifact_key("verify", "Knowledge_OS / ä") == "verify-knowledge-os"


def test_the_picture_in_a_report_is_small_and_shows_what_is_wrong_in_red() -> None:
    rows: dict[str, list[int | None]] = {f"public.t{number}": [100, 100 + number, 1] for number in range(8)}
    moments = [WHEN + timedelta(days=day) for day in range(3)]
    over_time = RowsOverTime(moments, rows)
    plain, alarmed = embedded(over_time, "shop", {}), embedded(over_time, "shop", {}, {"t7", "public.t6"})
    assert plain is not None and alarmed is not None
    assert plain != alarmed
    for drawn in (plain, alarmed):
        assert drawn.startswith("data:image/png;base64,iVBORw0KGgo") and len(drawn) < 80_100
    one = RowsOverTime(moments[:1], {"public.t1": [100]})
    assert embedded(one, "shop", {}) is None, "a line needs two points"
