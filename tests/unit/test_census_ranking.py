"""Which cluster is taken for the one with a target's data, and the words for it."""

import pytest

from tasks.containers.clusters import ClusterVolume
from tasks.history.records import NO_HISTORY, Baseline
from tasks.restore.ranking import Evidence, Expected, joined, key, weigh
from tests.unit.census_clusters import EMPTY, FULL, OTHER, PINNED, cluster, expected

Candidate = tuple[ClusterVolume, dict[str, int] | None]

# (what decides, the better one, the worse one)
ORDER: list[tuple[str, Candidate, Candidate]] = [
    (
        "the identifier outweighs rows, name, date and size",
        (cluster("a", PINNED), EMPTY),
        (cluster("right", OTHER, hours=9, size=99), FULL),
    ),
    (
        "of two copies of the pinned cluster, the one with the rows",
        (cluster("a", PINNED), FULL),
        (cluster("right", PINNED, hours=9, size=99), EMPTY),
    ),
    (
        "rows that nobody counted are better than rows that are not there",
        (cluster("a", PINNED), None),
        (cluster("right", PINNED, hours=9, size=99), EMPTY),
    ),
    (
        "rows that are there are better than rows that nobody counted",
        (cluster("a", PINNED), FULL),
        (cluster("right", PINNED, hours=9, size=99), None),
    ),
    ("rows outweigh the name", (cluster("a"), FULL), (cluster("right", hours=9, size=99), EMPTY)),
    (
        "a few rows more or less are no difference: then the name decides",
        (cluster("right"), FULL | {"public.experts": 84}),
        (cluster("a", hours=9, size=99), FULL | {"public.knowledge_nodes": 30000}),
    ),
    (
        "of two that are far from it, the nearer one",
        (cluster("a"), EMPTY | {"public.knowledge_nodes": 9000}),
        (cluster("right", hours=9, size=99), EMPTY),
    ),
    ("the name outweighs the date", (cluster("right"), None), (cluster("a", hours=9, size=99), None)),
    ("the date outweighs the size", (cluster("a", hours=1), None), (cluster("b", size=99), None)),
    ("the size decides last", (cluster("a", size=2), None), (cluster("b", size=1), None)),
    ("an unknown size is the smallest", (cluster("a", size=2), None), (cluster("b", size=None), None)),
]


@pytest.mark.parametrize(("better", "worse"), [each[1:] for each in ORDER], ids=[each[0] for each in ORDER])
def test_order(better: Candidate, worse: Candidate) -> None:
    first, second = (key(found, weigh(found, counts, expected())) for found, counts in (better, worse))
    assert first > second


CONVINCING: list[tuple[str, Expected, str, dict[str, int] | None, bool]] = [
    ("the pinned cluster with its rows", expected(), PINNED, FULL, True),
    ("the pinned cluster, not counted", expected(), PINNED, None, True),
    ("the pinned cluster without its rows", expected(), PINNED, EMPTY, False),
    ("another cluster with the rows", expected(), OTHER, FULL, True),
    ("another cluster, not counted", expected(), OTHER, None, False),
    ("nothing pinned, the rows as before", expected(pinned=None), OTHER, FULL, True),
    ("nothing pinned, nothing counted", expected(pinned=None), OTHER, None, False),
    ("no history, rows above the floors", expected(None, NO_HISTORY), OTHER, FULL, True),
    ("no history, rows below a floor", expected(None, NO_HISTORY), OTHER, FULL | {"public.experts": 79}, False),
    ("no history, a table missing", expected(None, NO_HISTORY), OTHER, {"public.experts": 85}, False),
    ("no history, no database", expected(None, NO_HISTORY), OTHER, {}, False),
]


@pytest.mark.parametrize(
    ("known", "identifier", "counts", "convinces"),
    [each[1:] for each in CONVINCING],
    ids=[each[0] for each in CONVINCING],
)
def test_what_convinces(known: Expected, identifier: str, counts: dict[str, int] | None, convinces: bool) -> None:
    assert weigh(cluster("right", identifier), counts, known).convinces is convinces


def test_a_name_or_a_date_alone_never_convinces() -> None:
    nothing_known = Expected("t", expected().rules.model_copy(update={"tables": {}}))
    found = weigh(cluster("right", hours=99, size=99), FULL, nothing_known)
    assert (found.pinned_volume, found.rows, found.convinces) == (True, "unknown", False)


WORDS: list[tuple[str, Evidence, list[str], list[str]]] = [
    (
        "all is well",
        weigh(cluster("right", PINNED), FULL, expected()),
        [
            "its system identifier is the pinned one",
            "it holds 85 of 85 experts and 26,337 of 26,337 knowledge_nodes",
            "its name is the pinned one",
        ],
        [],
    ),
    (
        "the incident",
        weigh(cluster("a", OTHER), EMPTY, expected()),
        [],
        [
            f"its system identifier is {OTHER}, and {PINNED} is pinned",
            "it holds 1 of 85 experts and 27 of 26,337 knowledge_nodes",
        ],
    ),
    (
        "no history",
        weigh(cluster("a"), FULL, expected(None, NO_HISTORY)),
        ["it holds 85 experts (at least 80 expected) and 26,337 knowledge_nodes (at least 10,000 expected)"],
        [],
    ),
    (
        "a table is gone",
        weigh(cluster("a"), {"public.experts": 85}, expected(None)),
        [],
        ["it holds 85 of 85 experts and no table knowledge_nodes"],
    ),
    (
        "nothing of it",
        weigh(cluster("a"), {"public.x": 5}, expected(None)),
        [],
        ["it holds none of the expected tables"],
    ),
    (
        "many tables, the configured ones first",
        weigh(
            cluster("a"),
            {"public.small": 5, "public.z": 3, "public.big": 900, '"Sales Data".x': 30},
            expected(
                None, Baseline({"public.small": 5, "public.z": 3, "public.big": 900, '"Sales Data".x': 30}, {}), z=1
            ),
        ),
        ['it holds 3 of 3 z, 900 of 900 big, 30 of 30 "Sales Data".x and 5 of 5 rows in 1 more table'],
        [],
    ),
    ("not counted", weigh(cluster("a"), None, expected(None)), [], []),
]


@pytest.mark.parametrize(("found", "good", "bad"), [each[1:] for each in WORDS], ids=[each[0] for each in WORDS])
def test_words(found: Evidence, good: list[str], bad: list[str]) -> None:
    assert (found.speaks_for, found.speaks_against) == (good, bad)


@pytest.mark.parametrize(
    ("parts", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_joined(parts: list[str], words: str) -> None:
    assert joined(parts) == words
