"""The documents speak of commands, options, keys and codes that exist, and leave none out."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from ruamel.yaml import YAML

from deployments.cli import app
from tasks import config, sections

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def spans(page: Path) -> list[str]:
    """Everything in a page that is set as code."""
    text = page.read_text()
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^[\s$]*(.*\brollcall .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_in_a_page_exists(page: Path) -> None:
    for span in spans(page):
        for name, rest in re.findall(r"\brollcall ([a-z][a-z-]+)([^`#|]*)", span):
            assert name in COMMANDS, f"{page.name}: rollcall {name}"
            known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in known, f"{page.name}: rollcall {name} {option}"


def test_an_upgrade_typed_to_the_letter_leaves_serve_running_and_asks_the_doctor_about_its_file(tmp_path: Path) -> None:
    """With what would change this machine replaced by programs that only note how they were called."""
    places = {"/opt/rollcall": tmp_path / "opt", "/var/lib/rollcall": tmp_path / "lib"}
    noted = tmp_path / "noted"
    for program, more in (
        ("sudo", '[ "$1" = -u ] && shift 2; exec "$@"'), ("systemctl", ""), ("git", ""),
        ("opt/.venv/bin/pip", ""), ("opt/.venv/bin/rollcall", "exit 2"),
    ):  # fmt: skip
        path = tmp_path / (program if "/" in program else f"bin/{program}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {noted}\n{more}\n')
        path.chmod(0o755)
    (tmp_path / "lib/state").mkdir(parents=True)
    (block,) = re.findall(r"```sh\n(.*?systemctl stop.*?)```", (ROOT / "docs/upgrade.md").read_text(), re.DOTALL)
    for place, instead in places.items():
        block = block.replace(place, str(instead))
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", block], env=environment, cwd=tmp_path / "opt", check=False)
    calls = [each for each in noted.read_text().splitlines() if not each.startswith("sudo -u")]
    assert [each for each in calls if each.startswith("systemctl")][-2:] == [
        "systemctl stop rollcall",
        "systemctl start rollcall",
    ]
    assert any(each.startswith("sudo cp -a") for each in calls)
    assert calls[-1] == f"rollcall doctor --config {tmp_path}/lib/targets.yaml"
    assert len(list((tmp_path / "lib").glob("state.*"))) == 1
    unit = (ROOT / "deployments/service/rollcall.service").read_text()
    assert "ExecStart=/opt/rollcall/.venv/bin/rollcall serve --config /var/lib/rollcall/targets.yaml\n" in unit


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`rollcall {name}" not in readme] == []


def keys_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_the_configuration_page_explains_every_key() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    models = [
        config.Config,
        sections.Api,
        sections.Docker,
        sections.Ping,
        sections.Schedules,
        sections.Serve,
        config.LocalStorage,
        config.S3Storage,
        config.Target,
        config.Retention,
        config.Thresholds,
    ]
    keys = {key for model in models for key in keys_of(model)}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_the_findings_page_lists_just_the_codes_that_can_be_raised() -> None:
    page = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)`", (ROOT / "docs/findings.md").read_text(), re.MULTILINE))
    kinds = (
        "container|volume|cluster|project|server|table|rows|schema|backup|storage|notification|database|history|clock"
        "|restore|check"
    )
    sources = [path for path in (ROOT / "tasks").rglob("*.py") if path.name != "codes.py"]
    files = {"server.crt", "server.key"}
    raised = {code for path in sources for code in re.findall(rf'"((?:{kinds})\.[a-z_]+)"', path.read_text())}
    assert page == raised - files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} → {target}"


def typed(page: Path) -> list[list[str]]:
    """What a page says to type, and every command of `rollcall` that it names in full, as words; no variants."""
    text = page.read_text()
    lines = re.findall(r"^ *\$ (.+)$", text, re.MULTILINE) + re.findall(r"`(rollcall [^`\n]+)`", text)
    words = [
        shlex.split(re.split(r"[|;]|&&", line)[0], comments=True) for line in lines if not re.search(r"[\[…]", line)
    ]
    return [each[1:] for each in words if each and each[0].endswith("rollcall") and len(each) > 1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_a_page_is_one_that_the_program_takes(page: Path) -> None:
    for name, *rest in typed(page):
        if rest:  # a bare name speaks of the command
            COMMANDS[name].make_context(name, rest)


def slug(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        assert anchor in {slug(each) for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}, f"{target}#{anchor}"


def yaml_of(page: Path) -> list[dict[str, Any]]:
    found = re.findall(r"^( *)```yaml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    reader = YAML(typ="safe")
    return [reader.load(re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, text in found]


OTHERS = [{"services", "volumes", "networks"}, {"rule_files", "scrape_configs"}]
"""The keys of compose files and of Prometheus."""


def completed(part: dict[str, Any]) -> dict[str, Any]:
    """A whole configuration around the part of one that a page shows."""
    needed = {"container": "c", "database": "d", "storages": ["local"]}
    targets = {
        name: ({} if "folder" in rules else {"volume": "v"}) | needed | rules
        for name, rules in part.get("targets", {"any": {}}).items()
    }
    named = {name for rules in targets.values() for name in rules["storages"]}
    storages = {name: {"type": "local", "path": "."} for name in named} | part.get("storages", {})
    return {**part, "storages": storages, "targets": targets}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_piece_of_configuration_in_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "targets.yaml"
    for part in yaml_of(page):
        if any(set(part) <= keys for keys in OTHERS):
            continue
        file.write_text(json.dumps(completed(part), default=str))
        config.load(str(file))


def test_every_example_of_a_notification_is_a_url_of_that_service() -> None:
    from apprise import Apprise

    rows = re.findall(r"^\| ([A-Za-z-]+)[^|]*\| `([a-z]+://[^`]+)`", (ROOT / "docs/notifications.md").read_text(), re.M)
    assert len(rows) > 8
    for service, url in rows:
        plugin = Apprise.instantiate(url)
        assert plugin is not None, url
        known = {"e-mail": "NotifyEmail", "any": "NotifyJSON", "a": "NotifyTelegram"}
        assert type(plugin).__name__.lower() == known.get(service, f"Notify{service}").lower(), url
