"""A plan in words: as text for a terminal, as Markdown for Prefect's UI. Both say the same, in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.alerts.artifacts import MOST, as_line, escape, table
from tasks.alerts.run_reports import listed
from tasks.models import Difference
from tasks.restore.accepting import named, texts
from tasks.restore.compare import in_words
from tasks.restore.drill import DrillResult
from tasks.restore.facts import Source
from tasks.restore.plan import Plan
from tasks.restore.report import RestoreReport

HEADLINES = {
    "nothing": "Nothing to do: the pinned volume is mounted, and nothing about it is critical.",
    "reattach": "REATTACH: the container mounts another volume, and the pinned one still holds the data.",
    "restore": "RESTORE: the right volume is mounted; what it holds is replaced by the source.",
    "both": "RESTORE AND REATTACH: the container mounts another volume, and the pinned one does not hold the data.",
}
MOST_TABLES = 25
SAFETY = "a backup of what is there now; nothing is touched if that fails"


def headline(plan: Plan) -> str:
    """The situation in one sentence."""
    return HEADLINES[plan.situation]


def plan_text(plan: Plan) -> str:
    """The whole plan for a terminal."""
    return "\n".join(_text(plan))


def _text(plan: Plan) -> Iterator[str]:
    yield f"Plan {plan.hash} for {plan.target}"
    yield headline(plan)
    yield ""
    yield f"  container   {plan.container} ({plan.container_id[:12]})"
    yield f"  mounts now  {plan.mounted or 'no volume'}"
    yield f"  pinned      {plan.pinned}{'' if plan.pinned_exists else ' (does not exist)'}"
    if plan.source is not None:
        yield f"  source      {described(plan.source)}"
    if rows := rows_table(plan):
        width = max(len(name) for name, *_ in rows)
        yield ""
        yield f"  {'table':{width}}  {'rows now':>14}  {'rows after':>14}"
        yield from (f"  {name:{width}}  {now:>14}  {after:>14}" for name, now, after in rows)
    for title, lines in _lists(plan):
        yield ""
        yield title
        yield from lines


def _lists(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    if plan.blockers:
        yield "In the way, so that nothing is begun:", [f"  ✗ {each}" for each in plan.blockers]
    if plan.safety_backup and plan.steps:
        yield "First:", [f"  {SAFETY}"]
    if plan.steps:
        yield (
            "Steps (↓ the database is down; ↩ how each is undone):",
            [
                f"  {number:2}. {'↓' if step.downtime else ' '} {step.does}{f'  ↩ {step.undo}' if step.undo else ''}"
                for number, step in enumerate(plan.steps, 1)
            ],
        )
    yield from _after(plan)


def _after(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    """What follows the steps."""
    if plan.mending is not None:
        yield "Compose file:", [f"  {plan.mending.path}", *(f"  {each}" for each in mending_lines(plan))]
    if plan.kept:
        yield "Kept:", [f"  {each}" for each in plan.kept]
    if plan.notes:
        yield "Worth knowing:", [f"  {each}" for each in plan.notes]


def mending_lines(plan: Plan) -> list[str]:
    """What changes in the compose file, or what a person must change there."""
    if plan.mending is None:
        return []
    if plan.mending.by_hand is None:
        return plan.mending.changes
    otherwise = (
        "`down --volumes` removes the volume" if plan.mending.fixed else "the next `up` brings the wrong volume back"
    )
    return [f"To be changed by hand, or {otherwise}:", *plan.mending.by_hand.splitlines()]


def described(source: Source) -> str:
    """The source in words."""
    if source.kind == "pinned":
        return f"volume {source.name} as it is (cluster {source.system_identifier})"
    if source.kind == "volume":
        return (
            f"a copy of volume {source.name} (cluster {source.system_identifier}, PostgreSQL {source.server_version})"
        )
    taken = f"{source.created_at:%Y-%m-%d %H:%M} UTC" if source.created_at else "?"
    proven = f"proven {source.proven_at:%Y-%m-%d}" if source.proven_at else "not proven by a drill yet"
    state = "QUARANTINED, " if source.quarantined else ""
    return f"backup {source.name} of {taken} ({state}{proven}; in {', '.join(source.storages)})"


def rows_table(plan: Plan, most: int = MOST_TABLES) -> list[tuple[str, str, str]]:
    """(table, rows now, rows after), those that change first; `most` of them."""
    now, after = plan.counts_now or {}, plan.counts_after
    names = sorted({*now, *after}, key=lambda name: (now.get(name) == after.get(name), name))
    rows = [(name, _rows(now, name, plan.counts_now is None), _rows(after, name, not after)) for name in names]
    left = len(rows) - most
    return rows[:most] + ([(f"and {left} more", "", "")] if left > 0 else [])


def _rows(counts: dict[str, int], name: str, unknown: bool) -> str:
    if unknown:
        return "?"
    return f"{counts[name]:,}" if name in counts else "no such table"


def plan_markdown(plan: Plan, most: int = MOST_TABLES) -> str:
    """The whole plan for Prefect's UI; of its tables `most`, and 25 at most."""
    return "\n".join(_markdown(plan, min(most, MOST_TABLES)))


