"""The doctor on Prefect: will it run what is scheduled, and notice what does not run?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deployments import prefect_server
from deployments.automations import mark_of, rivals, steps, wanted_automations
from deployments.automations_command import delivering
from deployments.installation import former_installation, installation
from deployments.serving.late import refusals_in_words
from tasks.config import Config, NotifyBlock
from tasks.cron import NEVER, longest_gap, overdue_after
from tasks.doctor.diagnosis import Diagnosis, tried, wrong
from tasks.doctor.schedules import FLOWS, schedule_diagnoses
from tasks.errors import ConfigError, HistoryError, RollcallError
from tasks.history.backups import stored_backups
from tasks.history.standing import Standing, standings
from tasks.history.store import History, open_history
from tasks.limits import backup_limit, check_limit, check_limits


def prefect_diagnoses(config: Config) -> list[Diagnosis]:
    """Version, schedules, blocks and automations of the server that `serve` runs or the environment names."""
    if not prefect_server.api_of(config):
        silent = "no Prefect server is configured, and no rollcall serve runs here"
        return [*without_blocks(config, silent), *without_server(config, datetime.now(UTC))]
    try:
        with prefect_server.server(config) as client:
            return [
                _asked("prefect", lambda: _version(client)),
                *block_diagnoses(config, lambda name: prefect_server.block_id(client, name)),
                *schedule_diagnoses(config, lambda path, body: _post(client, path, body)),
                *_alarms(client, config),
            ]
    except RollcallError as error:
        refused = wrong("prefect", f"It cannot be asked what is scheduled: {error}")
        return [refused, *without_blocks(config, "Prefect's server cannot be asked for it")]


def block_diagnoses(config: Config, block_id: Callable[[str], str | None]) -> Iterator[Diagnosis]:
    """Whether the server has the blocks that notifications go through. block_id: None for one that it does not have."""
    for subject, name in _blocks(config):
        if block_id(name) is None:
            yield wrong(
                subject, f"There is no Prefect block {name!r} on the server: make it in Prefect's UI, or mend its name."
            )
        else:
            yield Diagnosis(subject=subject, well=True, words=f"The Prefect block {name} is there.")


def without_blocks(config: Config, why: str) -> Iterator[Diagnosis]:
    """The same where there is no server to ask."""
    for subject, name in _blocks(config):
        yield wrong(subject, f"Nothing can be sent through the Prefect block {name!r}: {why}.")


def _blocks(config: Config) -> Iterator[tuple[str, str]]:
    for position, entry in enumerate(config.notify):
        if isinstance(entry, NotifyBlock):
            yield f"notify[{position}]", entry.block


def _asked(subject: str, check: Callable[[], str]) -> Diagnosis:
    """As `tried`, with what Prefect refuses in words."""

    def in_words() -> str:
        with refusals_in_words():
            return check()

    return tried(subject, in_words)


def _post(client: Any, path: str, body: Mapping[str, Any]) -> Any:
    return client.request("POST", path, json=dict(body)).json()


def _version(client: Any) -> str:
    server, ours = prefect_server.versions(client)
    if server.split(".")[:2] != ours.split(".")[:2]:
        raise RollcallError(
            f"The server is of version {server}, and the Prefect here of {ours}: runs and alarms may be lost between "
            "them. Bring the server to the same version."
        )
    return f"The server is of version {server}."


def _alarms(client: Any, config: Config) -> Iterator[Diagnosis]:
    """Whether the automations are there, and as the configuration asks for; nothing where nobody is to be told."""
    if not config.notify:
        return
    yield _asked("automations", lambda: _automations(client, config))


def _automations(client: Any, config: Config) -> str:
    own = installation(config.state)
    present = prefect_server.automations(client)
    wanted = wanted_automations(config, delivering(client, config, own), mark_of(own))
    former = mark_of(former_installation(config.state))
    late = [each.name for each in steps(wanted, present, mark_of(own), former) if each.change != "keep"]
    if late:
        more = f" and {len(late) - 1} more" if len(late) > 1 else ""
        raise ConfigError(
            f"They are not as the configuration asks for ({late[0]}{more}): run rollcall automations apply."
        )
    if others := rivals(wanted, present, mark_of(own), former):
        raise ConfigError(
            f"Another installation on this server has a target {', '.join(others)}, too, whose runs keep the alarms "
            "silent: call one of them otherwise; if that installation is gone, remove its automations in Prefect's UI."
        )
    return f"All {len(wanted)} are there: what does not run is told of."


def without_server(config: Config, now: datetime) -> Iterator[Diagnosis]:
    """By what was done lately: cron may run it, or nobody. Nothing where the history does not open: that is told."""
    try:
        with open_history(config.history) as history:
            found = standings(history, list(config.targets), now, check_limits(config))
            done = {target: _done(config, target, history, now) for target in config.targets}
    except HistoryError:
        return
    for target, standing in found.items():
        yield by_history(config, target, standing, done[target], now)


def _done(config: Config, target: str, history: History, now: datetime) -> dict[str, list[datetime]]:
    """When backups and checks were made lately: of each as far back as two of its schedule's runs."""
    lines = config.schedules_of(target)
    backups = [
        each.created_at for each in stored_backups(history, target) if _since(lines.backup, now) <= each.created_at
    ]
    checks = history.observations(target, since=_since(lines.verify, now))
    return {"backup": backups, "verify": [each.checked_at for each in checks if each.kind == "verify"]}


def _since(line: str, now: datetime) -> datetime:
    gap, overdue = longest_gap(line), overdue_after(line)
    return now if gap is None or overdue is None else now - gap - overdue


def by_history(
    config: Config, target: str, standing: Standing, done: Mapping[str, Sequence[datetime]], now: datetime
) -> Diagnosis:
    """Whether somebody runs what the configuration schedules, judged by when it was done lately (pure).

    Once is no sign, for a person may have typed it; twice, at least half a schedule's interval apart, is.
    """
    schedules = config.schedules_of(target)
    subject = f"{target}: schedules"
    if all(getattr(schedules, flow) == NEVER for flow in FLOWS):
        return Diagnosis(subject=subject, well=True, words="By the configuration, nothing runs by itself.")
    oldest = backup_limit(config, target)
    last = standing.last_backup.created_at if standing.last_backup else None
    late = ["no check"] if standing.stale and check_limit(config, target) is not None else []
    if schedules.backup != NEVER and oldest is not None and (last is None or now - last > oldest):
        late.append("no good backup")
    if late:
        return wrong(
            subject,
            f"No Prefect server is configured, no rollcall serve runs here, and there was {' and '.join(late)} lately: "
            "nothing runs by itself. Start rollcall serve, or rollcall backup and rollcall verify by cron.",
        )
    once = [
        flow
        for flow, times in done.items()
        if (gap := longest_gap(getattr(schedules, flow))) is not None
        and max(times, default=now) - min(times, default=now) < gap / 2
    ]
    if once:
        go_on = f"{' and '.join(once)} {'go on by themselves' if len(once) > 1 else 'goes on by itself'}"
        return wrong(
            subject,
            "No Prefect server is configured, no rollcall serve runs here, and nothing here shows that "
            f"{go_on}: that takes two of each, as far apart as the schedule says. Start rollcall serve; if cron runs "
            "them, ask again when it has done so twice.",
        )
    words = "No Prefect server is known here, but something runs them: they were done lately as often as scheduled."
    return Diagnosis(subject=subject, well=True, words=words)
