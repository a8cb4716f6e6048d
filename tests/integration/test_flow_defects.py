"""A run that meets a defect tells people and the watcher outside, as one that fails does; and only by its class."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tasks import menu
from tests.bed.recorder import HttpRecorder

CONFIG = """
notify: [{{url: {{file: {folder}/hook}}}}]
storages: {{local: {{type: local, path: ./backups}}}}
targets: {{shop: {{container: rollcall-nobody, volume: rollcall-none, database: d, user: u, storages: [local]}}}}
"""


@pytest.mark.parametrize(
    ("flow", "first"),
    [
        ("verify", "restore_history"),
        ("backup", "recover_first"),
        ("drill", "sweep_drill"),
        ("recover", "recover"),
        ("restore_volume", "refuse_interrupted"),
    ],
)
def test_a_defect_is_told_by_its_class_alone(
    flow: str, first: str, tmp_path: Path, http_recorder: HttpRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    (tmp_path / "targets.yaml").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.setattr(menu, first, lambda *_, **__: {}["hunter2"])
    run = getattr(importlib.import_module(f"flows.{flow}"), flow)

    with pytest.raises(KeyError):
        getattr(run, "fn", run)("shop", str(tmp_path / "targets.yaml"))

    (message,) = http_recorder.messages
    assert message["title"].startswith("FAILED shop: ")
    assert "defect (KeyError)" in message["message"] and "hunter2" not in str(message)
