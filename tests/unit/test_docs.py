"""The documents speak of commands, options, keys and codes that exist, and leave none out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

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
