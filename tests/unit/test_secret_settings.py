"""Which of a server's settings may hold a secret, so that they are in no manifest and on no screen."""

from __future__ import annotations

import json

import pytest

from deployments import show
from tasks.databases.secret_settings import may_hold_secret
from tasks.models import Manifest

URL = "postgres://me:hidden@db/app"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("archive_command", "s3cmd --secret_key=x put %p"), ("restore_command", "x"), ("ssl_passphrase_command", "x"),
        ("primary_conninfo", "x"), ("primary_slot_name", "x"), ("app.jwt_secret", "x"), ("app.apiKey", "x"),
        ("app.api_key_2", "x"), ("app.db_pass", "x"), ("app.pwd", "x"), ("App.Token", "x"), ("anon.salt", "x"),
        ("app.private", "x"), ("app.dsn", "x"), ("app.database", URL), ("app.peer", "host=db password=x"),
        ("app.pem", "-----BEGIN RSA PRIVATE KEY-----\nx"),
    ],
)  # fmt: skip
def test_a_setting_is_taken_for_a_secret_by_its_name_or_its_value(name: str, value: str) -> None:
    assert may_hold_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TimeZone", "Europe/Moscow"), ("shared_preload_libraries", "pg_stat_statements"), ("app.tenant", "ours"),
        ("ssl_key_file", "server.key"), ("tcp_keepalives_idle", "60"), ("app.passenger_limit", "4"),
        ("log_line_prefix", "%m [%p] %q%u@%d "), ("app.home", "https://example.org:8443/a@b"), ("unix", ""),
    ],
)  # fmt: skip
def test_what_a_rebuild_may_need_is_not_taken_for_one(name: str, value: str) -> None:
    assert not may_hold_secret(name, value)


def test_a_manifest_that_is_printed_shows_no_secret_of_all_roles(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = {"settings_for_all": {"app.jwt_secret": "hidden", "app.url": URL, "app.tenant": "ours"}}
    show.document(Manifest.model_construct(cluster=cluster))
    printed = capsys.readouterr().out
    assert "hidden" not in printed
    assert json.loads(printed)["cluster"]["settings_for_all"].keys() == cluster["settings_for_all"].keys()
    assert json.loads(printed)["cluster"]["settings_for_all"]["app.tenant"] == "ours"
    assert cluster["settings_for_all"]["app.url"] == URL, "what is stored is whole: no dump holds it"
