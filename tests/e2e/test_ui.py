"""A newcomer's way through Prefect's UI, in a real browser against `rollcall serve`; its pictures are the docs' own.

`python -m docs.pictures.ui` runs just this and keeps the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.bed import browser
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.e2e.ui_scene import DOMAINS, EXPERTS, NODES, TARGET, Scene, ui_scene
from tests.e2e.ui_tour import Tour

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WHOLE, LOST = (EXPERTS, NODES, DOMAINS), (1, 27, 1)


@pytest.fixture
def page() -> Iterator[Page]:
    browser.require()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(browser.PROGRAM), args=["--no-sandbox"])
        yield running.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
        running.close()


@pytest.fixture
def scene(tmp_path: Path, bed: Bed, postgres: PostgresServers) -> Iterator[Scene]:
    with ui_scene(tmp_path, bed, postgres) as made:
        yield made


def test_a_newcomer_backs_up_reads_the_plan_is_refused_approves_and_sees_the_proof(
    scene: Scene, page: Page, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("ROLLCALL_PICTURES", tmp_path))
    tour = Tour(page, scene.here.said["api"], TARGET, pictures, scene.here.log)

    assert tour.quick_run("backup")["state"]["type"] == "COMPLETED"
    assert "| public.knowledge_nodes |" in tour.open_report("backup-knowledge-os", "copies are")
    tour.picture("backup", 1250)

    scene.lose_rows()
    assert tour.quick_run("verify")["state"]["type"] == "COMPLETED"
    found = tour.open_report("verify-knowledge-os", "CRITICAL")
    assert (
        "**Next:** rollcall backups knowledge_os" in found
        and "rows.dropped" in found
        and "](data:image/png;base64," in found
    )
    assert len(found.encode()) < 100_000
    assert page.locator("article img").first.evaluate("it => it.complete && it.naturalWidth > 0")
    tour.picture("verify", 1400)
    assert "1 of 1 target not healthy" in tour.open_report("rollcall-targets", "not healthy")

    tour.open_restore_form()
    assert page.get_by_text("Property is type").count() == 0
    tour.picture("restore-form", 1150)
    tour.switch_off_dry_run()
    run = tour.submit_restore()
    tour.read_plan(run)
    tour.picture("restore-plan", 1300)
    refused = tour.answer(run, "knowledge", "Ann")
    assert refused["state"]["type"] == "FAILED" and "Not approved" in refused["state"]["message"]
    assert scene.counts() == LOST
    tour.open_run(run, "Not approved")
    tour.picture("restore-refused", 1080)

    tour.open_restore_form()
    tour.switch_off_dry_run()
    run = tour.submit_restore()
    tour.read_plan(run)
    done = tour.answer(run, TARGET, "Ann")
    assert done["state"]["type"] == "COMPLETED", done["state"]
    assert scene.counts() == WHOLE
    proof = tour.open_report("restore-knowledge-os", "is restored")
    assert "| ✔ | knowledge_os: public.knowledge_nodes | 26,337 | 26,337 | 26,337 |" in proof
    assert "approved by Ann" in proof and "⚠" not in proof
    tour.picture("restore-proof", 1250)
    assert "✔ The target is healthy" in tour.open_report("rollcall-targets", "is healthy")
    tour.picture("targets", 700)
