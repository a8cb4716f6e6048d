"""Tell a watcher outside (healthchecks.io, or anything that answers like it) that a run began and how it ended.

A machine that is off, a schedule that was never made, a run that was killed: none of them can tell anybody. Somebody
outside who waits for a call can. A call never costs a run nor delays it: it is made in a thread of its own, one after
the other for each kind of run, and only the end of the process waits a while for those under way. The URL, which lets
anybody call, is never shown.
"""

from __future__ import annotations

import atexit
import contextvars
import http.client
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from time import sleep as wait
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from tasks.config import Config
from tasks.errors import ConfigError, NotificationFailed, RollcallError
from tasks.models import Finding, Verdict
from tasks.secrets import reveal

log = logging.getLogger("rollcall")

Signal = Literal["start", "success", "fail"]
SUFFIX: dict[Signal, str] = {"start": "/start", "success": "", "fail": "/fail"}
TIMEOUT = 5.0
TRIES: dict[Signal, int] = {"start": 1, "success": 3, "fail": 3}
"""How a run ended must get through; that it began is late after a second try, and would keep its end waiting."""
LONGEST = 1000
EXIT_SECONDS = 25.0
"""A start that nobody answers, and an end, each as often as it is tried."""

_under_way: dict[tuple[str, str], threading.Thread] = {}
_one_at_a_time = threading.Lock()


def ping_start(config: Config, target: str, what: str) -> None:
    """Say that a run of `what` (backup, verify, drill) begins."""
    _ping(config, target, what, "start", f"The {what} of {target} begins.")


def ping_done(
    config: Config, target: str, what: str, verdict: Verdict = "healthy", findings: Sequence[Finding] = ()
) -> None:
    """Say that a run came to its end; a critical verdict is a failure, for it is somebody's to look at."""
    said = f"The {what} of {target} came to its end: {verdict}."
    if findings:
        said = f"{said} {findings[0].message}"
    _ping(config, target, what, "fail" if verdict == "critical" else "success", said)


def ping_failure(config: Config, target: str, what: str, error: RollcallError) -> None:
    """Say that a run failed, and why: our own errors hold no secret."""
    _ping(config, target, what, "fail", f"The {what} of {target} failed: {error}")


def finish(seconds: float = EXIT_SECONDS) -> None:
    """Wait so long at most for the calls that are under way."""
    deadline = time.monotonic() + seconds
    with _one_at_a_time:
        threads = list(_under_way.values())
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


atexit.register(finish)


def _ping(config: Config, target: str, what: str, signal: Signal, said: str) -> None:
    """Call in a thread of its own, once the call before it, of such a run, is over."""
    reference = config.target(target).ping_of(what)
    if reference is None:
        return

    def failed(error: RollcallError) -> None:
        log.warning("The watcher outside could not be told of the %s (%s): %s", what, signal, error)

    try:
        url = reveal(reference)  # Now: a Prefect block can no longer be asked for while the process ends.
    except RollcallError as error:
        failed(error)
        return

    def call_in_turn(before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            call(url, signal, said)
        except RollcallError as error:
            failed(error)

    # What it logs belongs to the run.
    run = contextvars.copy_context().run
    with _one_at_a_time:
        before = _under_way.get((target, what))
        thread = threading.Thread(target=run, args=(call_in_turn, before), daemon=True, name="rollcall-ping")
        if _started(thread):
            _under_way[target, what] = thread
            return
    call_in_turn(before)  # Late, but told.


def _started(thread: threading.Thread) -> bool:
    """False where this machine allows no more threads (`ulimit -u`, the pids of a container)."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def call(
    url: str,
    signal: Signal,
    said: str,
    *,
    timeout: float = TIMEOUT,
    sleep: Callable[[float], None] = wait,
) -> None:
    """POST one sentence to the URL; again where that may help, so within 3 * timeout + 3 seconds.

    timeout: seconds for one try. Raise ConfigError (no URL of the web) or NotificationFailed; neither quotes the URL.
    """
    request = urllib.request.Request(  # noqa: S310 - address lets http and https through alone
        address(url, signal),
        data=said[:LONGEST].encode(),
        headers={"Content-Type": "text/plain; charset=utf-8", "User-Agent": "rollcall"},
    )
    retrying = Retrying(
        stop=stop_after_attempt(TRIES[signal]),
        wait=wait_exponential(multiplier=1, max=2),
        retry=retry_if_exception(lambda error: isinstance(error, NotificationFailed) and error.transient),
        sleep=sleep,
        reraise=True,
    )
    retrying(_post, request, timeout)


def address(url: str, signal: Signal) -> str:
    """The URL for this signal. Raise ConfigError where the secret holds something else."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname
    except ValueError:
        usable = None
    if not usable:
        raise ConfigError("what the key ping names holds no URL that begins with https:// or http://.")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + SUFFIX[signal], fragment=""))


def _post(request: urllib.request.Request, timeout: float) -> None:
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310 - see call
            return
    except urllib.error.HTTPError as error:
        error.close()
        failed = NotificationFailed(f"it answered {error.code}.")
        failed.transient = error.code >= 500 or error.code == 429
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Its text may quote the address.
        reason = getattr(error, "reason", error)
        failed = NotificationFailed(f"it could not be reached ({type(reason).__name__}).")
    raise failed
