"""The configuration file: what it takes, and the one sentence with file, line and key for what it does not."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tasks.config import DEFAULT_PATH, LocalStorage, config_path, load
from tasks.errors import ConfigError
from tasks.secrets import FileReference, reveal

GOOD = """\
storages:
  local: {type: local, path: ./backups}
targets:
  shop:
    container: pg
    volume: data
    database: shop
    storages: [local]
"""
LOCAL = "{type: local, path: ./backups}"
SECRET = "must name where the secret is, as {env: NAME}, {file: PATH} or {block: NAME}; it is never written here."
UNKNOWN = "is not known; check its spelling, or remove it."
MAPPING = "the configuration must be a mapping with the keys storages and targets."

# What is wrong, the text, the line, the rest of the sentence.
WRONG = [
    ("an empty file", "", 1, MAPPING),
    ("a list", "- shop\n", 1, MAPPING),
    (
        "an open bracket",
        "storages: [\n",
        2,
        "this is not valid YAML: expected the node content, but found '<stream end>'.",
    ),
    ("a repeated key", GOOD + "    database: two\n", 9, 'this is not valid YAML: found duplicate key "database".'),
    ("an unknown key at the top", GOOD + "target: 1\n", 9, f"the key target {UNKNOWN}"),
    ("an unknown key of a target", GOOD + "    retain: 3\n", 9, f"the key targets.shop.retain {UNKNOWN}"),
    (
        "an unknown key of a table",
        GOOD + "    tables:\n      orders: {minimum: 3}\n",
        10,
        f"the key targets.shop.tables.orders.minimum {UNKNOWN}",
    ),
    (
        "an unknown key of the retention",
        GOOD + "    retention: {newest: 3}\n",
        9,
        f"the key targets.shop.retention.newest {UNKNOWN}",
    ),
    (
        "an unknown key of a storage",
        GOOD.replace("./backups}", "./backups, bucket: b}"),
        2,
        f"the key storages.local.bucket {UNKNOWN}",
    ),
    (
        "an engine named twice",
        GOOD + "docker: {host: 'ssh://db1', block: db1}\n",
        9,
        "docker: takes either host (unix://…, tcp://… or ssh://…) or block (a DockerHost block's name).",
    ),
    (
        "an engine that is no address",
        GOOD + "    docker: {host: db1}\n",
        9,
        "targets.shop.docker: has a host that begins with none of unix://, tcp:// and ssh://.",
    ),
    (
        "a target's engine that is empty",
        "docker: {host: 'ssh://db1'}\n" + GOOD + "    docker: null\n",
        10,
        "targets.shop.docker: is empty; for this machine's engine write {host: unix:///var/run/docker.sock}, and for "
        "the file's own leave the key out.",
    ),
    (
        "a certificate without its key",
        GOOD + "docker: {host: 'tcp://db1:2376', tls_ca: ca, tls_cert: cert}\n",
        9,
        "docker: takes tls_ca, tls_cert and tls_key together, or none of them.",
    ),
    ("a watcher's URL written down", GOOD + "    ping: {url: https://x.y/z}\n", 9, f"targets.shop.ping.url {SECRET}"),
    (
        "a watcher without a URL",
        GOOD + "    ping: {}\n",
        9,
        "targets.shop.ping: names no URL; it takes url for all flows, or backup, verify and drill.",
    ),
    (
        "an unknown key of a watcher",
        GOOD + "    ping: {restore: {env: A}}\n",
        9,
        f"the key targets.shop.ping.restore {UNKNOWN}",
    ),
    ("no targets", GOOD.partition("targets:")[0], 1, "the key targets is missing."),
    (
        "a target without container",
        GOOD.replace("    container: pg\n", ""),
        4,
        "the key targets.shop.container is missing.",
    ),
    (
        "a storage without type",
        GOOD.replace("type: local, ", ""),
        2,
        "the key storages.local.type is missing; it is local or s3.",
    ),
    (
        "a storage of an unknown type",
        GOOD.replace("type: local", "type: ftp"),
        2,
        "storages.local.type must be local or s3.",
    ),
    ("a password in plain text", GOOD + "    password: hunter2\n", 9, f"targets.shop.password {SECRET}"),
    ("a password that is a number", GOOD + "    password: 1234\n", 9, f"targets.shop.password {SECRET}"),
    ("a password from nowhere", GOOD + "    password: {vault: hunter2}\n", 9, f"targets.shop.password {SECRET}"),
    ("a password from two places", GOOD + "    password: {env: A, file: B}\n", 9, f"targets.shop.password {SECRET}"),
    (
        "an S3 key in plain text",
        GOOD.replace(LOCAL, "{type: s3, bucket: b, access_key_id: {env: A}, secret_access_key: hunter2}"),
        2,
        f"storages.local.secret_access_key {SECRET}",
    ),
    (
        "one S3 key without the other",
        GOOD.replace(LOCAL, "{type: s3, bucket: b, access_key_id: {env: A}}"),
        2,
        "storages.local: access_key_id and secret_access_key belong together: give both or neither.",
    ),
    ("a notification URL in plain text", GOOD + "notify:\n- {url: json://hunter2}\n", 10, f"notify.0.url {SECRET}"),
    (
        "a notification block without type",
        GOOD + "notify:\n- {block: oncall}\n",
        10,
        "notify.0.block must be a block's type and name, for example slack-webhook/oncall.",
    ),
    (
        "an unknown storage",
        GOOD.replace("[local]", "\n    - local\n    - locl"),
        10,
        "targets.shop.storages.1 names 'locl', which is not under storages (local).",
    ),
    ("no storages of a target", GOOD.replace("[local]", "[]"), 8, "targets.shop.storages must not be empty."),
    ("one storage that is no list", GOOD.replace("[local]", "local"), 8, "targets.shop.storages must be a list."),
    (
        "a name with a slash",
        GOOD.replace("  shop:", "  sh/op:"),
        4,
        "targets.sh/op may hold letters, digits, '_', '-' and '.' only, and starts with a letter or digit.",
    ),
    ("a target without content", GOOD.partition("    container")[0], 4, "targets.shop must be a mapping."),
    (
        "an empty container name",
        GOOD.replace("container: pg", "container: ''"),
        5,
        "targets.shop.container must not be empty.",
    ),
    ("tables as a list", GOOD + "    tables: [orders]\n", 9, "targets.shop.tables must be a mapping."),
    ("a port that is a word", GOOD + "    port: five\n", 9, "targets.shop.port must be a valid integer."),
    ("a port that is none", GOOD + "    port: 70000\n", 9, "targets.shop.port must be less than or equal to 65535."),
    (
        "a negative threshold",
        GOOD + "    thresholds: {warning_drop: -0.1}\n",
        9,
        "targets.shop.thresholds.warning_drop must be greater than 0.",
    ),
    (
        "a threshold in per cent",
        GOOD + "    thresholds: {critical_drop: 20}\n",
        9,
        "targets.shop.thresholds.critical_drop must be less than or equal to 1.",
    ),
    (
        "a negative floor",
        GOOD + "    tables:\n      orders: {min: -1}\n",
        10,
        "targets.shop.tables.orders.min must be greater than or equal to 0.",
    ),
    (
        "a retention that keeps nothing",
        GOOD + "    retention: {last: 0}\n",
        9,
        "targets.shop.retention.last must be greater than or equal to 1.",
    ),
]
WRONG += [
    (
        "an age without end",
        GOOD + "    max_age_hours: .inf\n",
        9,
        "targets.shop.max_age_hours must be a finite number.",
    ),
    (
        "a threshold that is no number",
        GOOD + "    thresholds: {small_drop: .nan}\n",
        9,
        "targets.shop.thresholds.small_drop must be a finite number.",
    ),
    (
        "a window before all calendars",
        GOOD + "    thresholds: {window_days: 999999999}\n",
        9,
        "targets.shop.thresholds.window_days must be less than or equal to 36500.",
    ),
    ("a database named twice", GOOD + "    databases: [a, b, a]\n", 9, "targets.shop.databases: names 'a' twice."),
    (
        "a token of the status API in plain text",
        GOOD + "api: {token: hunter2}\n",
        9,
        f"api.token {SECRET}",
    ),
    (
        "a port of the status API that is none",
        GOOD + "api: {port: 0}\n",
        9,
        "api.port must be greater than or equal to 1.",
    ),
    (
        "an alias that is a password",
        GOOD + "    password: *hunter2\n",
        9,
        "this is not valid YAML: found undefined alias '…'.",
    ),
    (
        "a wrong value that a target takes over from another",
        GOOD.replace("  shop:", "  shop: &one") + "    max_age_hours: -1\n  more: {<<: *one}\n",
        9,
        "targets.shop.max_age_hours must be greater than 0.",
    ),
    (
        "a wrong name in a list that is taken over",
        GOOD.replace("  shop:", "  shop: &one") + "  more:\n    <<: *one\n    storages: [far]\n",
        11,
        "targets.more.storages.0 names 'far', which is not under storages (local).",
    ),
]


def written(folder: Path, text: str) -> str:
    path = folder / "targets.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("text", "line", "sentence"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_one_sentence_names_file_line_and_key_and_no_secret(
    text: str, line: int, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))

    assert str(caught.value) == f"{tmp_path}/targets.yaml, line {line}: {sentence}"
    assert "hunter2" not in str(caught.value)


def test_a_repeated_password_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, GOOD + "    password: hunter2\n    password: hunter3\n"))

    assert "line 10" in str(caught.value)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["password: hunter2", "password: *hunter2", "password: hunter2\n    password: x"])
def test_what_prefect_would_store_of_the_error_has_no_secret_either(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"{GOOD}    {wrong}\n"))

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("state: 2026-13-45", "a value looks like a date or a number and is none; put it in quotes ('…')."),
        ("state: ~nosuchuser/a", "a path begins with ~ and names no user that this machine knows."),
    ],
)
def test_a_value_that_cannot_be_taken_is_one_sentence(line: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"{line}\n{GOOD}"))

    assert str(caught.value) == f"{tmp_path}/targets.yaml: {sentence}"


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no configuration at .*/none\.yaml\. Name one with --config"):
        load(str(tmp_path / "none.yaml"))


def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match=r"targets\.yaml cannot be read: it is not UTF-8 text\."):
        load(str(tmp_path / "targets.yaml"))


def test_relative_paths_start_at_the_files_folder_wherever_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    given = written(tmp_path, GOOD + "    password: {file: password}\nnotify:\n- {url: {file: /run/url}}\n")
    monkeypatch.chdir("/")

    config = load(given)

    storage, target, notify = config.storages["local"], config.target("shop"), config.notify[0].model_dump()
    assert isinstance(storage, LocalStorage) and isinstance(target.password, FileReference)
    assert storage.path == tmp_path / "backups"
    assert config.state == tmp_path / "state"
    assert config.history == f"sqlite:///{tmp_path}/state/history.db"
    assert reveal(target.password) == "correct horse"
    assert notify == {"url": {"file": Path("/run/url")}}


@pytest.mark.parametrize("history", ["sqlite:////var/lib/rollcall.db", "postgresql+psycopg://history.example/rollcall"])
def test_a_history_elsewhere_stays_where_it_is(history: str, tmp_path: Path) -> None:
    assert load(written(tmp_path, f"history: {history}\n{GOOD}")).history == history


@pytest.mark.parametrize(
    "history",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:history?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_history_in_memory_alone_is_refused(history: str, tmp_path: Path) -> None:
    """It would forget after each run which cluster is the right one."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"history: '{history}'\n{GOOD}"))

    assert str(caught.value) == (
        f"{tmp_path}/targets.yaml, line 1: history: SQLite in memory forgets at the end of each run which data is the "
        "right one; name a file, as sqlite:///state/history.db."
    )


@pytest.mark.parametrize(
    ("given", "environment", "path"),
    [
        (None, {}, DEFAULT_PATH),
        (None, {"ROLLCALL_CONFIG": ""}, DEFAULT_PATH),
        (None, {"ROLLCALL_CONFIG": "/etc/rollcall.yaml"}, Path("/etc/rollcall.yaml")),
        ("mine.yaml", {"ROLLCALL_CONFIG": "/etc/rollcall.yaml"}, Path("mine.yaml")),
    ],
)
def test_the_option_wins_over_the_variable_and_that_over_the_default(
    given: str | None, environment: dict[str, str], path: Path
) -> None:
    assert config_path(given, environment) == path


def test_a_table_without_rules_is_a_rule(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD + "    tables:\n      orders:\n      users: {}\n"))

    assert config.target("shop").tables["orders"] == config.target("shop").tables["users"]


def test_an_unknown_target_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))

    with pytest.raises(ConfigError, match=r"^There is no target 'shoop' in the configuration; it has: shop\.$"):
        config.target("shoop")


def test_the_example_loads() -> None:
    config = load(str(Path(__file__).parents[2] / "deployments/targets.example.yaml"))

    assert config.target("knowledge_os").tables["experts"].min == 80
