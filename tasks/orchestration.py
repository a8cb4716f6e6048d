"""The one place that knows whether Prefect tracks a run.

A flow file becomes a Prefect flow when Prefect is loaded (a worker, `prefect deploy`, `serve`, or the command line with
an API configured), and stays a plain function otherwise: importing Prefect costs two seconds and starting its ephemeral
server twelve to twenty, which a backup from cron need not pay. A task asks the same question at every call: inside a
Prefect flow run it is a Prefect task, elsewhere it runs directly. The retry rule is the same both ways.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from tasks.errors import NotificationFailed, Refused, RollcallError, SecretError

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("rollcall")


@dataclass(frozen=True)
class Retry:
    """How often a transient failure is tried again, and how long the first wait is (seconds; doubling, with jitter)."""

    times: int = 3
    first_wait: float = 2.0


NEVER = Retry(times=0)


def is_transient(error: BaseException | None) -> bool:
    """True where trying again may help: only our own errors say so of themselves."""
    return isinstance(error, RollcallError) and error.transient


def prefect_is_loaded() -> bool:
    """True once anything has imported Prefect in this process."""
    return "prefect" in sys.modules


def tracked() -> bool:
    """True inside a Prefect flow run."""
    if not prefect_is_loaded():
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def flow(*, name: str, run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a Prefect flow called `name` where Prefect is loaded; leave it as it is elsewhere.

    `run_name` is a template over the parameters, for example `backup {target}`.
    """

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        if not prefect_is_loaded():
            return fn
        import prefect

        if "PREFECT__FLOW_RUN_ID" in os.environ:  # as Prefect's runner and workers start a run's own process
            _outlive_whoever_reads()
        wrapped = prefect.flow(name=name, flow_run_name=run_name, persist_result=False, validate_parameters=True)(fn)
        return cast("Callable[P, R]", wrapped)

    return decorate


def _outlive_whoever_reads() -> None:
    """Let this process go on when nobody reads its output any more, because the worker or `serve` was killed.

    Prefect's console handler would end it at its next line: a backup, or a restore, half-way.
    """
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.Logger.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if hasattr(handler, "console"):
            handler.console.on_broken_pipe = lambda: None


def task(fn: Callable[P, R], *, name: str, retry: Retry = NEVER) -> Callable[P, R]:
    """Make `fn` a task: tracked inside a Prefect flow run, direct elsewhere, retried by the same rule in both."""

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if tracked():
            return cast("R", _prefect_task(fn, name, retry)(*args, **kwargs))
        return _direct(fn, name, retry, *args, **kwargs)

    return call


def _direct(fn: Callable[..., R], name: str, retry: Retry, *args: Any, **kwargs: Any) -> R:
    """Call `fn` with the retry rule and nothing else around it."""

    def say(state: Any) -> None:
        log.warning(
            "%s: %s; trying again (%d of %d)",
            name,
            state.outcome.exception(),
            state.attempt_number,
            retry.times,
        )

    retrying = Retrying(
        stop=stop_after_attempt(retry.times + 1),
        wait=wait_exponential_jitter(initial=retry.first_wait, max=60, jitter=retry.first_wait / 2),
        retry=retry_if_exception(is_transient),
        before_sleep=say,
        reraise=True,
    )
    return retrying(fn, *args, **kwargs)


@functools.cache
def _prefect_task(fn: Callable[..., R], name: str, retry: Retry) -> Callable[..., R]:
    """The Prefect task around `fn`: no cache key from its arguments, no persisted result (both may hold secrets)."""
    import prefect
    from prefect.cache_policies import NO_CACHE

    def may_help(_task: Any, _run: Any, state: Any) -> bool:
        try:
            state.result(raise_on_failure=True)
        except RollcallError as error:
            return error.transient
        except Exception:  # noqa: BLE001 - whatever else failed is not ours to retry; Prefect reports it
            return False
        return False

    wrapped = prefect.task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retry.times,
        retry_delay_seconds=[retry.first_wait * 2**attempt for attempt in range(retry.times)] or None,
        retry_jitter_factor=0.5 if retry.times else None,
        retry_condition_fn=may_help,
        log_prints=False,
    )(fn)
    return cast("Callable[..., R]", wrapped)


