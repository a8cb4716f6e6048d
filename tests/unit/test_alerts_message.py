"""What is read on a phone."""

from datetime import UTC, datetime

import pytest

from tasks.alerts import codes
from tasks.alerts.message import LINE, LINES, Message, compose, compose_failure
from tasks.errors import DatabaseUnreachable
from tasks.models import Finding, Identity, Severity, verdict_of

WHEN = datetime(2026, 2, 1, 2, 5, tzinfo=UTC)
EXPECTED = {"public.experts": 85, "public.knowledge_nodes": 26337}
DURING = {"public.experts": 1, "public.knowledge_nodes": 27}
BACKUP = "20260131T020000Z-4f1c"
IDENTITY = Identity(
    container="knowledge_postgres",
    volume="atra_knowledge_postgres_data",
    system_identifier="7301",
    timeline=1,
    checkpoint_lsn="0/1",
    server_version="16.4",
)


def lost(table: str, severity: Severity = "critical") -> Finding:
    return Finding(code="rows.dropped", severity=severity, message=f"{table} lost rows.", table=table)


MISMATCH = Finding(
    code="volume.mismatch",
    severity="critical",
    message="Container knowledge_postgres keeps its data on volume knowledge_os_postgres_data; "
    "it must be on volume atra_knowledge_postgres_data.",
)
STALE = Finding(code="backup.stale", severity="warning", message="The newest good backup is 30 hours old.")
INCIDENT = [lost("public.experts"), lost("public.knowledge_nodes"), STALE, MISMATCH]


def alert(
    findings: list[Finding],
    reason: str = "new",
    counts: dict[str, int] = DURING,
    expected: dict[str, int] = EXPECTED,
    backup: str | None = BACKUP,
) -> Message:
    return compose(
        "knowledge_os",
        verdict_of(findings),
        findings,
        IDENTITY,
        counts,
        expected=expected,
        reason=reason,  # type: ignore[arg-type]
        when=WHEN,
        backup=backup,
    )


def test_the_incident_is_told_in_a_title_and_five_lines() -> None:
    message = alert(INCIDENT)
    assert message.title == ("CRITICAL knowledge_os: wrong volume, 84 of 85 experts gone, +2 more")
    assert message.body == (
        "Container knowledge_postgres keeps its data on volume knowledge_os_postgres_data; it must\n"
        "be on volume atra_knowledge_postgres_data.\n"
        "Rows: experts 1 (expected 85), knowledge_nodes 27 (expected 26,337)\n"
        f"Checked 2026-02-01 02:05 UTC; last good backup {BACKUP}.\n"
        "Next: put the pinned volume back (never down -v), then rollcall verify knowledge_os"
    )
    assert message.kind == "failure"


def test_lost_rows_alone_lead_to_the_backups_and_to_accept() -> None:
    message = alert([lost("public.experts")], counts={**DURING, "public.knowledge_nodes": 26337}, backup=None)
    assert message.title == "CRITICAL knowledge_os: 84 of 85 experts gone"
    assert message.body == (
        "public.experts lost rows.\n"
        "Rows: experts 1 (expected 85)\n"
        "Checked 2026-02-01 02:05 UTC; no good backup known.\n"
        "Next: rollcall backups knowledge_os; meant? rollcall accept knowledge_os --reason TEXT"
    )


def test_warnings_without_rows_name_the_others_too() -> None:
    unproven = Finding(code="backup.unproven", severity="warning", message="No backup was proven for 9 days.")
    message = alert([unproven, STALE], counts=EXPECTED)
    assert message.title == "WARNING knowledge_os: backup too old, backup unproven"
    assert message.body == (
        "The newest good backup is 30 hours old.\n"
        "Also: backup unproven\n"
        f"Checked 2026-02-01 02:05 UTC; last good backup {BACKUP}.\n"
        "Next: rollcall backup knowledge_os"
    )
    assert message.kind == "warning"


def test_a_recovery_says_where_it_runs_and_how_much_is_there() -> None:
    message = alert([], "recovered", counts=EXPECTED)
    assert message.title == "RECOVERED knowledge_os: healthy again"
    assert message.body == (
        "Every check passes again on knowledge_postgres, volume atra_knowledge_postgres_data.\n"
        "Rows: 26,422 in 2 tables; baseline 26,422.\n"
        f"Checked 2026-02-01 02:05 UTC; last good backup {BACKUP}.\n"
        "Next: nothing to do; rollcall history knowledge_os shows what happened."
    )
    assert message.kind == "success"


