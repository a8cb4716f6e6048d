"""Play the demo and keep what it printed as two pictures for the README: `python docs/pictures/make.py`.

Writes demo.svg (the accident, and how it is caught) and demo-restored.svg (the way back), and a .png beside each where
there is a Chromium. With a file as argument, that file's text (with its colours) is taken instead of a new run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COLUMNS = 122


def play() -> str:
    """What the demo prints on a terminal. Raise CalledProcessError if the story does not come true."""
    environment = os.environ | {"FORCE_COLOR": "1", "KEEP": ""}
    command = [sys.executable, "-m", "deployments.demo"]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


PARTS = {"demo": range(3, 7), "demo-restored": range(7, 13)}
"""The steps of the story that each picture shows; the first two are a good night."""
FIRST = min(steps.start for steps in PARTS.values())


def excerpt(text: str, steps: range) -> str:
    """These steps of the story; before the accident its first line, after the last step how it ends."""
    parts = re.sub(r"\nLeft running.*", "", text, flags=re.DOTALL).strip().split("\n\n")
    # What a command printed may hold empty lines: a part that begins no step belongs to the one before it.
    told: dict[int, list[str]] = {}
    number = 0
    for part in parts[1:-1]:
        begins = re.match(r"(?:\x1b\[[\d;]*m)?(\d+)\. ", part)
        number = int(begins[1]) if begins else number
        told.setdefault(number, []).append(part)
    shown = [part for step in steps for part in told[step]]
    first = [parts[0]] if steps.start == FIRST else []
    last = [parts[-1]] if max(told) in steps else []
    return "\n\n".join([*first, *shown, *last])


def draw(text: str, svg: Path) -> None:
    """Write the text as a terminal window."""
    # The widest columns are drawn full; the longest sentences are wrapped as a terminal would.
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, legacy_windows=False)
        console.print(Text.from_ansi(text))
        console.save_svg(str(svg), title="make demo")


def photograph(svg: Path, png: Path) -> None:
    """The same as PNG, at the size the SVG asks for; nothing where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg.read_text())
    if browser is None or size is None:
        return
    width, height = (int(float(each)) for each in size.groups())
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile) / "page.html"
        page.write_text(f'<body style="margin:0"><img src="{svg.absolute().as_uri()}" width="{width}"></body>')
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        places = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={png}"]
        subprocess.run([*command, *places, page.as_uri()], check=True, capture_output=True)
    # A terminal has few colours; with a palette of its own the file is a quarter of the size. An octree keeps those
    # that are rare, such as the one green word.
    Image.open(png).convert("RGB").quantize(64, method=Image.Quantize.FASTOCTREE).save(png, optimize=True)


def main() -> None:
    """Both pictures."""
    text = Path(sys.argv[1]).read_text() if sys.argv[1:] else play()
    for name, steps in PARTS.items():
        before = "" if steps.start == FIRST else "…\n"
        draw(f"$ make demo\n{before}{excerpt(text, steps)}", HERE / f"{name}.svg")
        photograph(HERE / f"{name}.svg", HERE / f"{name}.png")


if __name__ == "__main__":
    main()