def secret_block(name: str) -> str:
    """The value of the Prefect Secret block `name`. Raise SecretError if it cannot be loaded."""
    from prefect.blocks.system import Secret

    try:
        return str(cast("Any", Secret.load(name)).get())
    except ValueError:
        raise SecretError(
            f"There is no Prefect Secret block {name!r}; make it: rollcall blocks apply (or mend its name)."
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the API's client met; its text may quote the value
        raise SecretError(
            f"The Prefect Secret block {name!r} cannot be loaded ({type(error).__name__}). "
            "See that Prefect's API answers."
        ) from None


def load_blocks() -> None:
    """Import what sending through a block needs, which takes seconds, before anybody waits for it."""
    import prefect.blocks.abstract
    import prefect.blocks.core
    import prefect.blocks.notifications  # noqa: F401


@functools.cache
def docker_host_block(name: str) -> str:
    """The URL that the Prefect DockerHost block `name` holds, asked once. Raise SecretError if it cannot be loaded."""
    from prefect_docker import DockerHost

    try:
        block = cast("Any", DockerHost.load(name))
    except ValueError:
        raise SecretError(
            f"There is no Prefect DockerHost block {name!r}; make it: rollcall blocks apply --docker-host {name}=URL"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the API's client met
        raise SecretError(
            f"The Prefect DockerHost block {name!r} cannot be loaded ({type(error).__name__}); see that Prefect's API "
            "answers."
        ) from None
    if block.client_kwargs:
        raise SecretError(
            f"The Prefect DockerHost block {name!r} has additional configuration, which is not read here: give TLS "
            "files in the key docker, beside block."
        )
    return str(block.base_url or "")


def send_notification_block(name: str, subject: str, body: str) -> None:
    """Send through the Prefect notification block `type-slug/name`. Raise NotificationFailed, which quotes no URL."""
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    try:
        block = cast("Any", Block.load(name))
    except ValueError:
        raise NotificationFailed(f"There is no Prefect block {name!r}.") from None
    except Exception as error:  # noqa: BLE001 - its text, and its cause's, may quote the block's URL
        raise NotificationFailed(
            f"The Prefect block {name!r} cannot be loaded ({type(error).__name__}): set PREFECT_API_URL, and see that "
            "the server there answers."
        ) from None
    if not isinstance(block, NotificationBlock):
        raise NotificationFailed(f"The Prefect block {name!r} is no notification block.")
    try:
        with block.raise_on_failure():
            cast("Any", block).notify(body, subject)
    except Exception as error:  # noqa: BLE001 - its text, and its cause's, may quote the block's URL
        raise NotificationFailed(f"The Prefect block {name!r} could not deliver: {type(error).__name__}.") from None


def ask_for_approval(markdown: str, target: str, seconds: float) -> tuple[str, str]:
    """Pause the flow run until somebody fills in the form below `markdown` in Prefect's UI (its button Resume).

    Return the target's name as typed, and who typed it. Raise Refused where no run is tracked, so that nobody could
    answer, and when `seconds` have passed. To be called from a flow's body, never from a task.
    """
    if not tracked():
        raise Refused("Nobody can approve here: this run is not tracked by Prefect, and has no terminal to ask at.")
    from prefect.exceptions import FlowPauseTimeout
    from prefect.flow_runs import pause_flow_run
    from prefect.input import RunInput
    from pydantic import Field

    class Approval(RunInput):
        """Approve the plan above."""

        target_name: str = Field(description=f"Type {target} to approve; anything else refuses.")
        approved_by: str = Field(description="Your name. It is kept with the restore.")

    form = Approval.with_initial_data(description=markdown)
    try:
        answer = cast("Any", pause_flow_run)(wait_for_input=form, timeout=seconds, poll_interval=1)
    except FlowPauseTimeout:
        raise Refused(f"Nobody approved the restore of {target} within {seconds / 60:.0f} minutes.") from None
    return str(answer.target_name), str(answer.approved_by)


def publish(key: str, markdown: str, description: str) -> None:
    """Keep `markdown` as an artifact of the run; nothing where no run is tracked. `key`: a-z, 0-9 and '-'."""
    if not tracked():
        return
    from prefect.artifacts import create_markdown_artifact

    with _as_far_as_prefect_answers():
        # Prefect's type says coroutine; called from a synchronous run it has done its work when it returns.
        cast("Any", create_markdown_artifact)(markdown=markdown, key=key, description=description)


class ProgressBar:
    """A progress artifact of the run, made at the first `show`. To be used in a flow run's context alone."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: Any = None

    @property
    def shown(self) -> bool:
        """Whether the bar is there."""
        return self._id is not None

    def show(self, percent: float, words: str) -> bool:
        """Set the bar; False where Prefect did not take that. May wait for a server as Prefect's client does."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        with _as_far_as_prefect_answers():
            if self._id is None:
                self._id = cast("Any", create_progress_artifact)(percent, key=self._key, description=words)
            else:
                cast("Any", update_progress_artifact)(self._id, percent, description=words)
            return True
        return False


def emit(name: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
    """Emit a Prefect event; nothing where no run is tracked."""
    if not tracked():
        return
    from prefect.events import emit_event

    with _as_far_as_prefect_answers():
        emit_event(event=name, resource=resource, payload=payload)


@contextlib.contextmanager
def _as_far_as_prefect_answers() -> Iterator[None]:
    """Reports are not what a run is for: one that Prefect cannot keep must not fail a backup that is stored."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever the API's client met; it is told of, once
        _warn_once(type(error).__name__)


@functools.cache
def _warn_once(met: str) -> None:
    log.warning("Prefect could not keep this run's report or event (%s); the run goes on.", met)