@pytest.mark.parametrize(
    ("reason", "start"),
    [("reminder", "STILL CRITICAL k"), ("worse", "WORSE: CRITICAL k"), ("changed", "CRITICAL k")],
)
def test_the_title_says_what_is_new_about_it(reason: str, start: str) -> None:
    assert alert(INCIDENT, reason).title.startswith(start)


def test_a_table_with_two_findings_is_named_once() -> None:
    below = Finding(code="rows.below_min", severity="critical", message="below 80", table="public.experts")
    message = alert([below, lost("public.experts")])
    assert message.title == "CRITICAL knowledge_os: 84 of 85 experts gone"
    assert message.body.count("experts 1 (expected 85)") == 1


def test_a_missing_table_is_missing_and_not_empty() -> None:
    gone = Finding(code="table.missing", severity="critical", message="experts is gone.", table="public.experts")
    message = alert([gone], counts={})
    assert message.title == "CRITICAL knowledge_os: experts missing"
    assert "Rows: experts missing (expected 85)" in message.body


def test_an_alert_without_identity_counts_or_findings_still_says_something() -> None:
    message = compose("t", "critical", [], None, {}, expected={}, reason="reminder", when=WHEN, backup=None)
    assert message.title == "STILL CRITICAL t: needs a look"
    assert message.body.splitlines()[0] == "The counts need a look."


HOSTILE = 'public."line\nbreak \x1b[31m' + "x" * 300 + '"'


@pytest.mark.parametrize(
    "findings",
    [
        pytest.param(INCIDENT, id="incident"),
        pytest.param([lost(f"public.table_{number}") for number in range(500)], id="500 tables"),
        pytest.param([lost(HOSTILE), *INCIDENT], id="hostile table name"),
        pytest.param(
            [Finding(code=code, severity="critical", message="word " * 200) for code in codes.CODES], id="all"
        ),
        pytest.param([Finding(code="not.listed", severity="warning", message="x" * 900)], id="one endless word"),
    ],
)
def test_no_message_is_more_than_a_phone_shows(findings: list[Finding]) -> None:
    counts = {f"public.table_{number}": 0 for number in range(500)} | {HOSTILE: 1}
    message = alert(findings, counts=counts, expected=dict.fromkeys(counts, 7))
    lines = message.body.splitlines()
    assert 3 <= len(lines) <= LINES
    assert [line for line in (message.title, *lines) if len(line) > LINE] == []
    assert (message.title + "".join(lines)).isprintable()
    assert any(line.startswith("Next: ") for line in lines)


def test_what_does_not_fit_is_counted() -> None:
    findings = [lost(f"public.a_table_with_name_{number}") for number in range(9)]
    counts = {finding.table: 1 for finding in findings if finding.table}
    message = alert(findings, counts=counts, expected=dict.fromkeys(counts, 10))
    assert message.title.endswith("9 of 10 a_table_with_name_0 gone, +8 more")
    assert "a_table_with_name_1 1 (expected 10), +7 more\n" in message.body


@pytest.mark.parametrize("code", codes.CODES)
def test_the_next_step_of_every_code_fits_a_line_and_is_filled_in(code: str) -> None:
    step = "Next: " + codes.step(code, "knowledge_os")
    assert len(step) <= LINE
    assert "{" not in step + codes.words(code, "experts")


def test_a_failure_quotes_our_own_error() -> None:
    error = DatabaseUnreachable("No connection to knowledge_postgres could be made; is it running?")
    message = compose_failure("knowledge_os", "backup", error, WHEN)
    assert message == Message(
        "FAILED knowledge_os: backup did not come to its end",
        "No connection to knowledge_postgres could be made; is it running?\n"
        "Tried 2026-02-01 02:05 UTC.\n"
        "Next: mend this, then run: rollcall backup knowledge_os",
        "failure",
    )


def test_a_failure_never_quotes_what_others_say() -> None:
    error = OSError("could not connect to postgresql://admin:hunter2@db/knowledge_os")
    message = compose_failure("knowledge_os", "verify", error, WHEN)
    assert "hunter2" not in message.title + message.body
    assert message.body.splitlines()[0] == "OSError; the log of the run says more."
