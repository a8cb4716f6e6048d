"""The plan of a `down` in words, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.leaving.plan import DownPlan
from tasks.leaving.report import DownReport

ANONYMOUS = re.compile(r"[0-9a-f]{64}")


def plan_text(plan: DownPlan) -> str:
    """The whole plan for a terminal."""
    return "\n".join(_text(plan))


def _text(plan: DownPlan) -> Iterator[str]:
    what = "DOWN WITH VOLUMES" if plan.remove_volumes else "DOWN"
    yield f"{what} of project {plan.project} in {plan.folder}"
    yield ""
    yield f"  containers  {', '.join(plan.containers) or 'none'}"
    for title, lines in _lists(plan):
        yield ""
        yield title
        yield from (f"  {each}" for each in lines)


def _lists(plan: DownPlan) -> Iterator[tuple[str, list[str]]]:
    if plan.volumes:
        yield "Volumes (★ a database):", [_volume_line(plan, name) for name in range(len(plan.volumes))]
    if plan.earlier is not None:
        where = "" if plan.earlier.folder == plan.folder else f" in {plan.earlier.folder}"
        yield (
            f"Stopped on {plan.earlier.at:%Y-%m-%d %H:%M} UTC by a down{where} that was killed:",
            [*(f"{each}: started again first" for each in plan.earlier.starts), *plan.earlier.left],
        )
    if plan.blockers:
        yield "In the way, so that nothing is begun:", [f"✗ {each}" for each in plan.blockers]
        return
    if plan.backups:
        yield "First:", [_backup_line(*each) for each in plan.backups.items()]
    yield "Then:", list(_steps(plan))
    if plan.notes:
        yield "Worth knowing:", plan.notes


def _volume_line(plan: DownPlan, number: int) -> str:
    each, names = plan.volumes[number], [short(one.name) for one in plan.volumes]
    width = max(len(name) for name in names)
    return f"{'★' if each.precious else ' '} {names[number]:{width}}  {each.fate}: {each.why}; {each.holds}"


def short(name: str) -> str:
    """An anonymous volume's name, which is a hash, by its beginning."""
    return f"{name[:12]}…" if ANONYMOUS.fullmatch(name) else name


def _backup_line(target: str, backup: str | None) -> str:
    if backup is not None:
        return f"backup {backup}, which holds all of {target}, is proven once more in a scratch volume"
    return f"a backup of {target}, proven in a scratch volume; nothing is touched if that fails"


def _steps(plan: DownPlan) -> Iterator[str]:
    if plan.going:
        yield "the words DELETE VOLUMES are asked for"
    yield "the containers are stopped, databases last"
    if any(each.precious for each in plan.going):
        yield "if anything was written since, it is backed up and proven again, or all starts again"
    yield "docker compose down, without --volumes"
    for each in plan.going:
        yield f"remove the volume {short(each.name)}"


def down_lines(report: DownReport) -> list[str]:
    """What a person wants to know when it is over, a line each."""
    lines = [f"The containers of {report.plan.project} are gone; approved by {report.approved_by}."]
    lines += report.others
    lines += [f"{target} is in backup {backup}, proven." for target, backup in report.backups.items()]
    lines += [f"Removed the volume {short(name)}." for name in report.removed]
    stays = [each for each in report.plan.volumes if each.name not in report.removed]
    if report.plan.remove_volumes:
        lines += [f"Still there: {short(each.name)} ({each.why})." for each in stays]
    elif stays:
        lines.append(f"Still there: {', '.join(short(each.name) for each in stays)}.")
    return lines + [
        f"To bring {target} back after the next up: rollcall restore-volume {target} --backup {backup}"
        for target, backup in report.backups.items()
        if report.removed_of.get(target)
    ]