def _markdown(plan: Plan, most: int) -> Iterator[str]:
    yield f"## Restore plan for {escape(plan.target)}\n"
    yield f"**{headline(plan)}**\n"
    if plan.blockers:
        yield "**In the way, so that nothing is begun**\n"
        yield from (f"- ✗ {escape(each)}" for each in plan.blockers)
        yield ""
    # Lists, which break where a line is full: the form's window is narrow, and cuts off what is wider in a table.
    yield f"- container: **{escape(plan.container)}**"
    yield f"- mounts now: **{escape(plan.mounted or 'no volume')}**"
    yield f"- pinned: **{escape(plan.pinned)}**{'' if plan.pinned_exists else ' (does not exist)'}"
    if plan.source is not None:
        yield f"- source: **{escape(described(plan.source))}**"
    yield f"- plan: {plan.hash}"
    if rows := rows_table(plan, most):
        yield "\n### Rows\n"
        yield table(
            ("table", "rows now", "rows after"), [[escape(name), now, after] for name, now, after in rows], (1, 2)
        )
    if plan.steps:
        yield "\n### Steps\n"
        first = f"First {SAFETY}. " if plan.safety_backup else ""
        yield f"{first}↓ the database is down; ↩ how a step is undone.\n"
        # Lines that end in two spaces, not a numbered list: Prefect's UI cuts off the first digit of its number 10.
        yield from (
            f"**{number}.** {'↓ ' if step.downtime else ''}{step.does}{f' ↩ {step.undo}' if step.undo else ''}  "
            for number, step in enumerate(plan.steps, 1)
        )
    for title, lines in _after(plan):
        yield f"\n### {title.rstrip(':')}\n"
        yield from (f"- {as_line(line.strip())}" for line in lines)


def restore_markdown(report: RestoreReport, most: int = MOST) -> str:
    """What came of a restore, for Prefect's UI: the proof first, then the plan that was followed. most: of tables."""
    parts = [
        f"# {_came_out(report)}",
        "\n".join(f"- {escape(each)}" for each in restored_lines(report)),
        "## Proof: rows by table",
        _proof(report, most),
        "## Time",
        timings_table(report.timings),
        plan_markdown(report.plan, most),
    ]
    return "\n\n".join(parts) + "\n"


def _came_out(report: RestoreReport) -> str:
    if report.warnings:
        return f"⚠ {escape(report.target)} is restored, and what depends on it does not all run"
    return f"✔ {escape(report.target)} is restored"


def _proof(report: RestoreReport, most: int) -> str:
    """Each table in what was to come back, in what was rebuilt aside, and in what runs now; unequal ones first."""
    several = len(report.counts) > 1
    rows = []
    for database, found in report.counts.items():
        rebuilt = report.rebuilt.get(database, {})
        # The plan counts the target's own database alone.
        planned = report.plan.counts_after if database == report.database else {}
        for name in sorted({*found, *rebuilt, *planned}):
            numbers = [each.get(name) for each in (planned, rebuilt, found)]
            equal = len({each for each in numbers if each is not None}) == 1 and name in found
            shown = ["" if each is None else f"{each:,}" for each in numbers]
            rows.append(["✔" if equal else "⚠", escape(f"{database}: {name}" if several else name), *shown])
    rows.sort(key=lambda row: row[0] == "✔")
    equal_too = "" if any(row[0] != "✔" for row in rows[most:]) else ", each equal in all three"
    more = f"\n\nand {len(rows) - most:,} more tables{equal_too}." if len(rows) > most else ""
    heads = ("", "table", _source_head(report.plan), "rebuilt aside", "running now")
    return table(heads, rows[:most], (2, 3, 4)) + more


