"""The alert rules and the dashboard, judged by a real Prometheus that scrapes the real API."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from ruamel.yaml import YAML

from deployments.cli import app
from deployments.status_answers import PartState
from deployments.status_server import serve_api
from tasks.config import Config, load
from tasks.history.backups import remember_stored
from tasks.history.records import Observation, Run, StoredBackup
from tasks.history.store import open_history
from tasks.models import Finding, Identity
from tests.bed.progress import ROOT, BedError, wait_until
from tests.bed.prometheus import Prometheus, program

FOLDER = ROOT / "deployments" / "monitoring"
RULES = FOLDER / "alert-rules.yaml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
TOKEN = "s3cret-token"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WRONG_VOLUME = Finding(code="volume.mismatch", severity="critical", message="It mounts another volume.")
RIGHT = Identity(
    container="c", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="0/1", server_version="17.2"
)


def rules() -> list[dict[str, Any]]:
    (group,) = YAML(typ="safe").load(RULES)["groups"]
    return list(group["rules"])


def queries() -> list[str]:
    """Every expression of the dashboard, for all targets and tables."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [re.sub(r"\$(target|table)", ".*", each["expr"]) for panel in panels for each in panel["targets"]]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Four targets: one that is well, one on the wrong volume, one not looked at for long, one never."""
    folder = tmp_path_factory.mktemp("monitored")
    (folder / "token").write_text(TOKEN)
    rule = {"container": "nowhere", "volume": "v", "database": "d", "storages": ["local"]}
    document = {
        "storages": {"local": {"type": "local", "path": "/nowhere/at/all"}},
        "api": {"token": {"file": "token"}},
        "targets": dict.fromkeys(("well", "wrong", "old", "new"), rule),
    }
    (folder / "targets.yaml").write_text(json.dumps(document))
    settings = load(str(folder / "targets.yaml"))
    settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": 0})})
    now = datetime.now(UTC)
    with open_history(settings.history) as history:
        for target, age, findings in (
            ("well", HOUR / 60, []),
            ("wrong", HOUR / 60, [WRONG_VOLUME]),
            ("old", HOUR * 3, []),
        ):
            seen = Observation(
                target=target, checked_at=now - age, kind="verify", verdict="critical" if findings else "healthy",
                findings=findings, counts={"public.experts": 85}, identity=RIGHT, accepted=not findings,
            )  # fmt: skip
            history.record(seen)
            backup = StoredBackup(
                target=target, id="b", created_at=now - age * 20, quarantined=False, stored={"local": 100},
                raw_bytes=300, seconds=3.0, proven_at=now - age * 10,
            )  # fmt: skip
            remember_stored(history, target, [backup], complete=True)
            history.record_run(Run(target=target, kind="drill", started_at=now - HOUR, ended_at=now, outcome="proven"))
    return settings


@pytest.fixture(scope="module")
def prometheus(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped the API, with its token, and judged."""
    api = serve_api(settings)
    try:
        with Prometheus(tmp_path_factory.mktemp("prometheus"), api.url, RULES, token=TOKEN) as running:
            wait_until(lambda: _judged(running), 180, "a first judgement of every rule")
            yield running
    finally:
        api.stop()


def _judged(prometheus: Prometheus) -> bool:
    """Whether the rules were judged at least once with metrics there."""
    scraped = prometheus.ask("query", query="count_over_time(rollcall_build_info[1m])")["result"]
    return bool(scraped) and int(scraped[0]["value"][1]) > 3


@pytest.fixture(scope="module")
def served(settings: Config) -> str:
    """The metrics as text."""
    api = serve_api(settings, lambda: {"watcher": PartState(up=True, restarts=0)})
    try:
        return httpx.get(f"{api.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False).text
    finally:
        api.stop()


def test_every_metric_that_rules_and_dashboard_name_is_served(served: str) -> None:
    names = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    for text in (*(rule["expr"] for rule in rules()), DASHBOARD.read_text()):
        assert set(re.findall(r"\brollcall_[a-z_]+", text)) <= names


def test_every_metric_has_a_sample_in_a_history_that_knows_all(served: str) -> None:
    names = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    assert names == set(re.findall(r"^(rollcall_\w+)", served, re.MULTILINE))


def test_promtool_finds_no_fault_with_the_metrics(served: str) -> None:
    lint = subprocess.run(
        [program("promtool"), "check", "metrics"], input=served, capture_output=True, text=True, check=False
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
    bad = subprocess.run(
        [program("promtool"), "check", "metrics"], input="# TYPE a_total gauge\na_total 1\n", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert bad.returncode != 0


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    promtool = program("promtool")
    times = (Path(__file__).parent / "alert_rules_over_time.yaml").read_text().replace("RULES", str(RULES))
    (tmp_path / "times.yaml").write_text(times)
    command = [promtool, "test", "rules", str(tmp_path / "times.yaml")]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_says_what_is_wrong_and_which_command_to_type() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "for" in rule
        words = rule["annotations"]["summary"] + rule["annotations"]["description"]
        typed = re.findall(r"`rollcall ([a-z-]+)", rule["annotations"]["description"])
        assert typed or rule["alert"] == "RollcallDown"
        assert set(typed) <= set(commands)
        options = re.findall(r"--[a-z-]+", words)
        assert set(options) <= {option for each in commands.values() for one in each.params for option in one.opts}


def test_prometheus_takes_every_rule_and_tells_the_incident_at_once(prometheus: Prometheus) -> None:
    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    expected = {
        ("RollcallWrongDatabase", "wrong"): "firing",
        ("RollcallCheckStale", "old"): "pending",
        ("RollcallBackupStale", "old"): "pending",
        ("RollcallNeverChecked", "new"): "pending",
        ("RollcallBackupMissing", "new"): "pending",
    }

    def states() -> dict[tuple[str, str | None], str]:
        alerts = prometheus.ask("alerts")["alerts"]
        return {(each["labels"]["alertname"], each["labels"].get("target")): each["state"] for each in alerts}

    # For a moment after a scrape that took longer than its second, Rollcall counts as down and its metrics as gone.
    wait_until(lambda: states() == expected, 60, "these alerts and no other", lambda: f"{states()}")


@pytest.mark.parametrize("query", queries())
def test_every_query_of_the_dashboard_has_an_answer(prometheus: Prometheus, query: str) -> None:
    # None for a moment after a scrape that took longer than its second.
    wait_until(lambda: bool(prometheus.ask("query", query=query)["result"]), 120, f"an answer to {query}")


def test_a_query_that_is_none_is_refused(prometheus: Prometheus) -> None:
    with pytest.raises(BedError, match="parse error"):
        prometheus.ask("query", query="rollcall_table_rows{")


def test_the_dashboard_lays_its_panels_out_without_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken
        assert max(right for right, _ in cells) < 24
        taken |= cells
        assert panel["title"]
        assert panel["description"]
