"""Volumes that were made while somebody watched, and which of them look like a pinned one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker

from tasks.config import Config
from tasks.containers.volumes import RUN_LABEL
from tasks.watching.look_alike import PROJECT_LABEL, VolumeName, looks_like, own_words, volume_name

SETTLING = 10.0
"""Seconds from a look-alike's making to the word about it: by then its container is on it, which a check tells better,
or it is gone again."""
TOLD_EVERY = 24 * 3600.0
"""Seconds: who makes and removes such volumes all day, as tests do, is told of one."""


@dataclass(frozen=True)
class LookAlike:
    """A new volume that looks like a target's pinned one. since: seconds, monotonic."""

    target: str
    volume: str
    project: str | None
    since: float


class NewVolumes:
    """Compares what volumes there are with what there were. Those of the first look are nobody's news."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known: set[str] | None = None
        self._pinned = {name: VolumeName(target.volume) for name, target in config.targets.items() if target.volume}
        self._waiting: list[LookAlike] = []
        self._told: dict[str, float] = {}

    def look(self, client: docker.DockerClient) -> list[LookAlike]:
        """The look-alikes among the volumes that were made since the last look. Raise EngineError."""
        return self.seen(client.api.volumes().get("Volumes") or [])

    def seen(self, volumes: Sequence[Mapping[str, Any]]) -> list[LookAlike]:
        """The same, from the engine's JSON of all volumes."""
        new = [each for each in volumes if self._known is not None and each["Name"] not in self._known]
        self._known = {each["Name"] for each in volumes}
        self._waiting = [each for each in self._waiting if each.volume in self._known]
        for each in volumes:
            self._remember_pinned(volume_name(each["Name"], each.get("Labels")))
        found = [alike for each in new for alike in self._alike(each)]
        self._waiting += found
        return found

    def settled(self) -> list[LookAlike]:
        """Those to be told of now: still there after a while, and the first of their target for a long time."""
        now = self._clock()
        ready = [each for each in self._waiting if now - each.since >= SETTLING]
        self._waiting = [each for each in self._waiting if each not in ready]
        return [each for each in ready if self._is_first(each.target, now)]

    def is_there(self, volume: str) -> bool:
        """Whether it was there at the last look."""
        return self._known is not None and volume in self._known

    def unheard(self, target: str) -> None:
        """Nobody has heard of the target's last one: the next is told of."""
        self._told.pop(target, None)

    def _is_first(self, target: str, now: float) -> bool:
        if now - self._told.get(target, -TOLD_EVERY) < TOLD_EVERY:
            return False
        self._told[target] = now
        return True

    def _remember_pinned(self, seen: VolumeName) -> None:
        """A pinned volume that goes is still known by the key that Compose gave it."""
        for target, pinned in self._pinned.items():
            if pinned.name == seen.name:
                self._pinned[target] = seen

    def _alike(self, volume: Mapping[str, Any]) -> list[LookAlike]:
        labels = volume.get("Labels") or {}
        name = volume_name(volume["Name"], labels)
        if RUN_LABEL in labels or any(each.volume == name.name for each in self._config.targets.values()):
            return []
        now, project = self._clock(), labels.get(PROJECT_LABEL)
        return [
            LookAlike(target, name.name, project, now)
            for target, pinned in self._pinned.items()
            if looks_like(name, pinned, self._own_words(target, pinned))
        ]

    def _own_words(self, target: str, pinned: VolumeName) -> frozenset[str]:
        rules = self._config.targets[target]
        return own_words(target, rules.container, rules.database, pinned.key or "")