def _source_head(plan: Plan) -> str:
    return "manifest" if plan.source and plan.source.kind == "backup" else "planned"


def timings_table(timings: dict[str, float]) -> str:
    """Seconds by step."""
    if not timings:
        return "No times were taken."
    return table(("step", "seconds"), [[escape(name), f"{each:.1f}"] for name, each in timings.items()], (1,))


def accepted_lines(report: RestoreReport) -> list[str]:
    """The definitions that came back in another way, a line each."""
    return [f"Came back in another way, as accepted: {in_words(each)}." for each in report.differences]


def restored_lines(report: RestoreReport) -> list[str]:
    """What a person wants to know when it is over, a line each."""
    plan = report.plan
    total = sum(rows for tables in report.counts.values() for rows in tables.values())
    tables = sum(len(each) for each in report.counts.values())
    lines = [
        f"{plan.container} runs on {plan.pinned}, cluster {report.system_identifier}: "
        f"{total:,} rows in {tables} tables.",
        *report.warnings,
        *accepted_lines(report),
        f"Down for {report.downtime_seconds:.1f} s of {report.total_seconds:.1f} s; approved by {report.approved_by}.",
    ]
    if report.safety_backup:
        lines.append(f"What was there before is in backup {report.safety_backup}.")
    if report.staging and plan.pinned_exists:
        lines.append(f"What {plan.pinned} held before is kept as volume {report.staging}.")
    if report.old_container:
        lines.append(f"The old container is kept, stopped, as {report.old_container}.")
    if plan.mending is not None:
        lines += mending_lines(plan)
    return lines


def drill_lines(result: DrillResult) -> list[str]:
    """What a drill found, a line each."""
    if not result.proven and not result.rows_proven:
        return [f"Backup {result.backup} is NOT proven. {result.reason}", f"Tried for {result.rto_seconds:.1f} s."]
    rows = ", ".join(f"{name} {number:,}" for name, number in result.rows.items())
    how = "exactly as it was taken" if not result.named else f"with every row; {named(result.named)}"
    return [
        f"Backup {result.backup} comes back {how} (rows: {rows}).",
        *(
            [result.reason, *texts(result.unaccepted)]
            if result.reason
            else ["These differences are accepted."]
            if result.named
            else []
        ),
        f"Measured RTO, until it was proven and on the disk: {result.rto_seconds:.1f} s.",
        f"The proof is noted in {', '.join(result.storages) or 'no storage: none took the note'}.",
        *result.notes,
    ]


def drill_title(result: DrillResult) -> str:
    """`PROVEN`, or how far it is from that."""
    if result.proven:
        return "PROVEN"
    number = len(result.unaccepted)
    differ = "1 DEFINITION DIFFERS" if number == 1 else f"{number} DEFINITIONS DIFFER"
    return f"ROWS PROVEN, {differ}" if result.rows_proven else "NOT PROVEN"


def drill_markdown(result: DrillResult, most: int = MOST) -> str:
    """The drill for Prefect's UI. most: entries of a list at most."""
    parts = [
        f"# {'✔ proven' if result.proven else f'⚠ {drill_title(result)}'}: {escape(result.target)}",
        "\n".join(f"- {escape(each)}" for each in drill_lines(result)),
        *([] if result.rows_proven else [f"**Next:** {escape(_unproven_step(result))}"]),
    ]
    if result.differences:
        parts += ["## Differences", listed(result.differences, most)]
    if result.rows:
        rows = [[escape(name), f"{number:,}"] for name, number in list(result.rows.items())[:most]]
        parts += ["## What came back", table(("database", "rows"), rows, (1,))]
    if result.timings:
        parts += ["## Time", timings_table(result.timings)]
    return "\n\n".join(parts) + "\n"


def differences_markdown(differences: Sequence[Difference], said: str) -> str:
    """The question about differences for Prefect's form, with both texts."""
    lines = "\n".join(f"- {escape(each)}" for each in texts(differences))
    return f"## Go on?\n\n{escape(said)}\n\n{lines}\n\nNothing was stopped yet.\n"


def _unproven_step(result: DrillResult) -> str:
    return (
        f"do not rely on this backup. Take a new one (rollcall backup {result.target}) and drill that; "
        f"rollcall backups {result.target} lists those that are proven."
    )
