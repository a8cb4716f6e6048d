"""What the storages of many targets hold, asked for at once: one that hangs keeps nobody waiting."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Listing(Generic[Answer]):
    """Asks each target's in a thread of its own, and never twice at a time. To be used from one thread at a time."""

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        """`ask`: takes a target, and may take for ever."""
        self._ask = ask
        self._under_way: dict[str, Future[Answer]] = {}

    def of(self, targets: Iterable[str], seconds: float) -> dict[str, Answer]:
        """What has answered within `seconds`, by target; of the others, the answer is taken when they are asked again.

        Raise what `ask` raised.
        """
        asked = {target: self._under_way.get(target) or self._begin(target) for target in targets}
        concurrent.futures.wait(asked.values(), seconds)
        found = {target: each for target, each in asked.items() if each.done()}
        for target in found:
            del self._under_way[target]
        return {target: each.result() for target, each in found.items()}

    def _begin(self, target: str) -> Future[Answer]:
        future = self._under_way[target] = Future()

        def work() -> None:
            try:
                future.set_result(self._ask(target))
            except BaseException as error:  # noqa: BLE001 - raised to whoever takes the answer
                future.set_exception(error)

        # Not of a pool: the process would wait for a hanging one when it ends.
        threading.Thread(target=work, daemon=True, name=f"rollcall-list-{target}").start()
        return future
