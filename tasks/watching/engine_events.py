"""The engine's events, read in a thread of their own: a connection may hang for ever, and who waits must not."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from typing import Any

from docker.errors import DockerException
from docker.types import CancellableStream

from tasks.containers.engine import OUR_LABEL, engine
from tasks.errors import EngineUnreachable, RollcallError
from tasks.models import Model
from tasks.sections import Docker

# Without this filter every healthcheck of every container is three events.
FILTERS = {"type": ["container", "volume"], "event": ["create", "start", "die", "destroy", "rename"]}


SUBSCRIBE_SECONDS = 20.0
MOST_AT_ONCE = 1000


class EngineEvent(Model):
    """names: the container's name (and its former one) or the volume's. at: seconds of the engine's own clock. ours:
    it is of a helper container of Rollcall's."""

    kind: str
    action: str
    names: list[str]
    at: int
    ours: bool = False


def read_event(event: Mapping[str, Any]) -> EngineEvent:
    """An EngineEvent from the engine's JSON (Docker Engine API, SystemEvents)."""
    actor = event.get("Actor") or {}
    facts = actor.get("Attributes") or {}
    names = [facts.get("name", ""), facts.get("oldName", "").lstrip("/")]
    if event.get("Type") == "volume":
        names = [actor.get("ID", "")]
    return EngineEvent(
        kind=event.get("Type", ""),
        action=event.get("Action", ""),
        names=[name for name in names if name],
        at=int(event.get("time") or 0),
        ours=OUR_LABEL in facts,
    )


class EngineEvents:
    """A subscription to that engine's events from `since` on (None: from now on); use it as a context manager."""

    def __init__(self, where: Docker | None, since: int | None = None) -> None:
        self._where, self._since = where, since
        self._queue: queue.Queue[EngineEvent | RollcallError | None] = queue.Queue()
        self._subscribed = threading.Event()
        self._stream: CancellableStream[Any] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True, name="rollcall-events")

    def __enter__(self) -> EngineEvents:
        """Return once the engine has taken the subscription. Raise EngineUnreachable, EngineError."""
        self._thread.start()
        if not self._subscribed.wait(SUBSCRIBE_SECONDS):
            raise EngineUnreachable("The engine does not take a subscription to its events.")
        if self._stream is None:
            self.next(0)
        return self

    def __exit__(self, *_: object) -> None:
        """Let the reading thread go; over ssh it cannot be interrupted, and ends with the process."""
        if self._stream is not None:
            with contextlib.suppress(DockerException, OSError, AttributeError):
                self._stream.close()

    def next(self, timeout: float) -> EngineEvent | None:
        """The next event, None after `timeout` seconds without one. Raise EngineUnreachable where the stream ended."""
        try:
            given = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(given, EngineEvent):
            return given
        raise given or EngineUnreachable("The engine has ended its stream of events.")

    def waiting(self) -> list[EngineEvent]:
        """Those that have come already, to be taken as one: what counts is how things are after the last of them."""
        found: list[EngineEvent] = []
        while len(found) < MOST_AT_ONCE and (event := self.next(0)) is not None:
            found.append(event)
        return found

    def _read(self) -> None:
        try:
            with engine(self._where) as client:
                self._stream = client.api.events(since=self._since, filters=FILTERS, decode=True)
                self._subscribed.set()
                for event in self._stream:
                    self._queue.put(read_event(event))
            self._queue.put(None)
        except RollcallError as error:
            self._queue.put(error)
        except Exception as error:  # noqa: BLE001 - the waiting thread says what the stream met
            self._queue.put(EngineUnreachable(f"The engine's events cannot be read ({type(error).__name__})."))
        finally:
            self._subscribed.set()
