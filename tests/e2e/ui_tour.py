"""A newcomer's way through Prefect's UI, by what is to be seen and clicked there; pictures are taken on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

from tests.bed.progress import wait_until
from tests.bed.serving import ask, end_of

SEEN_MS = 60_000
PAUSED_SECONDS = 180
SETTLED_MS = 1200  # what fades in has done so; only pictures wait for it


class Tour:
    """One browser page before one served target."""

    def __init__(self, page: Page, api: str, target: str, pictures: Path, log: Path) -> None:
        self.page, self.api, self.target, self.pictures, self.log = page, api, target, pictures, log
        self.ui = api.removesuffix("/api")
        page.set_default_timeout(SEEN_MS)

    def picture(self, name: str, height: int = 900) -> None:
        """Keep what the page shows as `ui-NAME.png`."""
        self.page.set_viewport_size({"width": 1280, "height": height})
        self.page.wait_for_timeout(SETTLED_MS)
        self.page.screenshot(path=self.pictures / f"ui-{name}.png")

    def start(self, flow: str, how: str) -> None:
        """From the list of deployments to the button Run of one, and `how`: Quick run or Custom run."""
        made = ask(self.api, f"deployments/name/{flow}/{self.target}")
        self.page.goto(f"{self.ui}/deployments")
        self.page.locator(f'a[href$="{made["id"]}"]').first.click()
        self.page.get_by_text("Entrypoint").first.wait_for()
        self.page.get_by_role("button", name="Run", exact=True).first.click()
        self.page.get_by_text(how, exact=True).click()

    def quick_run(self, flow: str) -> dict[str, Any]:
        """Run a flow as it is deployed; return the run once it is over."""
        before = self._ids(flow)
        self.start(flow, "Quick run")
        self.page.get_by_text("Run Deployment").wait_for()
        self.page.get_by_role("button", name="Run", exact=True).last.click()
        return end_of(self.api, self._new(flow, before), self.log)

    def open_restore_form(self) -> None:
        """The form of a restore as it comes: a dry run."""
        self.start("restore-volume", "Custom run")
        self.page.get_by_text("without_safety_backup").first.wait_for()

    def switch_off_dry_run(self) -> None:
        """The one thing to change in the form of a restore that is meant; not sent yet."""
        self._field("dry_run").click()

    def _field(self, name: str) -> Locator:
        """What is to be clicked of a field of the form."""
        field = self.page.locator(".schema-form-property").filter(has_text=f"{name} (Optional)")
        return field.locator(".p-select-button__control, [role=switch]").first

    def submit_restore(self) -> str:
        """Send the form; return the run's id once it waits for somebody to approve it."""
        before = self._ids("restore-volume")
        self.page.get_by_role("button", name="Submit", exact=True).click()
        run = self._new("restore-volume", before)
        state: dict[str, Any] = {}

        def paused() -> bool:
            state.update(ask(self.api, f"flow_runs/{run}")["state"])
            return state["type"] == "PAUSED"

        wait_until(paused, PAUSED_SECONDS, "a restore that waits for approval", lambda: f"{state}")
        return run

    def read_plan(self, run: str) -> None:
        """Open the run and press Resume: the plan comes with a form below it."""
        self.page.goto(f"{self.ui}/runs/flow-run/{run}")
        self.page.get_by_role("button", name="Resume").first.click()
        self.page.get_by_text("Restore plan for").first.wait_for()

    def answer(self, run: str, typed: str, by: str) -> dict[str, Any]:
        """Fill in the form below the plan and send it; return the run once it is over."""
        fields = self.page.locator("textarea")
        fields.nth(0).fill(typed)
        fields.nth(1).fill(by)
        self.page.get_by_role("button", name="Submit", exact=True).last.click()
        return end_of(self.api, run, self.log)

    def open_run(self, run: str, seen: str) -> None:
        """Open the run's own page where it tells how the run ended, and wait for `seen` there."""
        self.page.goto(f"{self.ui}/runs/flow-run/{run}?tab=Details")
        self.page.get_by_text(seen).first.wait_for()

    def open_report(self, key: str, seen: str) -> str:
        """Open the newest report under a key; return its text once it shows `seen`."""
        found = ask(self.api, "artifacts/filter", artifacts={"key": {"any_": [key]}}, sort="CREATED_DESC", limit=1)
        self.page.goto(f"{self.ui}/artifacts/artifact/{found[0]['id']}")
        self.page.get_by_text(seen).first.wait_for()
        return str(found[0]["data"])

    def _ids(self, flow: str) -> set[str]:
        which = {"deployments": {"id": {"any_": [ask(self.api, f"deployments/name/{flow}/{self.target}")["id"]]}}}
        return {each["id"] for each in ask(self.api, "flow_runs/filter", **which)}

    def _new(self, flow: str, before: set[str]) -> str:
        """The id of the run that was not there before."""
        wait_until(lambda: bool(self._ids(flow) - before), 60, f"a run of {flow}")
        (made,) = self._ids(flow) - before
        return made
