"""Which deployments a configuration asks for, what their forms say, and where serve's own server listens."""

from __future__ import annotations

import os
import plistlib
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.serving.forms import Choice, shaped
from deployments.serving.server import USUAL_PORT, chosen_port
from deployments.serving.service import only_service
from deployments.serving.wanted import FLOWS, ROOT, Wanted, wanted
from flows.restore_volume import restore_volume
from tasks.config import Serve, load
from tasks.errors import Busy, ConfigError, RollcallError

TEXT = """\
storages:
  local: {type: local, path: ./backups}
schedules: {backup: "0 3 * * *", timezone: Europe/Berlin}
targets:
  shop: {container: pg, volume: data, database: shop, storages: [local]}
  archive:
    container: pg2
    volume: data2
    database: archive
    storages: [local]
    schedules: {verify: "0 * * * *", drill: never}
"""


def asked_for(folder: Path, text: str = TEXT) -> dict[str, Wanted]:
    file = folder / "targets.yaml"
    file.write_text(text)
    return {each.name: each for each in wanted(load(str(file)), file)}


def test_there_is_a_deployment_for_every_flow_and_target(tmp_path: Path) -> None:
    found = asked_for(tmp_path)

    assert found.keys() == {f"{flow}/{target}" for flow in FLOWS for target in ("shop", "archive")}
    # A `down` is of a project's folder, and asks at the terminal.
    flows = {path.stem.replace("_", "-") for path in (ROOT / "flows").glob("*.py")} - {"--init--", "safe-down"}
    assert set(FLOWS) == flows, "a flow that nobody can start from the UI"
    for each in found.values():
        file, _, function = each.entrypoint.partition(":")
        assert f"def {function}(" in (ROOT / file).read_text()
        assert each.parameters["target"] == each.target and each.target in each.description
        assert each.parameters["config"] == str(tmp_path / "targets.yaml")
        assert {"rollcall", each.flow, each.target} == set(each.tags)


def test_a_target_says_over_the_file_when_it_runs(tmp_path: Path) -> None:
    found = {name: (each.cron, each.timezone) for name, each in asked_for(tmp_path).items()}

    assert found["backup/shop"] == ("0 3 * * *", "Europe/Berlin")
    assert found["verify/shop"] == ("*/15 * * * *", "Europe/Berlin")
    assert found["drill/shop"] == ("0 4 * * 0", "Europe/Berlin")
    assert found["backup/archive"] == ("0 3 * * *", "Europe/Berlin")
    assert found["verify/archive"] == ("0 * * * *", "Europe/Berlin")
    assert found["drill/archive"] == (None, "Europe/Berlin")


def test_what_changes_data_is_started_by_a_person_alone_and_is_safe_as_it_comes(tmp_path: Path) -> None:
    found = asked_for(tmp_path)

    assert found["restore-volume/shop"].cron is found["recover/shop"].cron is None
    assert found["restore-volume/shop"].parameters["dry_run"] is True


