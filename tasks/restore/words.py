"""A plan in words: as text for a terminal, as Markdown for Prefect's UI. Both say the same, in the same order."""

from __future__ import annotations

from collections.abc import Iterator

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
        yield "First:", ["  a backup of what is there now; nothing is touched if that fails"]
    if plan.steps:
        yield (
            "Steps (↓ the database is down; ↩ how each is undone):",
            [
                f"  {number:2}. {'↓' if step.downtime else ' '} {step.does}{f'  ↩ {step.undo}' if step.undo else ''}"
                for number, step in enumerate(plan.steps, 1)
            ],
        )
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
    return ["To be changed by hand, or the next `up` brings the wrong volume back:", *plan.mending.by_hand.splitlines()]


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


def rows_table(plan: Plan) -> list[tuple[str, str, str]]:
    """(table, rows now, rows after), those that change first."""
    now, after = plan.counts_now or {}, plan.counts_after
    names = sorted({*now, *after}, key=lambda name: (now.get(name) == after.get(name), name))
    rows = [(name, _rows(now, name, plan.counts_now is None), _rows(after, name, not after)) for name in names]
    left = len(rows) - MOST_TABLES
    return rows[:MOST_TABLES] + ([(f"and {left} more", "", "")] if left > 0 else [])


def _rows(counts: dict[str, int], name: str, unknown: bool) -> str:
    if unknown:
        return "?"
    return f"{counts[name]:,}" if name in counts else "no such table"


def plan_markdown(plan: Plan) -> str:
    """The whole plan for Prefect's UI."""
    return "\n".join(_markdown(plan))


def _markdown(plan: Plan) -> Iterator[str]:
    yield f"## Restore plan for {plan.target}"
    yield f"**{headline(plan)}**\n"
    yield "| | |\n|---|---|"
    yield f"| container | `{plan.container}` |"
    yield f"| mounts now | `{plan.mounted or 'no volume'}` |"
    yield f"| pinned | `{plan.pinned}`{'' if plan.pinned_exists else ' (does not exist)'} |"
    if plan.source is not None:
        yield f"| source | {described(plan.source)} |"
    yield f"| plan | `{plan.hash}` |"
    if rows := rows_table(plan):
        yield "\n| table | rows now | rows after |\n|---|---:|---:|"
        yield from (f"| `{name}` | {now} | {after} |" for name, now, after in rows)
    for title, lines in _lists(plan):
        yield f"\n**{title}**\n"
        yield from (f"- {line.strip()}" for line in lines)


def restore_markdown(report: RestoreReport) -> str:
    """What came of a restore, for Prefect's UI: the proof first, then the plan that was followed."""
    lines = [f"## {report.target} is restored", *(f"- {each}" for each in restored_lines(report))]
    lines += ["\n| table | planned | now |\n|---|---:|---:|"]
    for database, tables in report.counts.items():
        for name, rows in tables.items():
            planned = report.plan.counts_after.get(name)
            lines.append(f"| `{database}: {name}` | {'' if planned is None else f'{planned:,}'} | {rows:,} |")
    lines += [
        "\n| step | seconds |\n|---|---:|",
        *(f"| {name} | {each:.1f} |" for name, each in report.timings.items()),
    ]
    return "\n".join([*lines, "", plan_markdown(report.plan)])


def restored_lines(report: RestoreReport) -> list[str]:
    """What a person wants to know when it is over, a line each."""
    plan = report.plan
    total = sum(rows for tables in report.counts.values() for rows in tables.values())
    tables = sum(len(each) for each in report.counts.values())
    lines = [
        f"{plan.container} runs on {plan.pinned}, cluster {report.system_identifier}: "
        f"{total:,} rows in {tables} tables.",
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
    if not result.proven:
        return [f"Backup {result.backup} is NOT proven: {result.reason}", f"Tried for {result.rto_seconds:.1f} s."]
    rows = ", ".join(f"{name} {number:,}" for name, number in result.rows.items())
    return [
        f"Backup {result.backup} comes back exactly as it was taken (rows: {rows}).",
        f"Measured RTO, until it was proven and on the disk: {result.rto_seconds:.1f} s.",
        f"The proof is noted in {', '.join(result.storages) or 'no storage: none took the note'}.",
        *result.notes,
    ]


def drill_markdown(result: DrillResult) -> str:
    """The drill for Prefect's UI."""
    lines = [f"## Drill of {result.target}: {'proven' if result.proven else 'NOT PROVEN'}"]
    lines += [f"- {each}" for each in drill_lines(result)]
    if result.timings:
        lines += [
            "\n| step | seconds |\n|---|---:|",
            *(f"| {name} | {each:.1f} |" for name, each in result.timings.items()),
        ]
    return "\n".join(lines)
