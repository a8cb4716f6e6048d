"""Deployments made and kept in Prefect: created or updated, forms refreshed, what a former serve left settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Cron
from prefect.states import Cancelled, Crashed
from prefect.utilities.callables import ParameterSchema, parameter_schema_from_entrypoint

from deployments.serving.forms import Choice, choices, shaped
from deployments.serving.left_over import CAUGHT_UP, UNFINISHED, Decision, Run
from deployments.serving.run_containers import job_template
from deployments.serving.scheduling import Standing
from deployments.serving.wanted import ROOT, TAG, Wanted
from tasks.checks.shelves import shelves
from tasks.config import Config
from tasks.errors import RollcallError

PAGE = 200  # as many as Prefect's API gives at once


def backups_of(config: Config, target: str) -> list[Choice] | None:
    """The backups a form offers; None where a storage does not answer, which must not keep anything from going on."""
    found = shelves(config, target)
    return None if found.unreachable else choices(found)


def deployment_of(each: Wanted, backups: Sequence[Choice], work_pool: str | None = None) -> RunnerDeployment:
    """The deployment as Prefect takes it, not yet applied; without a work pool, one that `serve` runs itself."""
    made = cast("Any", RunnerDeployment.from_storage)(
        storage=LocalStorage(str(ROOT)),
        entrypoint=each.entrypoint,
        name=each.target,
        schedules=[Cron(each.cron, timezone=each.timezone, slug=TAG)] if each.cron else [],
        concurrency_limit=_limit(each.limit),
        parameters=each.parameters,
        description=each.description,
        tags=each.tags,
        # What a former stop, or Prefect's own `serve`, paused goes on. `never` in the configuration is what stops it.
        paused=False,
    )
    # Said even where it is none: the same deployment may have been a worker's before.
    made.work_pool_name = work_pool
    made.work_queue_name = None
    # Prefect has no public way to a form of one's own.
    made._parameter_openapi_schema = ParameterSchema(**_form(each, backups))
    return cast("RunnerDeployment", made)


def _form(each: Wanted, backups: Sequence[Choice]) -> dict[str, Any]:
    plain = parameter_schema_from_entrypoint(str(ROOT / each.entrypoint)).model_dump(exclude_unset=True)
    return shaped(plain, each.target, backups if each.offers_backups else None)


def _limit(limit: int | None) -> ConcurrencyLimitConfig | None:
    if limit is None:
        return None
    return ConcurrencyLimitConfig(limit=limit, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def have_work_pool(name: str) -> None:
    """Make the process work pool `name` where there is none. One of another type is left as it is."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def have_docker_pool(name: str, ours: dict[str, Any]) -> None:
    """Make the Docker work pool, or bring it up to date: each run is a container like that of the inspect JSON `ours`.

    Raise RollcallError where the pool is of another type.
    """
    from prefect_docker.worker import DockerWorker

    template = job_template(DockerWorker.get_default_base_job_template(), ours)
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type=DockerWorker.type, base_job_template=template))
        except ObjectAlreadyExists:
            kind = client.read_work_pool(name).type
            if kind != DockerWorker.type:
                raise RollcallError(
                    f"The work pool {name} is of the type {kind}; give --work-pool another name."
                ) from None
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def apply(deployment: RunnerDeployment) -> UUID:
    """Create the deployment in Prefect, or bring it up to date. Raise RollcallError where it is refused."""
    with refusal_named(deployment.full_name):
        return cast("UUID", cast("Any", deployment).apply())


@contextmanager
def refusal_named(name: str) -> Iterator[None]:
    """Why Prefect does not take the deployment `name`, as a RollcallError; what says nothing about the deployment
    itself (no answer, no key, a server that fails) is raised as the client's own error, for `refusals_in_words`."""
    try:
        yield
    except DeploymentApplyError as error:
        cause = error.__cause__
        if not isinstance(cause, httpx.HTTPStatusError):
            raise cause or error from None
        status = cause.response.status_code
        if status == 401 or status >= 500:
            raise cause from None
        raise RollcallError(
            f"Prefect refuses the deployment {name} ({status}): {_reason(cause.response.json())}. Mend that, or ask "
            "whoever runs the server. The deployments before it are made."
        ) from None


