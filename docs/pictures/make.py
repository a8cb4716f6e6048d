"""Play the demo and keep what it printed as a picture for the README: `python docs/pictures/make.py`.

Writes demo.svg, and demo.png beside it where a Chromium is installed. With a file as argument, that file's text
(with its colours) is taken instead of a new run.
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


def excerpt(text: str) -> str:
    """The heart of the story: its first line, the accident to the nightly backup, and how it ends."""
    parts = re.sub(r"\nLeft running.*", "", text, flags=re.DOTALL).strip().split("\n\n")
    heart = [part for part in parts if re.match(r"(\x1b\[[\d;]*m)?[3-6]\. ", part)]
    return "\n\n".join([parts[0], *heart, parts[-1]])


def draw(text: str, svg: Path) -> None:
    """Write the text as a terminal window."""
    # The widest columns are drawn full; the longest sentences are wrapped as a terminal would.
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, legacy_windows=False)
        console.print(Text.from_ansi(f"$ make demo\n{text}"))
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
    # A terminal has few colours; with a palette of its own the file is a quarter of the size.
    Image.open(png).convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(png, optimize=True)


def main() -> None:
    """Both pictures."""
    text = Path(sys.argv[1]).read_text() if sys.argv[1:] else play()
    draw(excerpt(text), HERE / "demo.svg")
    photograph(HERE / "demo.svg", HERE / "demo.png")


if __name__ == "__main__":
    main()
