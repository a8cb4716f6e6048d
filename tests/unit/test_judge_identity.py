"""Schema and identity: what changed, and is it still the same cluster."""

from typing import Any

import pytest

from tasks.errors import HistoryError
from tasks.history.judge import is_accepted, judge_identity, judge_schema, lsn
from tasks.history.records import Pin
from tasks.history.replay import START
from tasks.models import Identity, verdict_of

RIGHT = "atra_knowledge_postgres_data"
WRONG = "knowledge_os_postgres_data"
ANONYMOUS = "0123456789abcdef" * 4
SEEN = Identity(
    container="knowledge_postgres",
    volume=RIGHT,
    system_identifier="7300000000000000001",
    timeline=2,
    checkpoint_lsn="0/FFFFFFFF",
    server_version="16.4",
    compose_project="atra",
)
PIN = Pin(target="knowledge_os", system_identifier=SEEN.system_identifier, volume=RIGHT, pinned_at=START, reason="")


@pytest.mark.parametrize(
    ("changed", "verdict", "codes"),
    [
        ({}, "healthy", []),
        ({"checkpoint_lsn": "1/0"}, "healthy", []),
        ({"timeline": 3, "checkpoint_lsn": "1/0"}, "healthy", []),
        ({"volume": WRONG}, "critical", ["volume.mismatch"]),
        (
            {"volume": WRONG, "system_identifier": "73", "compose_project": "knowledge_os"},
            "critical",
            ["volume.mismatch", "cluster.changed"],
        ),
        ({"volume": None}, "critical", ["volume.mismatch", "volume.not_pinned"]),
        ({"volume": ANONYMOUS}, "critical", ["volume.mismatch", "volume.not_pinned"]),
        ({"system_identifier": "73", "timeline": 1}, "critical", ["cluster.changed"]),
        ({"timeline": 1, "checkpoint_lsn": "1/0"}, "critical", ["cluster.rewound"]),
        ({"checkpoint_lsn": "0/FFFFFFFE"}, "critical", ["cluster.rewound"]),
        ({"container": "kp2"}, "healthy", ["container.renamed"]),
        ({"compose_project": "knowledge_os"}, "healthy", ["project.changed"]),
        ({"server_version": "16.5"}, "healthy", ["server.upgraded"]),
    ],
)
def test_the_cluster_is_recognised(changed: dict[str, Any], verdict: str, codes: list[str]) -> None:
    findings = judge_identity(SEEN.model_copy(update=changed), PIN, SEEN, RIGHT)
    assert [finding.code for finding in findings] == codes
    assert verdict_of(findings) == verdict
    assert is_accepted(findings) is (verdict != "critical")


def test_first_sight_on_the_right_volume_offers_the_pin() -> None:
    findings = judge_identity(SEEN, None, None, RIGHT)
    assert [(finding.code, finding.severity) for finding in findings] == [("cluster.pinned", "notice")]


def test_first_sight_on_the_wrong_volume_offers_no_pin() -> None:
    findings = judge_identity(SEEN.model_copy(update={"volume": WRONG}), None, None, RIGHT)
    assert [finding.code for finding in findings] == ["volume.mismatch"]
    assert WRONG in findings[0].message
    assert RIGHT in findings[0].message


def test_an_anonymous_volume_that_is_the_configured_one_is_a_warning() -> None:
    findings = judge_identity(SEEN.model_copy(update={"volume": ANONYMOUS}), PIN, SEEN, ANONYMOUS)
    assert [(finding.code, finding.severity) for finding in findings] == [("volume.not_pinned", "warning")]


def test_another_cluster_is_named_with_what_to_do() -> None:
    (finding,) = judge_identity(SEEN.model_copy(update={"system_identifier": "73"}), PIN, SEEN, RIGHT)
    assert "cluster 73" in finding.message
    assert PIN.system_identifier in finding.message
    assert "put the right one back" in finding.message
    assert "rollcall accept knowledge_os --reason" in finding.message


def test_a_cluster_accepted_after_an_upgrade_is_not_compared_with_the_old_ones_log() -> None:
    new = SEEN.model_copy(update={"system_identifier": "8", "timeline": 1, "checkpoint_lsn": "0/1"})
    assert judge_identity(new, PIN.model_copy(update={"system_identifier": "8"}), SEEN, RIGHT) == []


def test_log_positions_are_compared_as_numbers() -> None:
    assert lsn("A/0") > lsn("9/FFFFFFFF") > lsn("9/10000000") > lsn("9/F")


@pytest.mark.parametrize("text", ["", "0", "x/1", "1/2/3", "-1/2", "0/123456789"])
def test_what_is_no_log_position_is_refused(text: str) -> None:
    with pytest.raises(HistoryError, match="no log position"):
        lsn(text)


BEFORE = {"table public.a": "1", "column public.a.id": "2", "index public.a_pkey": "3"}


def test_the_same_schema_and_the_first_schema_say_nothing() -> None:
    assert judge_schema(BEFORE, BEFORE) == []
    assert judge_schema(BEFORE, None) == []


def test_additions_are_a_notice() -> None:
    (finding,) = judge_schema({**BEFORE, "table public.b": "4", "column public.b.id": "5"}, BEFORE)
    assert (finding.code, finding.severity) == ("schema.changed", "notice")
    assert finding.message == "The schema is not what it was: added table public.b."


def test_a_column_that_is_gone_is_a_warning_until_it_is_accepted() -> None:
    (finding,) = judge_schema({"table public.a": "1", "index public.a_pkey": "3"}, BEFORE)
    assert finding.severity == "warning"
    assert not is_accepted([finding])


def test_something_altered_that_holds_no_rows_is_a_notice() -> None:
    findings = judge_schema({"table public.a": "1", "column public.a.id": "9", "view public.v": "1"}, BEFORE)
    assert findings[0].severity == "notice"
    assert findings[0].message == (
        "The schema is not what it was: removed index public.a_pkey; changed column public.a.id; added view public.v."
    )
    assert is_accepted(findings)


def test_at_most_five_objects_are_named_and_the_rest_counted() -> None:
    before = {f"table public.t{number}": "1" for number in range(1207)}
    (finding,) = judge_schema({"table public.new": "1"}, before)
    assert finding.message.count("table ") == 5
    assert "and 1,202 more; 1 added." in finding.message
