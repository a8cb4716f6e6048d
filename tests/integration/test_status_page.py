"""docs/status-api.md shows what is really answered, and configurations that are really taken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from deployments.status_answers import SystemMetrics, TargetStatus
from deployments.status_metrics import metrics_text
from tasks.config import load
from tests.bed.progress import ROOT
from tests.bed.prometheus import program

PAGE = (ROOT / "docs" / "status-api.md").read_text()
BLOCKS = {name: text for text, name in re.findall(r"```yaml\n((\w+):.*?)```", PAGE, re.DOTALL)}
CONFIGURATION = """\
storages: {local: {type: local, path: backups}}
targets:
  knowledge_os: {container: c, volume: v, database: d, storages: [local]}
"""


def test_the_answer_shown_has_every_field_and_no_other() -> None:
    shown = json.loads(re.search(r"json\.tool\n(\{.*?^\})", PAGE, re.DOTALL | re.MULTILINE)[1])  # type: ignore[index]
    SystemMetrics.model_validate(shown)
    assert set(shown) == set(SystemMetrics.model_fields)
    assert set(shown["targets"]["knowledge_os"]) == set(TargetStatus.model_fields)


def test_the_page_lists_just_the_metrics_there_are(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(CONFIGURATION)
    served = metrics_text(load(str(tmp_path / "targets.yaml")), {}).decode()
    names = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    rows = [line for line in PAGE.splitlines() if line.startswith("| `rollcall_")]
    assert {name for row in rows for name in re.findall(r"`(rollcall_\w+)`", row)} == names


def test_the_configuration_of_the_api_is_taken(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(CONFIGURATION + BLOCKS["api"])
    assert load(str(tmp_path / "targets.yaml")).api.host == "0.0.0.0"


def test_prometheus_takes_the_scrape_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(BLOCKS["rule_files"])
    shutil.copy(ROOT / "deployments/monitoring/alert-rules.yaml", tmp_path)
    command = [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
