"""Take the picture of Prefect's UI for the README: `python docs/pictures/ui.py http://127.0.0.1:PORT`.

The address is the one that `make demo KEEP=1` prints. Needs Playwright and Debian's chromium.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent


def ask(ui: str, path: str, body: dict[str, Any]) -> Any:
    """Prefect's answer to a filter, as JSON."""
    request = urllib.request.Request(  # noqa: S310 - the address is given by hand
        f"{ui}/api/{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def critical_report(ui: str) -> str:
    """The id of the report of the check that found the wrong volume."""
    found = ask(ui, "artifacts/filter", {"artifacts": {"key": {"like_": "verify"}}})
    return next(str(each["id"]) for each in found if "critical" in (each["description"] or ""))


def picture(page: Page, address: str, seen: str, name: str) -> None:
    """Open a page, wait until it shows `seen`, keep it."""
    page.goto(address, wait_until="networkidle")
    page.get_by_text(seen).first.wait_for(timeout=30_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=HERE / name)


def main() -> None:
    """Both pictures."""
    ui = sys.argv[1].rstrip("/")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        page.goto(ui, wait_until="networkidle")
        picture(page, f"{ui}/artifacts/artifact/{critical_report(ui)}", "volume.mismatch", "ui-verify.png")
        page.set_viewport_size({"width": 1280, "height": 1120})
        picture(page, f"{ui}/runs", "backup knowledge_os", "ui-runs.png")
        browser.close()


if __name__ == "__main__":
    main()
