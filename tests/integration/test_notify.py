"""Real delivery to a real web hook: what arrives, what is said if not, how long it takes, what leaks."""

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tasks.alerts.message import Message
from tasks.alerts.notify import notify, undelivered_finding
from tasks.config import NotifyBlock, NotifyUrl
from tasks.errors import NotificationFailed
from tasks.secrets import EnvReference, FileReference
from tests.bed.ports import free_port
from tests.bed.progress import wait_until
from tests.bed.recorder import HttpRecorder

SECRET = "hunter2-token"
MESSAGE = Message("CRITICAL knowledge_os: wrong volume", "first line\nNext: rollcall verify knowledge_os", "failure")


@pytest.fixture
def destination(monkeypatch: pytest.MonkeyPatch, http_recorder: HttpRecorder) -> NotifyUrl:
    """The recorder, behind a URL that carries a secret in its path, its password and a header."""
    host = http_recorder.apprise_url.removeprefix("json://").rstrip("/")
    return named(monkeypatch, f"json://me:{SECRET}@{host}/bot{SECRET}/send?+X-Token={SECRET}")


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """However chatty the logging, no secret is in any log or on any stream after any test here."""
    caplog.set_level(1)
    for name in ("apprise", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(1, logger=name)
    yield
    captured = capfd.readouterr()
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert [line for line in (*logged, caplog.text, captured.out, captured.err) if SECRET in line] == []


def named(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "NOTIFY_URL") -> NotifyUrl:
    monkeypatch.setenv(name, url)
    return NotifyUrl(url=EnvReference(env=name))


def refused_url() -> str:
    """A URL whose port nobody listens on."""
    return f"json://me:{SECRET}@127.0.0.1:{free_port()}/{SECRET}"


def test_a_message_arrives_as_it_was_written(destination: NotifyUrl, http_recorder: HttpRecorder) -> None:
    assert notify([destination], MESSAGE) == []
    (received,) = http_recorder.wait_for(1)
    assert received["title"] == MESSAGE.title
    assert received["message"] == MESSAGE.body
    assert received["type"] == "failure"


def test_nobody_to_tell_is_no_failure() -> None:
    assert notify([], MESSAGE) == []
    assert undelivered_finding([]) is None


def test_a_url_from_a_file_may_end_in_line_breaks(tmp_path: Path, http_recorder: HttpRecorder) -> None:
    path = tmp_path / "url"
    path.write_text(http_recorder.apprise_url + "\r\n\n")
    assert notify([NotifyUrl(url=FileReference(file=path))], MESSAGE) == []
    http_recorder.wait_for(1)


def test_an_error_answer_is_tried_three_times_and_then_told(
    destination: NotifyUrl, http_recorder: HttpRecorder
) -> None:
    http_recorder.answer_with(500)
    pauses: list[float] = []
    sentences = notify([destination], MESSAGE, sleep=pauses.append)
    assert sentences == ["notify[0] (json): the server answered 500."]
    assert len(http_recorder.messages) == 3
    assert pauses == [1.0, 3.0]


def test_a_destination_that_comes_back_is_reached_and_the_others_are_not_told_twice(
    monkeypatch: pytest.MonkeyPatch, destination: NotifyUrl, http_recorder: HttpRecorder
) -> None:
    sound = HttpRecorder()
    sound.start()
    http_recorder.answer_with(503)
    try:
        entries = [destination, named(monkeypatch, sound.apprise_url, "SOUND")]
        assert notify(entries, MESSAGE, sleep=lambda _: http_recorder.answer_with(200)) == []
    finally:
        sound.stop()
    assert (len(http_recorder.messages), len(sound.messages)) == (2, 1)


def test_a_refused_port_is_told_by_position_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = notify([named(monkeypatch, refused_url())], MESSAGE, waits=[0.01])
    assert sentences == ["notify[0] (json): no connection could be made, or it broke."]


def test_a_stall_ends_at_the_deadline(destination: NotifyUrl, http_recorder: HttpRecorder) -> None:
    http_recorder.stall()
    began = time.monotonic()
    sentences = notify([destination, destination], MESSAGE, deadline=2.0, waits=[0.1])
    # They end by this deadline and not by the one of Apprise, which has other words.
    assert sentences == [f"notify[{at}] (json): no answer within 4.1 seconds." for at in (0, 1)]
    assert time.monotonic() - began >= 4.1


def test_a_slow_destination_gets_it_once_and_counts_as_reached() -> None:
    delivered: list[str] = []
    go_on = threading.Event()

    def slow(name: str, _message: Message) -> None:
        go_on.wait(60)
        delivered.append(name)

    def meanwhile(_seconds: float) -> None:
        go_on.set()

    entry = NotifyBlock(block="slack-webhook/oncall")
    assert notify([entry], MESSAGE, slow, deadline=0.5, waits=[0] * 60, sleep=meanwhile) == []
    assert delivered == ["slack-webhook/oncall"]


def test_a_web_hook_that_takes_some_seconds_to_answer_gets_it_once(
    destination: NotifyUrl, http_recorder: HttpRecorder
) -> None:
    """Apprise alone waits for four."""
    http_recorder.stall()
    timer = threading.Timer(4.5, http_recorder.resume)
    timer.start()
    assert notify([destination], MESSAGE) == []
    timer.join()
    assert len(http_recorder.messages) == 1


def test_a_stalled_destination_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, destination: NotifyUrl, http_recorder: HttpRecorder
) -> None:
    sound = HttpRecorder()
    sound.start()
    http_recorder.stall()
    try:
        entries = [destination, named(monkeypatch, sound.apprise_url, "SOUND")]
        # Between the two attempts the other one is waited for: how long it takes is this machine's business.
        arrived = partial(wait_until, lambda: bool(sound.messages), 60, "the message to the other")
        sentences = notify(entries, MESSAGE, deadline=2.0, waits=[0], sleep=lambda _: arrived())
    finally:
        sound.stop()
    assert sentences == ["notify[0] (json): no answer within 4 seconds."]
    assert len(sound.messages) == 1