def _reason(answer: dict[str, Any]) -> str:
    """What a refusal says, in one line: `detail`, or what is wrong with what was asked (Prefect REST API, 422)."""
    wrong = answer.get("exception_detail")
    said = [answer.get("detail")] if isinstance(answer.get("detail"), str) else []
    said += [each.get("msg") for each in wrong] if isinstance(wrong, list) else []
    return " ".join("; ".join(map(str, said)).split()).rstrip(".") or "it does not say why, its log may"


def drop_schedules(identity: UUID) -> None:
    """Remove a deployment's schedules and what is planned by them: an update that names none leaves them there."""
    with get_client(sync_client=True) as client:
        known = client.read_deployment(identity)
        for schedule in known.schedules:
            client.delete_deployment_schedule(identity, schedule.id)


def schedules_before(deployments: Sequence[Wanted]) -> dict[str, datetime]:
    """Since when Prefect has had each deployment with just the schedule that is wanted; those alone."""
    wanted = {each.name: each for each in deployments}
    found: dict[str, datetime] = {}
    with get_client(sync_client=True) as client:
        for name, known in _ours(client):
            each = wanted.get(name)
            schedules = [
                (cast("Any", one.schedule).cron, cast("Any", one.schedule).timezone) for one in known.schedules
            ]
            if each and each.cron and schedules == [(each.cron, each.timezone)]:
                found[name] = max(one.updated or known.created for one in known.schedules)
    return found


def standing_of(deployed: Mapping[UUID, Wanted]) -> dict[UUID, Standing]:
    """What Prefect has of each deployment, by its id; nothing of those that it does not know."""
    identities, found = list(deployed), dict[UUID, Standing]()
    with get_client(sync_client=True) as client:
        for start in range(0, len(identities), PAGE):
            these = DeploymentFilter(id=DeploymentFilterId(any_=identities[start : start + PAGE]))
            for known in client.read_deployments(deployment_filter=these, limit=PAGE):
                active = [each for each in known.schedules if each.active]
                planned = next_run(known.id) if active and not known.paused else None
                found[known.id] = Standing(len(known.schedules), known.paused or not active, planned)
    return found


def remove_stale(deployments: Sequence[Wanted], file: Path) -> list[str]:
    """Remove deployments that this configuration once asked for and no longer does; their runs stay. Return names."""
    wanted = {each.name for each in deployments}
    with get_client(sync_client=True) as client:
        stale = [
            (name, known.id)
            for name, known in _ours(client)
            if name not in wanted and known.parameters.get("config") == str(file.absolute())
        ]
        for _, identity in stale:
            client.delete_deployment(identity)
    return [name for name, _ in stale]


def _ours(client: SyncPrefectClient) -> Iterator[tuple[str, Any]]:
    """(full name, deployment) of everything that carries our tag."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    flows = {flow.id: flow.name for flow in client.read_flows()}
    offset = 0
    while page := client.read_deployments(deployment_filter=tagged, limit=PAGE, offset=offset):
        yield from ((f"{flows.get(each.flow_id)}/{each.name}", each) for each in page)
        offset += PAGE


def refresh_form(identity: UUID, each: Wanted, backups: Sequence[Choice]) -> None:
    """Offer these backups in a deployment's form. Its planned runs go, and are planned anew: see `offers_backups`."""
    with get_client(sync_client=True) as client:
        change = DeploymentUpdate(parameter_openapi_schema=_form(each, backups), tags=each.tags)
        client.update_deployment(identity, change)


