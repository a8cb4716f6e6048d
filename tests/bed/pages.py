"""Pages of the documentation, followed to the letter: what they say to type, typed one line after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bed.progress import ROOT, wait_until
from tests.bed.serving import clean_environment

TYPED_SECONDS = 300


def commands(name: str) -> list[str]:
    """What the numbered steps of docs/NAME, before its first section, say to type."""
    steps = (ROOT / "docs" / name).read_text().partition("\n## ")[0]
    return re.findall(r"^ *\$ (.+)$", steps, flags=re.MULTILINE)


def yaml_blocks(name: str) -> list[str]:
    """The YAML blocks of docs/NAME, without the indentation that a numbered step gives them."""
    found = re.findall(r"^( *)```yaml\n(.*?)^ *```", (ROOT / "docs" / name).read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


class Terminal:
    """A shell that finds `rollcall` and goes on from line to line: folder and exported variables stay.

    spelt: the names of a page, and what stands for them here.
    """

    def __init__(self, folder: Path, spelt: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**clean_environment(), "HOME": str(folder), "PATH": path, **(environment or {})}
        self._spelt = spelt
        self._exported, self._folder = folder / ".exported", folder / ".folder"
        self._exported.write_text("")
        self._folder.write_text(f"{folder}\n")

    def spell(self, text: str) -> str:
        """The page's text with the names that are meant here."""
        for name, meant in self._spelt.items():
            text = re.sub(rf"\b{re.escape(name)}\b", meant, text)
        return text

    def type(self, command: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run one line; `answer` is what is typed when it asks."""
        return subprocess.run(
            ["bash", "-c", self._script(command)], check=False, env=self._environment, input=answer,
            capture_output=True, text=True, timeout=TYPED_SECONDS,
        )  # fmt: skip

    @contextmanager
    def running(self, command: str, until: str, seconds: float) -> Iterator[None]:
        """Run a line that goes on, ended by Ctrl-C after the block. Fails if it does not say `until`, or ends badly."""
        out = self._folder.with_name(".out")
        with out.open("wb") as said:
            process = subprocess.Popen(
                ["bash", "-c", self._script(command)], env=self._environment, stdin=subprocess.DEVNULL, stdout=said,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: until in out.read_text(), seconds, f"{until!r} from {command}", out.read_text)
            yield
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(seconds) == 0, out.read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _script(self, command: str) -> str:
        before = f'. {self._exported}; cd "$(cat {self._folder})"'
        after = f"code=$?; export -p > {self._exported}; pwd > {self._folder}; exit $code"
        return f"{before}\n{self.spell(command)}\n{after}"
