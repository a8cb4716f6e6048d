"""A restore of a service that uses what Compose of today can do besides mounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import restore_volume as restore_flow
from tasks.restore.report import RestoreReport
from tests.bed.labels import Bed, remove
from tests.bed.postgres import PASSWORD
from tests.integration.down_scene import CONTENT, DownScene, down_scene, plainly, text

SECRET = """\
secrets: {pw: {environment: PW}}
configs: {conf: {content: "listen_addresses = '*'\\nwork_mem = 7MB"}}
"""


@pytest.fixture
def scene(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DownScene]:
    monkeypatch.setenv("PW", PASSWORD)
    with down_scene(bed, tmp_path, monkeypatch) as made:
        yield made
        for each in bed.client.containers.list(all=True, filters={"name": f"{made.container}.before-"}):
            image = str(each.image.id)
            remove(each)  # It mounts a volume of the project, and Compose's labels are off.
            bed.client.images.remove(image)


def with_secret(container: str) -> str:
    """The service whose server does not start without what Compose copies into its container."""
    plain = text(container).replace(f"POSTGRES_PASSWORD: {PASSWORD}", "POSTGRES_PASSWORD_FILE: /run/secrets/pw")
    return SECRET + plain.replace(
        '"autovacuum=off"]', '"autovacuum=off", "-c", "config_file=/etc/our.conf"]\n'
        "    secrets: [pw]\n    configs: [{source: conf, target: /etc/our.conf}]"
    )  # fmt: skip


@pytest.mark.slow
def test_a_reattach_takes_secrets_and_configs_along_and_the_plan_says_so(scene: DownScene) -> None:
    before = scene.ask(CONTENT)
    scene.project.write(with_secret(scene.container))
    wrong = with_secret(scene.container).replace("data:/var", "other:/var").replace("  data:", "  other:")
    scene.project.write(wrong, "other.yml")
    scene.project.up("db", files=("other.yml",))
    scene.ask("SELECT 1")
    scene.client.containers.get(scene.container).exec_run(["touch", "/etc/ours.conf"])

    planned: RestoreReport = plainly(restore_flow.restore_volume)(scene.target, str(scene.config))
    scene.restore()

    (said,) = [each for each in planned.plan.notes if "copied into the new one" in each]
    assert said.endswith("/etc/our.conf, /etc/ours.conf, /run/secrets, /run/secrets/pw.")
    assert PASSWORD not in planned.model_dump_json()
    assert scene.ask("SHOW work_mem") == "7MB"
    assert scene.ask(CONTENT) == before