def targets_with_news(deployed: Mapping[UUID, Wanted], since: datetime) -> set[str]:
    """Targets of which a run that may have stored or proven a backup has ended since then."""
    may = [identity for identity, each in deployed.items() if each.flow != "verify"]
    ended = FlowRunFilter(end_time=FlowRunFilterEndTime(after_=cast("Any", since)))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=ended, deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=may)), limit=PAGE
        )
    return {deployed[cast("UUID", run.deployment_id)].target for run in runs}


def runs_due(deployed: Mapping[UUID, Wanted], now: datetime) -> list[Run]:
    """The runs that came due and are not over, and the last one that came due of each backup and drill deployment."""
    before = FlowRunFilterExpectedStartTime(before_=cast("Any", now))
    not_over = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, *(StateType(each) for each in UNFINISHED)])
    )
    found: dict[UUID, FlowRun] = {}
    with get_client(sync_client=True) as client:
        for identity, each in deployed.items():
            asked = [(FlowRunFilter(expected_start_time=before, state=not_over), PAGE)]
            if each.flow in CAUGHT_UP:
                asked.append((FlowRunFilter(expected_start_time=before), 1))
            for wanted, limit in asked:
                page = client.read_flow_runs(
                    flow_run_filter=wanted,
                    deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[identity])),
                    sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                    limit=limit,
                )
                found |= {run.id: run for run in page}
    return [_run(run, deployed[cast("UUID", run.deployment_id)]) for run in found.values()]


def _run(run: FlowRun, each: Wanted) -> Run:
    state = cast("Any", run.state)
    return Run(
        id=str(run.id),
        flow=each.flow,
        target=each.target,
        state=state.type.value,
        due=cast("datetime", run.expected_start_time),
        scheduled=run.auto_scheduled,
        message=state.message or "",
    )


def carry_out(decision: Decision, deployed: Mapping[UUID, Wanted]) -> None:
    """Do what was decided of one run; waiting is done by who asks again later."""
    run = decision.run
    with get_client(sync_client=True) as client:
        match decision.what:
            case "skip":
                client.set_flow_run_state(UUID(run.id), Cancelled(name="Skipped", message=decision.why), force=True)
            case "dead":
                client.set_flow_run_state(UUID(run.id), Crashed(message=decision.why), force=True)
            case "again":
                identity = next(identity for identity, each in deployed.items() if each.name == run.name)
                start_now(identity, f"again-{run.id}")


def start_now(identity: UUID, key: str) -> None:
    """Let a deployment run now, once for each `key`, whoever asks and however often."""
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(identity, idempotency_key=key)


class OwnArtifact:
    """An artifact that belongs to no run. Prefect clears away those of old runs alone, so that one that is written for
    years keeps its newest version only; the versions that runs have written under the same key are left to Prefect."""

    def __init__(self) -> None:
        self._former: list[UUID] | None = None

    def publish(self, key: str, markdown: str, description: str) -> None:
        """Keep `markdown` as the newest version; what was published before, by a former serve too, goes after."""
        with get_client(sync_client=True) as client:
            former = self._left(client, key) if self._former is None else self._former
            made = client.create_artifact(
                ArtifactCreate(key=key, type="markdown", description=description, data=markdown)
            )
            self._former = [*former, made.id]
            for each in former:
                with suppress(ObjectNotFound):
                    client.delete_artifact(each)
                self._former.remove(each)

    def _left(self, client: SyncPrefectClient, key: str) -> list[UUID]:
        """Those of a former serve, as far as they are among the newest: behind many runs one may stay."""
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
            sort=ArtifactSort.CREATED_DESC,
            limit=PAGE,
        )
        return [each.id for each in found if each.flow_run_id is None]


def next_run(identity: UUID) -> datetime | None:
    """When the deployment's next planned run is due; None where none is planned."""
    after = FlowRunFilterExpectedStartTime(after_=cast("Any", datetime.now(UTC)))
    planned = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(expected_start_time=after, state=planned),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[identity])),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
        )
    return runs[0].expected_start_time if runs else None
