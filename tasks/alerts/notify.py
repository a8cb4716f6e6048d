"""Deliver a message, in bounded time, without ever showing where to: the URLs hold tokens."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import NamedTuple

from tasks.alerts.message import Message
from tasks.config import NotifyBlock, NotifyUrl
from tasks.errors import ConfigError, NotificationFailed, RollcallError
from tasks.models import Finding
from tasks.secrets import SecretReference, reveal

Entry = NotifyUrl | NotifyBlock
SendBlock = Callable[[str, Message], None]

DEADLINE = 10.0
WAITS = (1.0, 3.0)

# Loggers that print whole URLs, or their path: a Telegram token is a part of the path.
_TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "httpx", "httpcore.http11")


def no_blocks(name: str, _message: Message) -> None:
    """Stand-in where Prefect is not there to send through. Raise ConfigError."""
    raise ConfigError(f"the Prefect block {name} can be used only where Prefect's API is configured (PREFECT_API_URL)")


def notify(
    entries: Sequence[Entry],
    message: Message,
    send_block: SendBlock = no_blocks,
    *,
    deadline: float = DEADLINE,
    waits: Sequence[float] = WAITS,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Send to all entries side by side; return a sentence for each that was not reached: [] is all delivered.

    deadline: seconds for one attempt. waits: seconds before each further attempt at those that failed and may yet
    succeed; an attempt that has not ended is waited for instead. So it returns within (1 + len(waits)) * deadline +
    sum(waits) seconds: 34. `send_block` delivers through a Prefect block named `type-slug/name` and raises a
    RollcallError if it cannot. Secrets appear in no sentence and no log.
    """
    found = undelivered(entries, range(len(entries)), message, send_block, deadline=deadline, waits=waits, sleep=sleep)
    return list(found.values())


def undelivered(
    entries: Sequence[Entry],
    positions: Iterable[int],
    message: Message,
    send_block: SendBlock = no_blocks,
    *,
    deadline: float = DEADLINE,
    waits: Sequence[float] = WAITS,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[int, str]:
    """The same for the entries at these positions alone; the sentences by position."""
    _hush()
    latest = _begin(entries, positions, message, send_block)
    _await(latest, deadline)
    for pause in waits:
        if not _open(latest):
            break
        sleep(pause)
        # Whoever is still being sent to is waited for: he may get it late, and is not to get it twice.
        again = [position for position in _open(latest) if latest[position].outcome.done()]
        latest |= _begin(entries, again, message, send_block)
        _await(latest, deadline)
    longest = (1 + len(waits)) * deadline + sum(waits)
    errors = {position: _error(delivery.outcome, longest) for position, delivery in latest.items()}
    failed = {at: _Failure(latest[at].kind, error) for at, error in errors.items() if error is not None}
    return {position: f"notify[{position}] {_sentence(failed[position])}" for position in sorted(failed)}


def destination(entry: Entry) -> str:
    """What an entry is called wherever it is remembered: where its URL is to be found, never the URL itself."""
    return entry.block if isinstance(entry, NotifyBlock) else _named(entry.url)


def undelivered_finding(sentences: Sequence[str]) -> Finding | None:
    """The finding for what `notify` returned; None where everything was delivered."""
    if not sentences:
        return None
    return Finding(
        code="notification.failed",
        severity="warning",
        message="A notification could not be delivered: " + " ".join(sentences),
    )


class _Failure(NamedTuple):
    kind: str
    error: RollcallError


class _Delivery(threading.Thread):
    """One attempt. A daemon, for a destination that stalls must not keep the process from ending.

    kind: what may be shown of the destination. overheard: what Apprise logged, as far as it is safe to show.
    """

    def __init__(self, entry: Entry, message: Message, send_block: SendBlock) -> None:
        super().__init__(daemon=True, name="rollcall-notify")
        self.kind = entry.block if isinstance(entry, NotifyBlock) else "url"
        self.outcome: Future[None] = Future()
        self.overheard = "it could not be delivered"
        self._entry, self._message, self._send_block = entry, message, send_block
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Deliver; the outcome, or the error, waits in `outcome`."""
        try:
            self._context.run(self._deliver)
        except BaseException as error:  # noqa: BLE001 - the waiting thread says what it met
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(None)

    def _deliver(self) -> None:
        if isinstance(self._entry, NotifyBlock):
            self._send_block(self._entry.block, self._message)
        else:
            self._send_url(self._entry.url)

    def _send_url(self, reference: SecretReference) -> None:
        """Through Apprise. Raise SecretError, ConfigError (not a URL it knows) or NotificationFailed."""
        # Half a second that only a command with something to tell should pay.
        from apprise import Apprise, NotifyFormat

        url = reveal(reference).strip()
        plugin = Apprise.instantiate(url)
        if plugin is None:
            raise ConfigError(f"What {_named(reference)} holds is not an Apprise URL (tgram://…, mailto://…, json://…)")
        scheme = url.partition("://")[0].lower()
        known: set[str] = plugin.schemas()  # type: ignore[no-untyped-call]
        self.kind = scheme if scheme in known else min(known)
        if "rto=" not in url:
            plugin.socket_read_timeout = DEADLINE  # Four seconds by itself: who answers later would get it again.
        client = Apprise()
        client.add(plugin)
        title, body, kind = self._message.title, self._message.body, self._message.kind
        if not client.notify(title=title, body=body, notify_type=kind, body_format=NotifyFormat.TEXT):
            raise NotificationFailed(self.overheard)


def _begin(
    entries: Sequence[Entry], positions: Iterable[int], message: Message, send_block: SendBlock
) -> dict[int, _Delivery]:
    """Start to send to these entries side by side; the deliveries by position."""
    deliveries = {position: _Delivery(entries[position], message, send_block) for position in positions}
    for each in deliveries.values():
        each.start()
    return deliveries


def _await(deliveries: Mapping[int, _Delivery], deadline: float) -> None:
    wait([each.outcome for each in deliveries.values()], timeout=deadline)


def _open(deliveries: Mapping[int, _Delivery]) -> list[int]:
    """Those that may yet succeed: still being sent, or failed by what may pass."""
    errors = {position: _error(each.outcome, 0) for position, each in deliveries.items()}
    return [position for position, error in errors.items() if error is not None and error.transient]


def _error(outcome: Future[None], waited: float) -> RollcallError | None:
    if not outcome.done():
        return NotificationFailed(f"no answer within {waited:g} seconds")
    error = outcome.exception()
    if error is None or isinstance(error, RollcallError):
        return error
    # Its text may hold the URL it could not reach.
    return NotificationFailed(f"it could not be delivered: {type(error).__name__}")


def _sentence(failure: _Failure) -> str:
    return f"({failure.kind}): {str(failure.error).removesuffix('.')}."


def _named(reference: SecretReference) -> str:
    return " ".join(f"{{{kind}: {value}}}" for kind, value in reference.model_dump().items())


class _Hush(logging.Filter):
    """Drop what a delivery's own thread logs, after taking from it what is safe to show."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for every record of a delivery."""
        thread = threading.current_thread()
        if not isinstance(thread, _Delivery):
            return True
        said = record.getMessage()
        if answered := re.search(r"error=(\d{3})\b", said):
            thread.overheard = f"the server answered {answered[1]}"
        elif "connection error" in said.lower():
            thread.overheard = "no connection could be made, or it broke"
        return False


_HUSH = _Hush()


def _hush() -> None:
    """Put the filter where it belongs; logging adds the same filter only once."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_HUSH)
