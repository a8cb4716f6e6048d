"""How the demo speaks: short steps, commands as they are typed, their real output. Colours on a terminal only."""

from __future__ import annotations

import os
import sys
import textwrap
import time

WIDTH = 118
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


class DemoError(Exception):
    """The demo cannot go on, or did not see what it must see; the message is one sentence."""


def coloured() -> bool:
    """True on a terminal, or where FORCE_COLOR asks for colours; never with NO_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def paint(text: str, *styles: str) -> str:
    """`text` in the styles named, plain where there are no colours."""
    if not coloured():
        return text
    return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


class Voice:
    """Numbers the steps and knows how long the whole takes."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._steps = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def step(self, title: str, words: str = "") -> None:
        """Begin the next step."""
        self._steps += 1
        self._print(f"\n{paint(f'{self._steps}. {title}', 'bold', 'cyan')}")
        if words:
            self.say(words)

    def say(self, words: str) -> None:
        """A sentence or two of the story, wrapped."""
        self._print(textwrap.fill(words, WIDTH, initial_indent="   ", subsequent_indent="   "))

    def command(self, line: str) -> None:
        """A command as a person would type it."""
        self._print(f"   {paint('$ ' + line, 'bold')}")

    def output(self, text: str) -> None:
        """What a command printed, as it is."""
        for line in text.rstrip().splitlines():
            self._print(f"   {line}".rstrip())

    def good(self, words: str) -> None:
        """Something that was to be shown was seen."""
        self._print(f"   {paint('✔ ' + words, 'green')}")

    def _print(self, text: str) -> None:
        print(text, flush=True)


def expect(seen: bool, otherwise: str) -> None:
    """Raise DemoError with the sentence `otherwise` unless `seen`: a story that is not true is not told."""
    if not seen:
        raise DemoError(otherwise)
