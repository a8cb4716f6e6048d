"""What the row counts of a day say, given the days before: replayed through the production judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tasks.config import TableRule, Thresholds
from tasks.errors import ConfigError
from tasks.history.judge import (
    NO_HISTORY,
    UNREAD,
    Baseline,
    baseline_of,
    is_accepted,
    judge_counts,
    judge_not_dumped,
    resolve_table,
)
from tasks.history.records import Tallied
from tasks.history.replay import START, Replay
from tasks.models import Finding, verdict_of

E, K = "public.experts", "public.knowledge_nodes"
FLOORS = {"experts": TableRule(min=80), "knowledge_nodes": TableRule(min=10_000)}


def of(experts: int, nodes: int) -> dict[str, int]:
    return {E: experts, K: nodes}


@dataclass(frozen=True)
class Case:
    """Days that were, the day that is, and what is to be said of it; `because` is the reason."""

    name: str
    days: Sequence[Mapping[str, int]]
    now: Mapping[str, int]
    verdict: str
    because: str
    codes: Sequence[str] = ()
    rules: Mapping[str, TableRule] = field(default_factory=dict)


CASES = [
    Case(
        "the incident on the second observation ever",
        [of(85, 26_337)],
        of(1, 27),
        "critical",
        "one good day is enough to know that nearly everything is gone",
        ["rows.dropped", "rows.dropped"],
    ),
    Case(
        "the incident on the first observation, with floors",
        [],
        of(1, 27),
        "critical",
        "floors need no history",
        ["rows.below_min", "rows.below_min"],
        FLOORS,
    ),
    Case("the first observation without floors", [], of(1, 27), "healthy", "nothing to judge it by"),
    Case("exactly at the floors", [], of(80, 10_000), "healthy", "a floor is the least allowed", [], FLOORS),
    Case(
        "one row less after two steady weeks",
        [of(85, 26_337)] * 14,
        of(85, 26_336),
        "healthy",
        "people delete rows",
    ),
    Case(
        "one of 85 experts left after two steady weeks",
        [of(85, 26_337)] * 14,
        of(1, 26_337),
        "critical",
        "a small table lost far more than half",
        ["rows.dropped"],
    ),
    Case("an empty table that stays empty", [{E: 0}] * 3, {E: 0}, "healthy", "0 of 0 is nothing lost"),
    Case(
        "two rows to none",
        [{E: 2}],
        {E: 0},
        "critical",
        "emptied is emptied, however small",
        ["rows.dropped"],
    ),
    Case("one row to none", [{E: 1}], {E: 0}, "critical", "emptied is emptied, however small", ["rows.dropped"]),
    Case("three rows to two", [{E: 3}], {E: 2}, "healthy", "a third of three rows is one row"),
    Case("eight rows to four", [{E: 8}], {E: 4}, "healthy", "half, yet under five rows"),
    Case(
        "ten rows to five",
        [{E: 10}],
        {E: 5},
        "critical",
        "exactly half and exactly five rows",
        ["rows.dropped"],
    ),
    Case("ninety-nine rows to fifty", [{E: 99}], {E: 50}, "healthy", "49 of 99 is under half of a small table"),
    Case("99 rows to 49", [{E: 99}], {E: 49}, "critical", "more than half of a small table", ["rows.dropped"]),
    Case("100 rows to 96", [{E: 100}], {E: 96}, "healthy", "4 % is under the warning threshold"),
    Case("100 rows to 95", [{E: 100}], {E: 95}, "warning", "exactly 5 % crosses", ["rows.dropped"]),
    Case(
        "100 rows to 81",
        [{E: 100}],
        {E: 81},
        "warning",
        "19 % is under the critical threshold",
        ["rows.dropped"],
    ),
    Case("100 rows to 80", [{E: 100}], {E: 80}, "critical", "exactly 20 % crosses", ["rows.dropped"]),
    Case(
        "300 rows to 279 with a threshold of 7 %",
        [{E: 300}],
        {E: 279},
        "warning",
        "0.07 * 300 is more than 21 in binary fractions; the threshold is the decimal that was written",
        ["rows.dropped"],
        {"experts": TableRule(warning_drop=0.07)},
    ),
    Case(
        "steady growth",
        [{E: 1000 + 10 * day} for day in range(30)],
        {E: 1300},
        "healthy",
        "growth never alarms",
    ),
    Case("an import of 40 %", [{E: 1000}] * 14, {E: 1400}, "healthy", "growth never alarms"),
    Case("growth from nothing", [{E: 0}] * 14, {E: 5_000_000}, "healthy", "growth never alarms"),
    Case(
        "a table that vanished",
        [of(85, 26_337)] * 3,
        {K: 26_337},
        "critical",
        "a dropped table is another fault than an emptied one, and needs another remedy",
        ["table.missing"],
    ),
    Case(
        "an empty table that vanished",
        [{E: 0, K: 10}],
        {K: 10},
        "critical",
        "it had no rows to lose, yet programs that use it now fail",
        ["table.missing"],
    ),
    Case(
        "a vanished table with a floor is told once",
        [of(85, 26_337)],
        {K: 26_337},
        "critical",
        "floor and history say the same thing",
        ["table.missing"],
        FLOORS,
    ),
    Case(
        "a table with a floor that was never there",
        [],
        {K: 26_337},
        "critical",
        "the floor says that it must be",
        ["table.missing"],
        FLOORS,
    ),
    Case(
        "a configured table without a floor that was never there",
        [],
        {K: 26_337},
        "warning",
        "probably a slip in the name: nothing would be watched",
        ["table.unknown"],
        {"expert": TableRule()},
    ),
    Case("a new table", [{E: 85}], {E: 85, K: 0}, "healthy", "additions inform only"),
    Case(
        "floor and drop at once",
        [of(85, 26_337)],
        of(85, 27),
        "critical",
        "both are true, and a person may mend either",
        ["rows.below_min", "rows.dropped"],
        FLOORS,
    ),
    Case(
        "a table with thresholds of its own",
        [of(85, 1000)],
        of(85, 500),
        "healthy",
        "this table may lose up to 90 %",
        [],
        {"knowledge_nodes": TableRule(warning_drop=0.9, critical_drop=0.95)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_day_is_judged_as_reasoned(case: Case) -> None:
    replay = Replay(case.rules)
    replay.days(case.days)
    findings = replay.day(case.now)
    assert verdict_of(findings) == case.verdict, case.because
    assert [finding.code for finding in findings] == list(case.codes), case.because


def verdicts(replay: Replay, days: Sequence[Mapping[str, int]]) -> list[str]:
    return [verdict_of(findings) for findings in replay.days(days)]


def test_a_loss_nobody_answers_is_critical_every_day_for_ninety_days() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 14)
    assert verdicts(replay, [of(1, 27)] * 90) == ["critical"] * 90


def test_rows_that_come_back_are_healthy_at_once() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 5)
    assert verdicts(replay, [of(1, 27)] * 3 + [of(85, 26_337)]) == ["critical"] * 3 + ["healthy"]


def test_half_repaired_is_not_repaired() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 5)
    assert verdicts(replay, [of(1, 27), of(85, 24_000)]) == ["critical", "warning"]


def test_one_percent_a_day_adds_up_to_a_warning_and_then_critical() -> None:
    replay = Replay()
    said = verdicts(replay, [{E: int(100_000 * 0.99**day)} for day in range(31)])
    assert said[:5] == ["healthy"] * 5
    assert set(said[6:22]) == {"warning"}
    assert set(said[23:]) == {"critical"}


def test_a_leak_that_stops_below_the_threshold_never_heals_by_age() -> None:
    replay = Replay()
    replay.days([{E: 1000}] * 3)
    assert verdicts(replay, [{E: 940}] * 60) == ["warning"] * 60


def test_a_declared_purge_is_accepted_once_and_watched_from_there() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 14)
    assert verdict_of(replay.day(of(85, 9_000))) == "critical"
    replay.accept(of(85, 9_000))
    assert verdicts(replay, [of(85, 9_000)] * 40) == ["healthy"] * 40
    assert verdict_of(replay.day(of(85, 8_550))) == "warning"


def test_accepting_one_table_does_not_accept_the_other() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 14)
    replay.day(of(1, 9_000))
    replay.accept(of(1, 9_000), table=K)
    findings = replay.day(of(1, 9_000))
    assert [(finding.table, finding.severity) for finding in findings] == [(E, "critical")]


def test_accepting_a_dropped_table_ends_its_alarm() -> None:
    replay = Replay()
    replay.days([of(85, 26_337)] * 3)
    assert verdict_of(replay.day({E: 85})) == "critical"
    replay.accept({E: 85}, table=K)
    assert replay.day({E: 85}) == []


def test_accepting_a_drop_below_the_floor_does_not_silence_the_floor() -> None:
    replay = Replay(FLOORS)
    replay.days([of(85, 26_337)] * 3)
    replay.accept(of(1, 27))
    assert {finding.code for finding in replay.day(of(1, 27))} == {"rows.below_min"}


def test_checks_every_quarter_of_an_hour_do_not_shorten_the_window() -> None:
    replay = Replay(step=timedelta(minutes=15))
    replay.days([{E: 100_000}] * 4)
    leak = [{E: 100_000 - 100 * step} for step in range(100)]
    assert verdict_of(replay.days(leak)[-1]) == "warning"


def test_a_clock_set_back_does_not_blind_the_judge() -> None:
    replay = Replay()
    replay.days([{E: 85}] * 5)
    replay.now -= timedelta(days=400)
    assert verdict_of(replay.day({E: 1})) == "critical"


def test_the_window_forgets_a_peak_after_thirty_days() -> None:
    replay = Replay()
    replay.day({E: 1040})
    assert verdicts(replay, [{E: 1000}] * 29) == ["healthy"] * 29
    replay.days([{E: 1000}] * 2)
    assert verdict_of(replay.day({E: 960})) == "healthy"


def test_what_is_older_than_the_window_counts_for_the_last_tally_only() -> None:
    tallies = [Tallied(START, {E: 1040}), Tallied(START + timedelta(days=1), {E: 1000})]
    at_the_edge = baseline_of(tallies, [], START + timedelta(days=30), window_days=30)
    assert (at_the_edge.last, at_the_edge.highest) == ({E: 1000}, {E: 1040})
    a_day_later = baseline_of(tallies, [], START + timedelta(days=31), window_days=30)
    assert (a_day_later.last, a_day_later.highest) == ({E: 1000}, {E: 1000})
    long_after = baseline_of(tallies, [], START + timedelta(days=99), window_days=30)
    assert (long_after.last, long_after.highest) == ({E: 1000}, {})


@pytest.mark.parametrize(
    ("rows", "expected", "message"),
    [
        (1, 85, "public.experts has 1 row; 85 are expected (-99 %)."),
        (27, 26_337, "public.experts has 27 rows; 26,337 are expected (-99.8 %)."),
        (1, 10_000_000, "public.experts has 1 row; 10,000,000 are expected (-99.9 %)."),
        (0, 1, "public.experts has 0 rows; 1 is expected (-100 %)."),
        (80_001, 100_000, "public.experts has 80,001 rows; 100,000 are expected (-19.9 %)."),
        (80_000, 100_000, "public.experts has 80,000 rows; 100,000 are expected (-20 %)."),
    ],
)
def test_the_sentence_never_says_more_than_was_lost(rows: int, expected: int, message: str) -> None:
    findings = judge_counts({E: rows}, Baseline({E: expected}, {E: expected}), {}, Thresholds())
    assert [finding.message for finding in findings] == [message]


def test_the_worst_reference_decides() -> None:
    findings = judge_counts({E: 77}, Baseline({E: 99}, {E: 100}), {}, Thresholds())
    assert [finding.severity for finding in findings] == ["critical"]


def test_a_misnamed_rule_is_said_and_the_others_hold() -> None:
    rules = {"a.b.c": TableRule(min=1), "experts": TableRule(min=80)}
    findings = judge_counts({E: 1}, NO_HISTORY, rules, Thresholds())
    assert {finding.code for finding in findings} == {"table.misnamed", "rows.below_min"}


@pytest.mark.parametrize(
    ("code", "severity", "accepted"),
    [
        ("rows.dropped", "warning", False),
        ("rows.below_min", "critical", False),
        ("table.missing", "critical", False),
        ("container.missing", "critical", False),
        ("container.stopped", "critical", False),
        ("database.unreachable", "critical", False),
        ("volume.mismatch", "critical", False),
        ("cluster.changed", "critical", False),
        ("cluster.rewound", "critical", False),
        ("schema.changed", "warning", False),
        ("schema.changed", "notice", True),
        ("backup.stale", "warning", True),
        ("cluster.pinned", "notice", True),
        ("table.unknown", "warning", True),
    ],
)
def test_only_what_is_not_the_datas_fault_is_accepted(code: str, severity: str, accepted: bool) -> None:
    assert is_accepted([Finding.model_validate({"code": code, "severity": severity, "message": "."})]) is accepted


NAMES = [
    "public.experts",
    'public."user"',
    '"Sales Data"."Orders"',
    "sales.orders",
    "other.orders",
    "only.here",
    "public.here2",
    "old.here2",
]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("experts", "public.experts"),
        ("EXPERTS", "public.experts"),
        ("public.experts", "public.experts"),
        ('"experts"', "public.experts"),
        ('"Experts"', None),
        ("user", 'public."user"'),
        ('"Sales Data"."Orders"', '"Sales Data"."Orders"'),
        ('"Orders"', '"Sales Data"."Orders"'),
        ("here", "only.here"),
        ("here2", "public.here2"),
        ("old.here2", "old.here2"),
        ("sales.orders", "sales.orders"),
        ("nowhere", None),
        ("public.here", None),
    ],
)
def test_a_table_is_found_as_people_write_it(written: str, found: str | None) -> None:
    assert resolve_table(written, NAMES) == found


@pytest.mark.parametrize("written", ["", ".", "a.", ".a", "a.b.c", 'a"b', '"a', "a b", '""', "1a", "a;b"])
def test_what_is_no_table_name_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="is no table name"):
        resolve_table(written, NAMES)


def test_a_name_in_several_schemas_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"ambiguous: there are other\.orders, sales\.orders"):
        resolve_table("orders", NAMES)


def test_rows_that_no_dump_holds_are_a_warning_that_keeps_no_count_from_being_accepted() -> None:
    (finding,) = judge_not_dumped(["public.mine"])
    assert (finding.code, finding.severity, finding.table) == ("table.not_dumped", "warning", "public.mine")
    assert is_accepted([finding])
    assert judge_not_dumped([]) == []


@pytest.mark.parametrize(
    ("rows", "accepted", "said"),
    [
        ({"t": 3}, {}, "t belongs to an extension and holds 3 rows; pg_dump"),
        ({"t": 3}, {"t": 3}, None),
        ({"t": 4}, {"t": 3}, "t belongs to an extension and holds 4 rows (3 were accepted); pg_dump"),
        ({"t": 2}, {"t": 3}, "t belongs to an extension and holds 2 rows (3 were accepted); pg_dump"),
        ({"t": 3}, {"other": 3}, "t belongs to an extension and holds 3 rows; pg_dump"),
        ({}, {"t": UNREAD}, None),  # accepted though nobody may read it
        ({"t": 3}, {"t": UNREAD}, "t belongs to an extension and holds 3 rows; pg_dump"),
        ({}, {"t": 3}, "t belongs to an extension and holds rows (3 were accepted); pg_dump"),
    ],
)
def test_rows_that_no_dump_holds_are_silent_while_they_are_as_accepted(
    rows: dict[str, int], accepted: dict[str, int], said: str | None
) -> None:
    found = [each.message.partition(" leaves")[0] for each in judge_not_dumped(["t"], rows, accepted)]
    assert found == ([said] if said else [])