@pytest.mark.parametrize("text", [SECRET, f"nosuch://{SECRET}@host", f"json://{SECRET}:x:y@:port/", ""])
def test_what_is_not_a_url_is_told_once_by_the_name_of_its_secret(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    pauses: list[float] = []
    sentences = notify([named(monkeypatch, text)], MESSAGE, sleep=pauses.append)
    assert sentences == [
        "notify[0] (url): What {env: NOTIFY_URL} holds is not an Apprise URL (tgram://…, mailto://…, json://…)."
    ]
    assert pauses == []


def test_a_missing_secret_is_told_and_the_others_are_sent(destination: NotifyUrl, http_recorder: HttpRecorder) -> None:
    sentences = notify([NotifyUrl(url=EnvReference(env="NOT_SET_ANYWHERE")), destination], MESSAGE)
    (sentence,) = sentences
    assert sentence.startswith("notify[0] (url): The environment variable NOT_SET_ANYWHERE is not set")
    assert len(http_recorder.messages) == 1


def test_a_block_is_sent_through_the_given_function_in_the_caller_s_context() -> None:
    run: contextvars.ContextVar[str] = contextvars.ContextVar("run", default="none")
    run.set("the flow run")
    sent: list[tuple[str, Message, str]] = []
    entry = NotifyBlock(block="slack-webhook/oncall")
    assert notify([entry], MESSAGE, lambda name, message: sent.append((name, message, run.get()))) == []
    assert sent == [("slack-webhook/oncall", MESSAGE, "the flow run")]


def test_a_block_that_fails_is_tried_again_and_told() -> None:
    tries: list[str] = []

    def refuse(name: str, _message: Message) -> None:
        tries.append(name)
        raise NotificationFailed("the block refused it")

    sentences = notify([NotifyBlock(block="slack-webhook/oncall")], MESSAGE, refuse, waits=[0, 0])
    assert sentences == ["notify[0] (slack-webhook/oncall): the block refused it."]
    assert len(tries) == 3


def test_a_block_without_prefect_is_told() -> None:
    (sentence,) = notify([NotifyBlock(block="slack-webhook/oncall")], MESSAGE)
    assert "PREFECT_API_URL" in sentence


def test_a_mistake_in_the_sender_itself_fails_no_run_and_is_told_by_its_class() -> None:
    def broken(_name: str, _message: Message) -> None:
        raise ZeroDivisionError("hunter2")

    (told,) = notify([NotifyBlock(block="slack-webhook/oncall")], MESSAGE, broken, waits=())
    assert "ZeroDivisionError" in told
    assert "hunter2" not in told


def test_what_could_not_be_delivered_is_a_warning() -> None:
    finding = undelivered_finding(["notify[0] (json): the server answered 500."])
    assert finding is not None
    assert (finding.code, finding.severity) == ("notification.failed", "warning")
    assert "notify[0] (json): the server answered 500." in finding.message


def test_other_users_of_apprise_keep_their_logs(destination: NotifyUrl, caplog: pytest.LogCaptureFixture) -> None:
    notify([destination], MESSAGE)
    logging.getLogger("apprise").warning("someone else's words")
    assert "someone else's words" in caplog.text
