"""The words and command lines of the way to an engine elsewhere, without one; and the configuration that names it."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tasks.config import Config
from tasks.containers.engine import compose_environment, way_to
from tasks.containers.relay import Relay, by_ssh, why_not, without_engine
from tasks.errors import ConfigError, EngineNotTrusted, EngineUnreachable
from tasks.sections import Docker, without_user, wrong_address


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("No ED25519 host key is known for db1.\nHost key verification failed.", "connect once by hand with ssh"),
        (
            "@@@\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
            "connect once by hand",
        ),
        ("rollcall@db1: Permission denied (publickey).", "ssh was not let in"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "see that tls_ca"),
        ("x509: certificate is valid for db2, not db1", "see that tls_ca"),
        ("stream to stdout: read: remote error: tls: certificate required", "it does not accept our certificate"),
        ("remote error: tls: bad certificate", "it does not accept our certificate"),
        ("bash: line 1: docker: command not found", "finds no docker program"),
        ("sh: 1: docker: not found", "finds no docker program"),
        ("dial unix /var/run/docker.sock: connect: permission denied", "may not use the engine's socket"),
    ],
)
def test_what_trying_again_cannot_mend_is_not_tried_again(said: str, advice: str) -> None:
    error = why_not("at ssh://db1", said)

    assert isinstance(error, EngineNotTrusted)
    assert not error.transient
    assert advice in str(error)
    assert str(error).startswith("The Docker engine at ssh://db1 is not reached: ")


@pytest.mark.parametrize(
    "said",
    [
        "ssh: connect to host db1 port 22: Connection refused",
        "ssh: Could not resolve hostname db1: Name or service not known",
        "dial tcp 10.0.0.1:2376: i/o timeout",
        "ssh: connect to host db1 port 22: Connection timed out",
        "dial tcp: lookup db1: no such host",
        "Connection closed by remote host",
        "",
    ],
)
def test_a_machine_that_is_away_may_come_back(said: str) -> None:
    error = why_not("at ssh://db1", said)

    assert type(error) is EngineUnreachable
    assert error.transient
    assert "\n" not in str(error)


def test_the_last_words_stand_in_the_sentence_in_one_line() -> None:
    error = why_not("at tcp://db1:2376", "a warning\n  dial tcp 10.0.0.1:2376:   connection refused.\n")

    assert str(error).endswith("(dial tcp 10.0.0.1:2376: connection refused).")


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("ssh://db1", ["--", "db1", "docker system dial-stdio"]),
        ("ssh://me@db1:2222", ["-p", "2222", "-l", "me", "--", "db1", "docker system dial-stdio"]),
        ("ssh://db1/run/a b.sock", ["--", "db1", "docker --host 'unix:///run/a b.sock' system dial-stdio"]),
    ],
)
def test_ssh_is_asked_for_what_the_url_says_and_never_asks_back(url: str, end: list[str]) -> None:
    line = by_ssh(url)

    assert line[-len(end) :] == end
    assert "BatchMode=yes" in line


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://db1:2375", "begins with none of"),
        ("db1", "begins with none of"),
        ("tcp://db1", "without a port"),
        ("tcp://db1:port", "no URL"),
        ("ssh://", "names no machine"),
        ("ssh://-oProxyCommand=x", "names no machine"),
        ("ssh://-l@db1", "names no machine"),
        ("ssh://me:word@db1", "password"),
        ("unix://run/docker.sock", "no whole path"),
    ],
)
def test_an_address_that_is_none_is_told_so(url: str, words: str) -> None:
    assert words in wrong_address(url)


@pytest.mark.parametrize("url", ["unix:///run/docker.sock", "tcp://db1:2376", "tcp://[::1]:2375", "ssh://a@b:1/c.sock"])
def test_an_address_is_taken(url: str) -> None:
    assert wrong_address(url) == ""


def test_a_block_says_the_url_and_never_the_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tasks.containers.engine.docker_host_block", lambda _: "ssh://db1")
    files = dict.fromkeys(("tls_ca", "tls_cert", "tls_key"), tmp_path / "file")

    with pytest.raises(ConfigError, match="no tcp:// host to use them for"):
        way_to(Docker(block="db1", **files))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://db1:abc", "no URL"),
        ("tcp://[db1:2375", "no URL"),
        ("ssh://", "names no machine"),
        ("tcp://db1", "without a port"),
        ("ssh://me:hunter2@db1", "password"),
        ("http://me:hunter2@db1:2375", "begins with none of"),
        ("me:hunter2@db1", "begins with none of"),
    ],
)
def test_a_docker_host_that_is_no_address_is_told_in_one_sentence_without_quoting_it(url: str, words: str) -> None:
    with pytest.raises(EngineNotTrusted, match=f"^No Docker engine is reached: DOCKER_HOST has .*{words}") as found:
        way_to(None, {"DOCKER_HOST": url})

    assert "hunter2" not in str(found.value)
    assert found.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ssh://me:hunter2@db1:22/run/d.sock", "ssh://db1:22"),
        ("ssh://me:hunt@er2@db1", "ssh://db1"),
        ("tcp://me@[::1]:2375", "tcp://[::1]:2375"),
        ("unix:///run/docker.sock", "unix:///run/docker.sock"),
    ],
)
def test_an_engine_is_named_without_whom_it_knows_us_as(url: str, shown: str) -> None:
    assert without_user(url) == shown


def test_the_way_to_an_engine_names_no_user() -> None:
    way = way_to(Docker(host="tcp://somebody@db1:2375"))

    assert str(way.unreachable()).startswith("The Docker engine at tcp://db1:2375 is not reached")


@pytest.mark.parametrize("url", ["", "unix:///run/a@b.sock", "unix://run/docker.sock", "db1:2375", "http://db1:2375"])
def test_what_dockers_library_takes_besides_is_left_to_it(url: str) -> None:
    assert way_to(None, {"DOCKER_HOST": url}).url is None


def test_nothing_of_the_environment_leads_elsewhere_once_an_engine_is_named() -> None:
    given = {"DOCKER_HOST": "x", "DOCKER_CONTEXT": "x", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "x", "PATH": "/"}

    assert without_engine(given) == {"PATH": "/"}


@pytest.mark.parametrize(
    ("given", "led"),
    [
        ({}, {"DOCKER_HOST": "unix:///var/run/docker.sock"}),
        ({"DOCKER_HOST": "", "DOCKER_TLS_VERIFY": "1"}, {"DOCKER_HOST": "unix:///var/run/docker.sock"}),
        ({"DOCKER_HOST": "unix:///run/d.sock"}, {"DOCKER_HOST": "unix:///run/d.sock"}),
        ({"DOCKER_HOST": "tcp://db1:2375", "DOCKER_CERT_PATH": "/c"},) * 2,
    ],
)
def test_compose_is_led_to_the_engine_that_is_looked_at_whatever_context_is_in_use(
    given: dict[str, str], led: dict[str, str]
) -> None:
    assert compose_environment(None, {"PATH": "/", "DOCKER_CONTEXT": "other", **given}) == {"PATH": "/", **led}


# Says what it is told, and ends; or goes on, as a connection does that is kept for the next call.
SAYING = ["sh", "-c", 'read -r line; if [ "$line" = wait ]; then read -r line; else echo "$line" >&2; fi']


def connected(relay: Relay, line: str) -> socket.socket:
    """A connection to the program, which was told the line."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(30)
    made.connect(relay.url.removeprefix("unix://"))
    made.sendall(f"{line}\n".encode())
    return made


