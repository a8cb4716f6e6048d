"""The pictures of the demo tell its story to the end, and every step of it that they promise."""

from __future__ import annotations

from docs.pictures.make import PARTS, excerpt

STEPS = [f"\x1b[1;36m{number}. Step {number}\x1b[0m\n   said {number}" for number in range(1, 13)]
# A plan that a command prints has empty lines of its own.
STORY = "\n\n".join(["Rollcall.", *STEPS[:7], "   Plan\n\n   Steps:\n\n   1. do", *STEPS[7:], "Caught: it."])


def test_the_first_picture_begins_the_story_and_the_second_ends_it() -> None:
    first, second = (excerpt(f"{STORY}\n\nLeft running, as asked:\n  x", steps) for steps in PARTS.values())

    assert first.startswith("Rollcall.\n\n\x1b[1;36m3. Step 3") and first.endswith("said 6")
    assert second.startswith("\x1b[1;36m7. Step 7") and second.endswith("said 12\n\nCaught: it.")
    assert "   Steps:\n\n   1. do" in second
    told = f"{first}\n{second}"
    assert [line for line in told.splitlines() if "said" in line] == [f"   said {number}" for number in range(3, 13)]