@pytest.mark.parametrize("flow", ["backup", "restore-volume", "recover"])
def test_no_limit_of_prefect_may_end_what_must_not_be_ended(tmp_path: Path, flow: str) -> None:
    assert asked_for(tmp_path)[f"{flow}/shop"].limit is None


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('backup: "0 25 * * *"', "schedules.backup: '0 25 * * *' is no cron line, its hour cannot be;"),
        ('backup: "0 2 * *"', "schedules.backup: '0 2 * *' is no cron line;"),
        ('backup: "0 0 2 * * *"', "schedules.backup: '0 0 2 * * *' is no cron line;"),
        ('drill: "0 0 31 2 *"', "schedules.drill: '0 0 31 2 *' is no cron line, its day-of-month cannot be;"),
        ('drill: "0 4 * * 0#2"', "schedules.drill: '0 4 * * 0#2' is no cron line;"),
        ("verify: hourly", "schedules.verify: 'hourly' is no cron line;"),
        ("timezone: Europe/Atlantis", "schedules.timezone: 'Europe/Atlantis' is no time zone; give its IANA name,"),
        ("timezone: ../../etc/passwd", "schedules.timezone: '../../etc/passwd' is no time zone;"),
        ("timezone: ''", "schedules.timezone: '' is no time zone;"),
        ('weekly: "0 0 * * 0"', "the key schedules.weekly is not known;"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_sentence(tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(TEXT.replace('schedules: {backup: "0 3 * * *", timezone: Europe/Berlin}', f"schedules: {{{line}}}"))

    with pytest.raises(ConfigError) as error:
        load(str(file))

    assert str(error.value).startswith(f"{file}, line 3: {sentence}")
    assert str(error.value).count("\n") == 0


FORM: dict[str, Any] = {
    "properties": {
        "target": {"type": "string", "description": "Name."},
        "config": {"type": "string", "description": "Path."},
        "backup": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "Which\nbackup."},
    },
    "required": ["target"],
}


def test_a_form_offers_its_target_and_the_backups_newest_first() -> None:
    backups = [Choice("c", quarantined=True), Choice("b", proven=True), Choice("a", proven=True)]

    fields = shaped(FORM, "shop", backups)["properties"]

    assert fields["target"] == {"type": "string", "description": "Name.", "enum": ["shop"], "position": 0}
    assert "config" not in fields
    assert fields["backup"]["enum"] == ["latest", "c", "b", "a"]
    assert fields["backup"]["description"] == (
        "Which backup. Newest first. Proven by a drill: b, a. "
        "Quarantined, because something was wrong when they were taken: c."
    )
    assert "default" not in fields["backup"] and "anyOf" not in fields["backup"]


def test_a_form_can_leave_the_backup_to_be_typed() -> None:
    fields = shaped(FORM, "shop", None)["properties"]

    assert fields["backup"] == {"type": "string", "description": "Which\nbackup.", "position": 1}


def test_the_form_of_a_restore_has_plain_fields_with_help_and_its_switch_stands_first() -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(getattr(restore_volume, "fn", restore_volume)).model_dump_for_openapi()

    fields = shaped(schema, "shop", [])["properties"]

    order = sorted(fields, key=lambda name: int(fields[name]["position"]))
    assert order == [
        "target",
        "dry_run",
        "backup",
        "from_volume",
        "leave_behind",
        "accept_differences",
        "without_safety_backup",
    ]
    types = {name: field["type"] for name, field in fields.items()}
    assert types == {
        "target": "string",
        "dry_run": "boolean",
        "backup": "string",
        "from_volume": "string",
        "leave_behind": "array",
        "accept_differences": "array",
        "without_safety_backup": "boolean",
    }
    assert fields["leave_behind"]["items"] == {"type": "string"}
    assert fields["dry_run"]["default"] is True
    assert all(field["description"] for field in fields.values())
    assert not any("anyOf" in field or field.get("default", 0) is None for field in fields.values())


def test_a_field_that_takes_two_types_is_left_as_it_is() -> None:
    either = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "default": None}
    form = {"properties": {"target": {"type": "string"}, "either": either}}

    assert shaped(form, "shop", None)["properties"]["either"] == {**either, "position": 1}


def test_a_help_text_does_not_grow_with_the_years() -> None:
    many = [Choice(f"id{n}", proven=True) for n in range(500)]

    text = shaped(FORM, "shop", many)["properties"]["backup"]["description"]

    assert "id9" in text and "id10" not in text and "and 490 older ones." in text


def test_the_port_is_the_last_one_then_the_usual_one_then_any() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert chosen_port(Serve(), port) not in {port, None}
        with pytest.raises(RollcallError, match=rf"Port {port} of 127\.0\.0\.1 is taken .*; end what listens there"):
            chosen_port(Serve(port=port), None)
    assert chosen_port(Serve(), port) == port, "the last one, so that bookmarks go on working"
    assert chosen_port(Serve(port=port), USUAL_PORT) == port


def test_an_address_that_is_not_this_machine_s_is_one_sentence() -> None:
    with pytest.raises(RollcallError, match=r"serve\.host: 192\.0\.2\.1 is no address of this machine"):
        chosen_port(Serve(host="192.0.2.1"), None)


SERVICE = ROOT / "deployments/service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to ask")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "rollcall.service"
    ours = str(Path(sys.executable).parent / "rollcall")
    unit.write_text((SERVICE / "rollcall.service").read_text().replace("/opt/rollcall/.venv/bin/rollcall", ours))

    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)

    assert (said.returncode, said.stderr) == (0, "")
    assert "KillMode=mixed" in unit.read_text()


def test_launchd_s_file_says_what_the_unit_says() -> None:
    agent = plistlib.loads((SERVICE / "io.rollcall.serve.plist").read_bytes())

    assert agent["Label"] == "io.rollcall.serve"
    assert agent["ProgramArguments"][1:3] == ["serve", "--config"]
    assert agent["KeepAlive"] and agent["RunAtLoad"] and agent["ExitTimeOut"] > Serve().grace + 60


def test_a_state_folder_has_place_for_one_serve(tmp_path: Path) -> None:
    with only_service(tmp_path):
        with (
            pytest.raises(Busy, match=rf"Another rollcall serve \(process {os.getpid()}\) uses"),
            only_service(tmp_path),
        ):
            pass
        with only_service(tmp_path / "another"):
            pass
    with only_service(tmp_path):
        pass


def test_a_state_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(ConfigError, match="cannot be used: Not a directory"),
        only_service(tmp_path / "file/state"),
    ):
        pass