@pytest.mark.parametrize("beside", [True, False])
def test_what_was_said_of_an_earlier_failure_explains_none_of_now(beside: bool) -> None:
    with contextlib.closing(Relay(SAYING, os.environ, "at tcp://db1")) as relay, contextlib.ExitStack() as kept:
        if beside:
            kept.enter_context(connected(relay, "wait"))
        for line in ("x509: certificate has expired", "connection refused", "no such host"):
            before = relay.heard()
            with connected(relay, line) as ended:
                assert ended.recv(1) == b""
            assert relay.said(before) == f"{line}\n"
            assert relay.said(relay.heard()) == ""


def configured(**engines: dict[str, str] | None) -> Config:
    """A configuration with a target for each name, on that engine; `top` is the file's own."""
    target = {"container": "c", "volume": "v", "database": "d", "storages": ["s"]}
    document: dict[str, Any] = {
        "storages": {"s": {"type": "local", "path": "/s"}},
        "targets": {name: target | ({"docker": docker} if docker else {}) for name, docker in engines.items()},
    }
    if top := document["targets"].pop("top", None):
        document["docker"] = top["docker"]
    return Config.model_validate(document)


DB1, DB2 = {"host": "ssh://db1"}, {"host": "ssh://db2"}


def test_a_target_is_on_its_own_engine_else_on_the_files_own() -> None:
    config = configured(top=DB1, a=None, b=DB2)

    assert config.target("a").docker == Docker(**DB1)
    assert config.target("b").docker == Docker(**DB2)
    assert configured(a=None).target("a").docker is None


def test_what_works_on_one_engine_sees_the_targets_of_that_one_alone() -> None:
    config = configured(a=None, b=DB2, c=DB2)

    assert config.engines() == [None, Docker(**DB2)]
    assert list(config.on(None).targets) == ["a"]
    there = config.on(Docker(**DB2))
    assert (list(there.targets), there.docker) == (["b", "c"], Docker(**DB2))
    with pytest.raises(ConfigError, match="No target is on the Docker engine ssh://db9"):
        config.on(Docker(host="ssh://db9"))
