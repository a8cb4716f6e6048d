"""The storages of all targets are asked at once, and one that hangs holds up neither the others nor a later look."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from deployments.serving.listing import Listing


def test_one_that_hangs_is_left_out_asked_once_and_taken_when_it_answers() -> None:
    let_go, asked = threading.Event(), Counter[str]()

    def ask(target: str) -> str:
        asked[target] += 1
        if target == "hangs":
            let_go.wait(30)
        return f"backups of {target}"

    listing = Listing(ask)
    for _ in range(2):
        assert listing.of(["shop", "hangs"], 0.2) == {"shop": "backups of shop"}
    assert asked == {"shop": 2, "hangs": 1}
    let_go.set()
    assert listing.of(["hangs"], 30) == {"hangs": "backups of hangs"}
    assert listing.of(["hangs"], 30) and asked["hangs"] == 2


def test_all_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(5, timeout=30)
    assert len(Listing(lambda _: together.wait()).of("abcde", 30)) == 5


def test_what_went_wrong_is_raised_and_asked_anew_later() -> None:
    tries = iter([ValueError("x"), None])

    def ask(_: str) -> str:
        if error := next(tries):
            raise error
        return "well"

    listing = Listing(ask)
    with pytest.raises(ValueError, match="x"):
        listing.of(["shop"], 30)
    assert listing.of(["shop"], 30) == {"shop": "well"}
